"""What a file is by its first bytes, whatever its name says. Light: the settings are checked with it."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from nightgate.errors import ArtifactError
from nightgate.transcription.clips import wav

SUFFIXES = frozenset(
    {
        ".wav",
        ".wave",
        ".bwf",
        ".rf64",
        ".w64",
        ".flac",
        ".mp3",
        ".mp2",
        ".mpga",
        ".ogg",
        ".oga",
        ".opus",
        ".spx",
        ".m4a",
        ".m4b",
        ".mp4",
        ".mov",
        ".aac",
        ".webm",
        ".mka",
        ".mkv",
        ".wma",
        ".amr",
        ".3gp",
        ".aif",
        ".aiff",
        ".aifc",
        ".au",
        ".snd",
        ".caf",
        ".sph",
        ".ac3",
        ".ape",
        ".wv",
        ".tta",
        ".dsf",
    }
)
"""What names of audio end with: a file in a folder that is called so must be used, or left out by name."""


@dataclass(frozen=True, slots=True)
class Content:
    """A format that can be decoded: by libsndfile, or by ffmpeg as its ``demuxer``.

    ``start`` is the byte at which it begins (after an ID3 tag), ``seconds`` what a header that counts samples says.
    """

    name: str
    demuxer: str | None = None
    start: int = 0
    seconds: float | None = None


# where, what stands there, the name, ffmpeg's demuxer where libsndfile does not read it
_FORMATS = (
    (0, b"fLaC", "FLAC", None),
    (0, b"OggS", "Ogg", None),
    (0, b"FORM", "AIFF", None),
    (4, b"ftyp", "MP4", "mov"),
    (0, b"\x1a\x45\xdf\xa3", "Matroska or WebM", "matroska"),
    (0, b"\x30\x26\xb2\x75\x8e\x66\xcf\x11", "WMA", "asf"),
    (0, b"#!AMR", "AMR", "amr"),
)
_NOT_READ = {b"NIST_1A": "NIST SPHERE", b".snd": "AU", b"riff\x2e\x91\xcf\x11": "W64", b"caff": "CAF"}
_NO_AUDIO = (
    (b"version https://git-lfs", "is a Git LFS pointer and not the audio: git lfs pull fetches that"),
    *((magic, f"holds {name}, which is not read here: convert it to wav or flac") for magic, name in _NOT_READ.items()),
    (b"PK\x03\x04", "is a zip archive: unpack it"),
    (b"\x1f\x8b", "is a gzip archive: unpack it"),
    (b"<", "is a web page or XML, not audio: fetch the file itself"),
)


def look(path: Path) -> Content:
    """What the file at ``path`` holds, without decoding it.

    Raises:
        ArtifactError: why it cannot be decoded; the sentence begins with a verb and wants the name put before it.
    """
    try:
        with open(path, "rb") as file:
            return look_at(file, os.fstat(file.fileno()).st_size)
    except OSError as error:
        raise ArtifactError(f"cannot be read ({error.strerror})") from error


def look_at(file: BinaryIO, length: int) -> Content:
    """The same of an open file of ``length`` bytes."""
    if not length:
        raise ArtifactError("is empty")
    if length >= wav.LARGEST_BYTES:
        raise ArtifactError("is larger than 2 GB")
    start = _after_id3(file)
    file.seek(start)
    head = file.read(64)
    content = _wav(file, head, length) if head[:4] in wav.MAGIC else _known(head, start)
    if content.demuxer and not shutil.which("ffmpeg"):
        raise ArtifactError(
            f"holds {content.name}, which ffmpeg decodes, and ffmpeg is not installed: "
            "install it (Debian: apt-get install ffmpeg), or convert the file to wav or flac"
        )
    return content


def _known(head: bytes, start: int) -> Content:
    for place, magic, name, demuxer in _FORMATS:
        if head.startswith(magic, place):
            content, detail = Content(name, demuxer, start), _DETAIL.get(name)
            return detail(content, head) if detail else content
    if _is_adts(head):
        return Content("AAC", "aac", start)
    if start or _is_mp3(head):
        return Content("MP3", None, start)
    for magic, says in _NO_AUDIO:
        if head.lstrip().startswith(magic):
            raise ArtifactError(says)
    if head.isascii() and head.decode().replace("\n", "").replace("\r", "").replace("\t", "").isprintable():
        raise ArtifactError(f"is text and not audio: it begins with {head[:20].decode()!r}")
    raise ArtifactError(f"holds no audio format that is known here: it begins with the bytes {head[:8].hex(' ')}")


def _wav(file: BinaryIO, head: bytes, length: int) -> Content:
    kind = head[8:12]
    if len(kind) < 4:
        raise ArtifactError(f"is truncated: of a wav, only {length} bytes are there")
    if kind != b"WAVE":
        raise ArtifactError(f"holds {kind.decode('ascii', 'replace').strip()!r} in RIFF and not a wav")
    file.seek(0)
    header = wav.parse(file, length)
    if not header.readable:
        return Content(f"wav with samples of format {header.tag:#06x}", "wav")
    return Content("MP3 in a wav" if header.tag == wav.MP3 else "WAV", None, 0, header.seconds)


def _flac(content: Content, head: bytes) -> Content:
    packed = int.from_bytes(head[18:26], "big")  # rate 20 bits, channels 3, bits 5, samples 36; 0 samples: not known
    rate, samples = packed >> 44, packed & (1 << 36) - 1
    return Content("FLAC", None, content.start, samples / rate if rate and samples else None)


def _ogg(content: Content, head: bytes) -> Content:
    for magic in (b"OpusHead", b"\x01vorbis", b"\x7fFLAC"):
        if magic in head:
            return content
    return Content("Ogg with Speex" if b"Speex" in head else "Ogg with more than one sound", "ogg", content.start)


_DETAIL: dict[str, Callable[[Content, bytes], Content]] = {"FLAC": _flac, "Ogg": _ogg}


def _after_id3(file: BinaryIO) -> int:
    """The length of an ID3v2 tag at the beginning; its size is written in bytes of seven bits."""
    head = file.read(10)
    if head[:3] != b"ID3" or len(head) < 10:
        return 0
    a, b, c, d = (byte & 0x7F for byte in head[6:])
    return 10 + (a << 21 | b << 14 | c << 7 | d) + (10 if head[5] & 0x10 else 0)


def _is_adts(head: bytes) -> bool:
    return len(head) > 1 and head[0] == 0xFF and head[1] & 0xF6 == 0xF0


def _is_mp3(head: bytes) -> bool:
    """A frame of MPEG audio: eleven bits set, then version, layer, bit rate and rate, each with a value not in use."""
    return (
        len(head) > 2
        and head[0] == 0xFF
        and head[1] & 0xE0 == 0xE0
        and head[1] & 0x18 != 0x08
        and head[1] & 0x06 != 0
        and head[2] & 0xF0 != 0xF0
        and head[2] & 0x0C != 0x0C
    )
