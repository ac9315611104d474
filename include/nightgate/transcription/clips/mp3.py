"""MP3 (MPEG audio, layer 3), frame by frame: how many there are.

Without a count in its first frame (Xing's header) libsndfile guesses the length from the bit rate of the first frames,
and reads a third of a file that begins loudly. So the frames are counted, and a header is put before them.
"""

from __future__ import annotations

from dataclasses import dataclass

from nightgate.errors import ArtifactError

_RATES = (44_100, 48_000, 32_000)  # of MPEG 1; MPEG 2 halves them, MPEG 2.5 quarters them
_KBITS = (0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320)  # of MPEG 1
_KBITS_LOW = (0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
_SPARE = 2  # frames by which a header's count may be off: of silence before and after, or of the header itself


@dataclass(frozen=True, slots=True)
class _Frame:
    first: bool  # MPEG 1
    mono: bool
    length: int
    kind: tuple[int, int]
    """Version and rate: the same in all frames of a file."""

    @property
    def side(self) -> int:
        """Where Xing's header stands: behind the header and the side information."""
        return 4 + ((17 if self.mono else 32) if self.first else (9 if self.mono else 17))


def counted(data: bytes) -> bytes:
    """``data``, which begins with a frame, with a count of the frames before them.

    Raises:
        ArtifactError: it is cut, or holds more than it says; the sentence begins with a verb and wants the name before it.
    """
    first = _frame(data, 0)
    if first is None:
        return data  # of a free bit rate, or layer 1 or 2: the decoder says what it thinks of it
    count, cut = _count(data, first)
    promised = _promised(data, first)
    if promised is not None and count < promised - _SPARE:
        raise ArtifactError(f"is truncated: its header promises {promised} MP3 frames, and {count} are there")
    if cut:
        raise ArtifactError("is truncated: its last MP3 frame is cut")
    if promised is None:
        return _header(data, first, count) + data
    if count > promised + _SPARE:
        raise ArtifactError(
            f"holds a second MP3 after the first: its header promises {promised} frames, and {count} are there"
        )
    return data


def _frame(data: bytes, place: int) -> _Frame | None:
    head = int.from_bytes(data[place : place + 4], "big")
    version, layer = head >> 19 & 3, head >> 17 & 3  # 3: MPEG 1, 2: MPEG 2, 0: MPEG 2.5; and 1 is layer 3
    kbits, rate = head >> 12 & 15, head >> 10 & 3
    if head >> 21 != 0x7FF or version == 1 or layer != 1 or kbits in (0, 15) or rate == 3:
        return None
    first = version == 3
    hertz = _RATES[rate] // (1 if first else 2 if version == 2 else 4)
    per_bit = 144 if first else 72  # samples in a frame, over the bits in a byte
    length = per_bit * 1000 * (_KBITS if first else _KBITS_LOW)[kbits] // hertz + (head >> 9 & 1)
    return _Frame(first, head >> 6 & 3 == 3, length, (version, rate))


def _count(data: bytes, first: _Frame) -> tuple[int, bool]:
    """Whole frames, and whether the last one is cut. What lies between frames, as a tag does, is passed over."""
    place, count = 0, 0
    while place + 4 <= len(data):
        frame = _frame(data, place)
        if frame is None or frame.kind != first.kind:
            place = _next(data, place + 1, first)
            continue
        place += frame.length
        if place > len(data):
            return count, True
        count += 1
    return count, False


def _next(data: bytes, place: int, first: _Frame) -> int:
    """The next place where two frames follow each other."""
    while (place := data.find(b"\xff", place)) >= 0:
        frame = _frame(data, place)
        if frame and frame.kind == first.kind:
            after = _frame(data, place + frame.length)
            if after and after.kind == first.kind:
                return place
        place += 1
    return len(data)


def _promised(data: bytes, first: _Frame) -> int | None:
    """Frames that the header in the first frame promises, itself counted."""
    head = data[first.side : first.side + 12]
    if head[:4] not in (b"Xing", b"Info") or not head[7] & 1:
        return None
    return int.from_bytes(head[8:], "big") + 1


def _header(data: bytes, first: _Frame, count: int) -> bytes:
    """A silent frame of 64 kbit/s that says how many follow."""
    kbits = (_KBITS if first.first else _KBITS_LOW).index(64)
    head = bytes([data[0], data[1] | 1, kbits << 4 | (data[2] & 0x0C), data[3]])  # no checksum, no padding
    frame = _frame(head, 0)
    assert frame is not None
    return (head + bytes(first.side - 4) + b"Xing" + (1).to_bytes(4, "big") + count.to_bytes(4, "big")).ljust(
        frame.length, b"\0"
    )
