"""``.npy`` (NumPy): one array; the header says its shape and type."""

from __future__ import annotations

from pathlib import Path

from nightgate.errors import InputError
from nightgate.vectors.files.rows import Rows, mapped, reason

_SUFFICIENT = (1, 0)  # the later versions are for headers beyond 64 KiB and for field names, which no vectors need


def open_file(path: Path, only: int | None = None) -> Rows:
    """Map ``path``, as `rows.mapped`. Raises InputError: it is no such file, no plain array of vectors, or not whole."""
    from numpy.lib import format as npy

    with open(path, "rb") as file:
        try:
            version = npy.read_magic(file)
            if version != _SUFFICIENT:
                raise ValueError(f"format version {version[0]}.{version[1]}, not 1.0")
            shape, by_columns, dtype = npy.read_array_header_1_0(file)
        except Exception as error:  # the header is a Python literal: what damage makes of it can be almost anything
            raise InputError(
                f"{path} is no .npy file of vectors ({reason(error)})", "write it with numpy.save, as a plain array"
            ) from error
        offset = file.tell()
    if dtype.hasobject:
        raise InputError(f"{path} holds Python objects, which are never loaded", "save a plain array of float32")
    return mapped(path, dtype, shape, offset, "F" if by_columns else "C", only)
