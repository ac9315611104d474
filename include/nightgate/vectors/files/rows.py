"""What every reader gives, and the checks that all of them share. Nothing here reads more than it is asked for."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from nightgate.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import DTypeLike

MOST_DIMENSIONS = 65_536
_KINDS = {"f2": "float16", "f4": "float32", "f8": "float64", "u1": "uint8", "i1": "int8"}


class Rows(Protocol):
    """Vectors in a file. ``rows[a:b]`` reads just these: an array (b - a, dim) of the file's own ``dtype``."""

    @property
    def shape(self) -> tuple[int, ...]: ...

    @property
    def dtype(self) -> np.dtype: ...

    def __getitem__(self, rows: slice) -> np.ndarray: ...


def check(path: Path, shape: tuple[int, ...], dtype: np.dtype) -> None:
    """Raises InputError unless ``shape`` and ``dtype`` are those of vectors that can be compared."""
    if len(shape) != 2:
        actual = f"an array of the shape {' × '.join(map(str, shape))}" if shape else "a single number"
        raise InputError(f"{path} holds {actual}, not rows of vectors", "save an array of the shape (rows, dim)")
    rows, dim = shape
    if rows < 1:
        raise InputError(f"{path} is empty: it holds {rows} vectors", "name a file that holds some")
    if not 1 <= dim <= MOST_DIMENSIONS:
        raise InputError(
            f"{path} claims vectors of {dim} dimensions", f"check the file; 1 to {MOST_DIMENSIONS} can be used"
        )
    if f"{dtype.kind}{dtype.itemsize}" not in _KINDS:
        raise InputError(f"{path} holds values of type {dtype}", f"save them as one of {', '.join(_KINDS.values())}")


def breaks_off(what: str, whole: int, only: int | None) -> InputError:
    """The refusal of a file that holds just ``whole`` of its rows, of which the first ``only`` are wanted."""
    wanted = f", and the first {only} are asked for" if only is not None else ""
    use = f", or use only the {whole} whole ones (the setting dataset_rows)" if whole else ""
    return InputError(f"{what}{wanted}", f"fetch or write the file again{use}")


def reason(error: Exception) -> str:
    """What ``error`` says, on one line of at most 200 printable characters: a library may quote the damaged bytes."""
    text = " ".join(str(error).split())[:200]
    return "".join(letter if letter.isprintable() else "?" for letter in text)


def mapped(
    path: Path,
    dtype: DTypeLike,
    shape: tuple[int, ...],
    offset: int,
    order: Literal["C", "F"] = "C",
    only: int | None = None,
) -> np.memmap:
    """The array that fills ``path`` from ``offset`` to its end, mapped once the file's size is found to be right.

    Of a file that breaks off the whole rows are mapped where no more than the first ``only`` are wanted and there are
    as many.
    """
    import numpy as np

    kind: np.dtype = np.dtype(dtype)
    check(path, shape, kind)
    claimed, there = math.prod(shape) * kind.itemsize, path.stat().st_size - offset
    if there < claimed:
        # by columns every row is cut short, the first one included
        row = there // (shape[1] * kind.itemsize) if order == "C" else 0
        if only is None or row < only:
            claim = f"its header claims {shape[0]} rows of {shape[1]} dimensions"
            raise breaks_off(f"{path} ends within row {row} (the first is 0): {claim}", row, only)
        return np.memmap(path, kind, "r", offset, (row, shape[1]), order)
    if there > claimed:
        claim = f"the {shape[0]} rows of {shape[1]} dimensions that its header claims"
        raise InputError(
            f"{path} goes on for {there - claimed} bytes after {claim}",
            "check that its values have the type that its name and header say",
        )
    return np.memmap(path, kind, "r", offset, shape, order)
