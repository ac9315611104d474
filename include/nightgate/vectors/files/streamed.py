"""Rows of a file that can only be read from the front, such as text or compressed columns."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

Blocks = Iterator["np.ndarray"]


class Streamed:
    """`rows.Rows` over blocks of rows that come one after the other.

    Slices that follow each other cost one pass over the file; one that goes back starts a new pass.
    """

    def __init__(self, shape: tuple[int, int], dtype: np.dtype, read: Callable[[], Blocks]) -> None:
        """Args: read: starts a pass over the file; its blocks are (some, dim), of ``dtype``."""
        self.shape: tuple[int, ...] = shape
        self.dtype = dtype
        self._read = read
        self._blocks: Blocks = iter(())
        self._held: np.ndarray | None = None  # rows from `_next` on that were read and not asked for yet
        self._next = -1

    def __getitem__(self, rows: slice) -> np.ndarray:
        import numpy as np

        start, stop, _ = rows.indices(self.shape[0])
        if self._held is None or start < self._next:
            self._blocks, self._held, self._next = self._read(), np.empty((0, self.shape[1]), self.dtype), 0
        block = np.empty((max(0, stop - start), self.shape[1]), self.dtype)
        filled = 0
        while self._next < stop:
            if not len(self._held):
                self._held = next(self._blocks)  # the shape was counted, so there is one
            passed = min(len(self._held), max(0, start - self._next))
            taken = self._held[passed : passed + max(0, stop - max(start, self._next))]
            block[filled : filled + len(taken)] = taken
            filled += len(taken)
            self._next += passed + len(taken)
            self._held = self._held[passed + len(taken) :]
        return block
