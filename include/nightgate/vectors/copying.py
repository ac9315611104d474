"""Vectors on their way from the user's file into a data set: what is rounded is kept beside."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nightgate.vectors.dataset import original_file
from nightgate.vectors.files.rows import Rows
from nightgate.vectors.frame import Frame
from nightgate.vectors.usable import Usable

if TYPE_CHECKING:
    import numpy as np

BLOCK_BYTES = 2**25


@dataclass(frozen=True)
class Part:
    """Those of the ``rows`` of the file ``path`` that can be used."""

    rows: Rows
    path: Path
    of: Usable

    def blocks(self) -> Iterator[tuple[int, np.ndarray]]:
        """A block at a time as the file has it, each with how many usable rows came before it."""
        import numpy as np

        length, before = block_length(self.rows.shape[1]), 0
        for start in range(0, self.of.stop, length):
            stop = min(start + length, self.of.stop)
            left_out = self.of.left_out[(self.of.left_out >= start) & (self.of.left_out < stop)]
            block = self.rows[start:stop]
            if len(left_out):
                block = np.delete(block, left_out - start, axis=0)
            yield before, block
            before += len(block)


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


def block_length(dim: int) -> int:
    """How many rows make a block."""
    return max(1, BLOCK_BYTES // (4 * dim))
