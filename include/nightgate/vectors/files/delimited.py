"""``.csv`` and ``.tsv``: a vector per line, with or without a line of names above."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TextIO

from nightgate.errors import InputError
from nightgate.vectors.files.rows import Rows, check
from nightgate.vectors.files.streamed import Streamed

if TYPE_CHECKING:
    import numpy as np

log = logging.getLogger(__name__)

SUFFIXES = (".csv", ".tsv")
_SEPARATORS = (";", "\t", "|", ",")  # the first that stands in the line; a decimal comma may stand beside any other
_LONGEST_LINE = 2**22
_BYTES = 2**22  # of text parsed at once
_BLOCK = 2**24  # read at once when lines are counted
_MEND = "write one vector per line, numbers with a decimal point and one separator"


@dataclass(frozen=True)
class _Layout:
    """``separator`` None is any white space. ``header`` says whether the first line holds names."""

    separator: str | None
    header: bool
    dim: int

    def fields(self, line: str) -> list[str]:
        return [field.strip().strip('"') for field in line.split(self.separator)]


def open_file(path: Path, only: int | None = None) -> Rows:
    """Find the layout of ``path`` in its first lines and count the others.

    The separator is one of ``; tab | ,`` or white space. The first line holds names when something in it is no number,
    or when its numbers merely count the columns, which is what pandas writes above columns without names.

    Raises:
        InputError: this is no text, or holds no vectors. What a later line lacks is found only where it is read, by the
            slice that meets it.
    """
    import numpy as np

    with _text(path) as file:
        first, second = _line(path, file), _line(path, file)
    layout = _layout(path, first, second)
    rows = _lines(path) - layout.header
    dtype = np.dtype(np.float64)
    check(path, (rows, layout.dim), dtype)
    return Streamed((rows, layout.dim), dtype, lambda: _blocks(path, layout, rows))


def _layout(path: Path, first: str, second: str) -> _Layout:
    if not first.strip():
        raise InputError(
            f"{path} begins with an empty line" if first else f"{path} is empty: it holds no vector", _MEND
        )
    separator = next((each for each in _SEPARATORS if each in first), None)
    names = _Layout(separator, False, 0).fields(first)
    numbers = [_number(name) for name in names]
    counted = [[float(i + start) for i in range(len(names))] for start in (0, 1)]
    header = None in numbers or (len(names) > 1 and numbers in counted)
    if header and not names[0]:
        raise InputError(
            f"the first column of {path} has no name, so it looks like the numbers of its rows",
            "write the file without them (pandas: index=False)",
        )
    if header and not second.strip():
        raise InputError(
            f"{path} holds no vector: its first line begins with {names[0][:40]!r}, which is no number", _MEND
        )
    if header and None not in numbers:
        log.info("%s: its first line counts the columns, so it is taken for their names", path)
    return _Layout(separator, header, len(names))


def _blocks(path: Path, layout: _Layout, rows: int) -> Iterator[np.ndarray]:
    """The vectors of ``path``, float64, a few megabytes of text at a time."""
    import numpy as np

    with _text(path) as file:
        if layout.header:
            _line(path, file)
        start = 0
        while start < rows:
            lines = _take(path, file, rows - start)
            if not lines:
                raise InputError(f"{path} became shorter while it was read", "start again when it is written")
            try:
                if any(line.isspace() for line in lines):  # loadtxt would pass over it, and the rows behind it move up
                    raise ValueError("an empty line")
                block = np.loadtxt(lines, np.float64, comments=None, delimiter=layout.separator, quotechar='"', ndmin=2)
            except ValueError:
                raise _refused(path, layout, lines, start) from None
            if block.shape != (len(lines), layout.dim):
                raise _refused(path, layout, lines, start)
            yield block
            start += len(lines)


def _refused(path: Path, layout: _Layout, lines: list[str], start: int) -> InputError:
    """What is wrong with the first of ``lines`` that is no vector; the first of them is row ``start``."""
    for row, line in enumerate(lines, start):
        where, fields = f"row {row} of {path} (the first is 0)", layout.fields(line)
        if not line.strip():
            return InputError(f"{where} is an empty line", _MEND)
        if len(fields) != layout.dim:
            return InputError(f"{where} holds {len(fields)} values, the first line has {layout.dim}", _MEND)
        for column, field in enumerate(fields):
            if _number(field) is None:
                shown = f"{field[:40]!r}, which is no number" if field else "nothing"
                return InputError(f"{where} holds {shown} in column {column} (the first is 0)", _MEND)
    return InputError(f"rows {start} to {start + len(lines) - 1} of {path} cannot be read as numbers", _MEND)


def _take(path: Path, file: TextIO, most: int) -> list[str]:
    lines: list[str] = []
    size = 0
    while len(lines) < most and size < _BYTES and (line := _line(path, file)):
        lines.append(line)
        size += len(line)
    return lines


def _text(path: Path) -> TextIO:
    return open(path, encoding="utf-8-sig", newline="\n")


def _line(path: Path, file: TextIO) -> str:
    """The next line; empty at the end. Raises InputError: it is no text, or has no end."""
    try:
        line = file.readline(_LONGEST_LINE)
    except UnicodeDecodeError:
        raise InputError(f"{path} is no text in UTF-8", "write it as UTF-8, or name what it is by its suffix") from None
    if len(line) == _LONGEST_LINE or "\0" in line:
        raise InputError(f"{path} is no text of one vector per line", _MEND)
    return line


def _lines(path: Path) -> int:
    """How many lines there are up to the last that holds anything."""
    count = since = 0  # ends of lines up to the last that holds anything, and after it
    with open(path, "rb") as file:
        for block in iter(lambda: file.read(_BLOCK), b""):
            held = block.rstrip()
            if held:
                count += since + held.count(b"\n")
                since = 0
            since += block.count(b"\n", len(held))
    return count + 1


def _number(field: str) -> float | None:
    try:
        return float(field) if "_" not in field else None  # Python alone reads 1_000 as a number
    except ValueError:
        return None
