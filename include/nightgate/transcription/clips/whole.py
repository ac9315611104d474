"""Whether a file is all there: decoders take the first part of a cut file, or of two in one, without a word."""

from __future__ import annotations

import struct
from collections.abc import Callable

from nightgate.errors import ArtifactError

_PAGE = struct.Struct(
    "<4sBBqIIIB"
)  # of Ogg, RFC 3533: magic, version, type, position, serial, number, checksum, segments
_FIRST = 2  # the type of a page with which a recording begins


def check_whole(name: str, data: bytes) -> None:
    """Look at the sizes that the format ``name`` (see `content.Content`) declares.

    Raises:
        ArtifactError: less or more is there; the sentence begins with a verb and wants the file's name before it.
    """
    if name in _CHECKS:
        _CHECKS[name](data)


def _ogg(data: bytes) -> None:
    place, firsts = 0, 0
    while place < len(data):
        if data[place : place + 4] != b"OggS":
            if not firsts:
                raise ArtifactError("is damaged: it does not begin with an Ogg page")
            break  # what follows the last page is no sound: a tag, or zeros that a download left
        if len(data) - place < _PAGE.size:
            raise ArtifactError("is truncated: its last Ogg page is cut")
        *_, kind, _, _, _, _, segments = _PAGE.unpack_from(data, place)
        table = data[place + _PAGE.size : place + _PAGE.size + segments]
        place += _PAGE.size + segments + sum(table)
        if len(table) < segments or place > len(data):
            raise ArtifactError("is truncated: its last Ogg page is cut")
        firsts += bool(kind & _FIRST)
        if firsts > 1:
            raise ArtifactError("holds a second recording after or beside the first: cut them apart")


def _flac(data: bytes) -> None:
    if any(data.find(b"fLaC" + block + b"\0\0\x22", 4) > 0 for block in (b"\0", b"\x80")):
        raise ArtifactError("holds a second FLAC file after the first: cut them apart")


def _aiff(data: bytes) -> None:
    size = 8 + int.from_bytes(data[4:8], "big")
    if size > len(data):
        raise ArtifactError(f"is truncated: its header promises {size} bytes, and {len(data)} are there")
    if data.startswith(b"FORM", size):
        raise ArtifactError("holds a second AIFF file after the first: cut them apart")


_CHECKS: dict[str, Callable[[bytes], None]] = {"Ogg": _ogg, "Ogg with Speex": _ogg, "FLAC": _flac, "AIFF": _aiff}
