"""Vectors on their way from the user's file into a data set: every row is checked, and what is rounded is kept beside."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nightgate.errors import InputError
from nightgate.vectors.dataset import original_file
from nightgate.vectors.files.rows import Rows
from nightgate.vectors.frame import Frame, choose

if TYPE_CHECKING:
    import numpy as np

BLOCK_BYTES = 2**25
_SAMPLE = 4096  # rows that tell where the middle of the base is
_LARGEST_SQUARE = 1e37  # of a vector's length: float32 ends at 3.4e38, and a squared distance is up to four times this


@dataclass(frozen=True)
class Part:
    """The first ``stop`` of the ``rows`` of the file ``path``."""

    rows: Rows
    path: Path
    stop: int

    def blocks(self) -> Iterator[tuple[int, np.ndarray]]:
        """A block at a time as the file has it, each with its first row's number."""
        length = max(1, BLOCK_BYTES // (4 * self.rows.shape[1]))
        for start in range(0, self.stop, length):
            yield start, self.rows[start : min(start + length, self.stop)]


class Copy:
    """Vectors as they are measured (``ready``, float32), and as they were (``original``) where ``frame`` rounds them."""

    def __init__(self, frame: Frame, parts: list[Part], shape: tuple[int, int], *files: Path) -> None:
        import numpy as np

        def room(dtype: Any, *file: Path) -> np.ndarray:
            return np.lib.format.open_memmap(*file, "w+", dtype, shape) if file else np.empty(shape, dtype)

        dtype = np.result_type(*(part.rows.dtype for part in parts))
        self._frame = frame
        self.ready = room(np.float32, *files[:1])
        self.original = None if frame.exact(dtype) else room(dtype, *files[1:])

    def put(self, rows: Any, vectors: np.ndarray) -> None:
        self.ready[rows] = self._frame.apply(vectors)
        if self.original is not None:
            self.original[rows] = vectors

    def pick(self, block: np.ndarray, start: int, chosen: np.ndarray, *, into: int) -> None:
        """`put` those of the rows ``chosen`` that lie in ``block``, which begins with row ``start``, to their places
        from ``into`` on."""
        here = ((chosen >= start) & (chosen < start + len(block))).nonzero()[0]
        self.put(into + here, block[chosen[here] - start])

    def save(self, folder: Path, name: str, rows: slice) -> None:
        import numpy as np

        np.save(folder / f"{name}.npy", self.ready[rows])
        if self.original is not None:
            np.save(original_file(folder, name), self.original[rows])

    def flush(self) -> None:
        for array in (self.ready, self.original):
            if array is not None:
                array.flush()


def frame_of(parts: list[Part], metric: str) -> Frame:
    """Read every row once: none may be unusable, and all together say which frame they are measured in."""
    import numpy as np

    lowest, highest, samples = [], [], []
    for part in parts:
        step = max(1, part.stop // _SAMPLE)
        for start, block in part.blocks():
            check(block, start, part.path, metric)
            lowest.append(block.min(axis=0))
            highest.append(block.max(axis=0))
            if part is parts[0]:
                samples.append(block[-start % step :: step].astype(np.float64))
    return choose(np.concatenate(samples), np.min(lowest, axis=0), np.max(highest, axis=0), metric)


def check(block: np.ndarray, first: int, path: Path, metric: str) -> None:
    """Raise InputError for the first of the rows that cannot be compared."""
    import numpy as np

    with np.errstate(over="ignore", invalid="ignore"):
        vectors = block.astype(np.float64)
        squares = np.einsum("ij,ij->i", vectors, vectors)
    zero = ~vectors.any(axis=1)
    bad = np.flatnonzero(zero if metric == "cosine" else ~(squares < _LARGEST_SQUARE) | ~np.isfinite(squares))
    bad = np.union1d(bad, np.flatnonzero(~np.isfinite(vectors).all(axis=1)))
    if len(bad):
        row = int(bad[0])
        reason = (
            "is zero, which has no direction and so no cosine" if zero[row]
            else "holds NaN" if np.isnan(vectors[row]).any()
            else "holds an infinity" if not np.isfinite(vectors[row]).all()
            else "is too long to be compared in float32"
        )  # fmt: skip
        raise InputError(f"row {first + row} of {path} (the first is 0) {reason}", "mend or remove such rows")
