"""The RIFF family (wav, RIFX, RF64, BW64): where the samples lie, whatever the header says of their size. Light.

libsndfile takes what is there without a word where a header promises more, takes chunks after the samples for samples
where the size was left open, and does not know BW64. So the chunks are walked here, and it gets a plain wav.
"""

from __future__ import annotations

import io
import re
from dataclasses import dataclass
from typing import BinaryIO, Literal

from nightgate.errors import ArtifactError

LARGEST_BYTES = 0x7FFFF000
"""A larger file is refused. Sizes from here on mean "not known": sox writes this one to a pipe, others 0xFFFFFFFF or 0."""

MAGIC = (b"RIFF", b"RIFX", b"RF64", b"BW64")
PCM, FLOAT, ALAW, ULAW, MP3 = 1, 3, 6, 7, 0x55
_EXTENSIBLE = 0xFFFE
_READABLE = (PCM, 2, FLOAT, ALAW, ULAW, 0x11, 0x31, MP3)  # by libsndfile, with MS and IMA ADPCM and GSM 6.10
_MOST_CHUNKS = 1000  # before the samples; real files have a handful
_LONGEST_TAIL = 1 << 24  # bytes of chunks after samples of unknown size: a picture in an id3 chunk is the largest
_CHUNK = re.compile(rb"[A-Za-z_][A-Za-z0-9 _-]{3}")
_AFTER = re.compile(rb"LIST|id3 |ID3 |bext|iXML|_PMX|axml|cue |smpl|inst|fact|PEAK|JUNK|junk|acid|afsp")


@dataclass(frozen=True, slots=True)
class Wav:
    """``tag`` is the format of the samples, ``start`` and ``size`` where they lie in bytes, ``fmt`` the chunk itself."""

    order: Literal["little", "big"]
    fmt: bytes
    tag: int
    channels: int
    rate: int
    frame_bytes: int
    start: int
    size: int

    @property
    def readable(self) -> bool:
        """Whether libsndfile decodes such samples."""
        return self.tag in _READABLE

    @property
    def seconds(self) -> float | None:
        """None where a frame has no fixed size."""
        plain = self.tag in (PCM, FLOAT, ALAW, ULAW)
        return self.size // self.frame_bytes / self.rate if plain else None


def parse(file: BinaryIO, length: int) -> Wav:
    """The header of a file of ``length`` bytes that begins with one of `MAGIC`.

    Raises:
        ArtifactError: it is cut or damaged; the sentence begins with a verb and wants the file's name before it.
    """
    magic = file.read(12)[:4]
    order: Literal["little", "big"] = "big" if magic == b"RIFX" else "little"
    fmt, long_size, place = b"", 0, 12
    for _ in range(_MOST_CHUNKS):
        file.seek(place)
        head = file.read(8)
        if len(head) < 8:
            break
        name, size = head[:4], int.from_bytes(head[4:], order)
        place += 8
        if name == b"data":
            return _wav(order, fmt, place, _data_size(file, place, length, order, long_size or size))
        if place + size > length:
            raise ArtifactError(
                f"is truncated or damaged: its chunk {name!r} promises {size} bytes, and {length - place} are there"
            )
        if name == b"fmt ":
            fmt = file.read(min(size, 4096))
        elif name == b"ds64":
            long_size = int.from_bytes(file.read(16)[8:], order)
        place = _after(file, place, size)
    raise ArtifactError("is truncated or damaged: its header names no samples")


def canonical(data: bytes) -> bytes:
    """The same samples under a header that says just what is there. Of an MP3 in a wav, the MP3."""
    wav = parse(io.BytesIO(data), len(data))
    size = wav.size
    if wav.tag == MP3:
        return data[wav.start : wav.start + size]

    def number(value: int) -> bytes:
        return value.to_bytes(4, wav.order)

    fmt = b"WAVEfmt " + number(len(wav.fmt)) + wav.fmt + bytes(len(wav.fmt) % 2)
    magic = b"RIFX" if wav.order == "big" else b"RIFF"
    head = magic + number(len(fmt) + 8 + size + size % 2) + fmt + b"data" + number(size)
    return b"".join(
        [head, memoryview(data)[wav.start : wav.start + size], bytes(size % 2)]
    )  # copied once: it may be 2 GB


def _wav(order: Literal["little", "big"], fmt: bytes, start: int, size: int) -> Wav:
    if len(fmt) < 16:
        raise ArtifactError("is damaged: no fmt chunk before its samples says what they are")

    def number(place: int, count: int) -> int:
        return int.from_bytes(fmt[place : place + count], order)

    tag, channels, rate, frame_bytes = number(0, 2), number(2, 2), number(4, 4), number(12, 2)
    if tag == _EXTENSIBLE and len(fmt) >= 26:
        tag = number(24, 2)
    if not (channels and rate and frame_bytes):
        raise ArtifactError(
            f"is damaged: its header names {channels} channels, {rate} Hz and {frame_bytes} bytes a frame"
        )
    return Wav(order, fmt, tag, channels, rate, frame_bytes, start, size)


def _data_size(file: BinaryIO, start: int, length: int, order: Literal["little", "big"], size: int) -> int:
    """The bytes of samples: what the header promises, or what is there where it was left open."""
    there = length - start
    if size == 0 or size >= LARGEST_BYTES:
        return _open_size(file, start, length, order)
    if size > there:
        raise ArtifactError(f"is truncated: its header promises {size} bytes of samples, and {there} are there")
    file.seek(start + size + size % 2)
    rest = file.read(8)
    left = max(0, there - size - size % 2)
    if rest[:4] in MAGIC:
        raise ArtifactError("holds a second wav after the first: cut them apart")
    if left > size and not (_CHUNK.match(rest) and int.from_bytes(rest[4:], order) <= left):
        raise ArtifactError(f"is damaged: its header promises {size} bytes of samples, and {left} more follow them")
    return size


def _open_size(file: BinaryIO, start: int, length: int, order: Literal["little", "big"]) -> int:
    """As far as chunks, or the tag of an MP3 player, that end where the file ends."""
    begin = max(start, length - _LONGEST_TAIL)
    file.seek(begin)
    tail = file.read()
    if len(tail) >= 128 and tail[-128:-125] == b"TAG":
        tail = tail[:-128]
    walked: set[int] = set()  # each place once: a hostile file may hold millions of them
    for match in _AFTER.finditer(tail):
        place = match.start()
        while place not in walked and _CHUNK.match(tail, place):
            walked.add(place)
            size = int.from_bytes(tail[place + 4 : place + 8], order)
            place += 8 + size
            if place == len(tail) or (size % 2 and place + 1 == len(tail)):
                return begin + match.start() - start
            place += size % 2
    return begin + len(tail) - start


def _after(file: BinaryIO, place: int, size: int) -> int:
    """Where the next chunk begins: an odd size is padded, but some writers forget it."""
    if size % 2 == 0:
        return place + size
    file.seek(place + size)
    five = file.read(5)
    return place + size + (five[:1] == b"\0" or not _CHUNK.match(five))
