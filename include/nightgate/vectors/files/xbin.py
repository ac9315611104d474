"""``.fbin``, ``.u8bin``, ``.i8bin`` (big-ann-benchmarks): the number of rows, the dimension, then all values."""

from __future__ import annotations

import struct
from pathlib import Path

from nightgate.errors import InputError
from nightgate.vectors.files.rows import Rows, mapped

KINDS = {".fbin": "<f4", ".u8bin": "u1", ".i8bin": "i1"}
_HEADER = struct.Struct("<II")


def open_file(path: Path, only: int | None = None) -> Rows:
    """Map ``path``, as `rows.mapped`. Raises InputError: the header, which is no more than two numbers, does not fit the
    file's size."""
    with open(path, "rb") as file:
        head = file.read(_HEADER.size)
    if len(head) < _HEADER.size:
        raise InputError(f"{path} is too short for the header of a {path.suffix} file", "name a whole file")
    return mapped(path, KINDS[path.suffix.lower()], _HEADER.unpack(head), _HEADER.size, only=only)
