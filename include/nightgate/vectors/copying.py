"""Vectors on their way from the user's file into a data set; what is rounded on the way is kept beside them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nightgate.vectors.dataset import original_file
from nightgate.vectors.files.rows import Rows
from nightgate.vectors.frame import Frame
from nightgate.vectors.usable import Usable, block_length

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Part:
    """The ``usable`` of the ``rows`` of a file."""

    rows: Rows
    usable: Usable

    def blocks(self) -> Iterator[tuple[int, np.ndarray]]:
        """The usable rows as the file has them, a block at a time, each with how many came before it."""
        import numpy as np

        length, before, left_out = block_length(self.rows.shape[1]), 0, self.usable.left_out
        for start in range(0, self.usable.stop, length):
            stop = min(start + length, self.usable.stop)
            gone = left_out[(left_out >= start) & (left_out < stop)]
            block = np.delete(self.rows[start:stop], gone - start, axis=0)
            yield before, block
            before += len(block)


class Copy:
    """Vectors as they are measured (``ready``, float32), and as they were (``original``) where ``frame`` rounds them."""

    def __init__(self, frame: Frame, parts: Sequence[Part], shape: tuple[int, int], *files: Path) -> None:
        import numpy as np

        def room(dtype: Any, *file: Path) -> np.ndarray:
            return np.lib.format.open_memmap(str(file[0]), "w+", dtype, shape) if file else np.empty(shape, dtype)

        dtype = np.result_type(*(part.rows.dtype for part in parts))
        self._frame = frame
        self.ready = room(np.float32, *files[:1])
        self.original = None if frame.exact(dtype) else room(dtype, *files[1:])

    def put(self, rows: Any, vectors: np.ndarray) -> None:
        self.ready[rows] = self._frame.apply(vectors)
        if self.original is not None:
            self.original[rows] = vectors

    def pick(self, block: np.ndarray, before: int, chosen: np.ndarray, *, into: int) -> None:
        """`put` those of the rows ``chosen`` that lie in ``block``, whose first is number ``before``, to their places from
        ``into`` on."""
        here = ((chosen >= before) & (chosen < before + len(block))).nonzero()[0]
        self.put(into + here, block[chosen[here] - before])

    def save(self, folder: Path, name: str, rows: slice) -> None:
        import numpy as np

        np.save(folder / f"{name}.npy", self.ready[rows])
        if self.original is not None:
            np.save(original_file(folder, name), self.original[rows])

    def flush(self) -> None:
        mapped: tuple[Any, ...] = (self.ready, self.original)
        for array in mapped:
            if array is not None:
                array.flush()
