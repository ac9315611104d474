"""Scores of every pair in one type of float, and how wrong they can be: what proposes the exact neighbours.

How far a score can be from the true one is bounded (Higham, *Accuracy and Stability of Numerical Algorithms*, 2nd ed. 2002,
§3.1: |fl(x·y) - x·y| ≤ γₙ |x|·|y|, γₙ = nu / (1 - nu)). That holds in whatever order the products are summed, and with
fused multiply-add too, so it holds of a BLAS on the CPU and of cuBLAS, as long as either computes in that type.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from nightgate.vectors.arrays import Array, Arrays
from nightgate.vectors.metric import unit

if TYPE_CHECKING:
    import numpy as np

_ROWS = (
    16_384  # scored at once on the CPU against a thousand queries: 64 MB, longer products would be hardly any faster
)
_FIRST = 1024  # rows of the first block, all of which are candidates; each block after it is as long as all before it
_SAMPLE = 4096  # rows whose median is taken as the centre
_ROUNDED = 8  # roundings a score meets besides its sums: when vectors were stored, shifted and squared, with room
_SMALLEST = 2.0**-120  # what float32 loses of a product below its range, and more
_COPIED = 65_536  # rows copied to the device at once
_ROOM = 4 * 2**30  # bytes that stay free on a device for scores and candidates


class Rows:
    """The rows of a base as they are scored, one block after the other, or all of them kept on the device.

    Under "l2" they are shifted to the base's centre: a shift moves no distance, and without an offset that all share more
    digits are left. ``raw`` is the base on the device as it was given, None unless it is kept.
    """

    def __init__(self, base: np.ndarray, metric: str, dtype: Any, arrays: Arrays) -> None:
        import numpy as np

        self.base, self.metric, self.dtype, self.arrays = base, metric, np.dtype(dtype), arrays
        self.longest = self.off_unit = 0.0  # of the rows seen until now
        self.raw: Array | None = None
        self._kept: tuple[Array, Array] | None = None  # the rows as they are scored, and the squares of their lengths
        self._centre: np.ndarray | None = None
        if metric == "l2":
            sample = base[:: max(1, len(base) // _SAMPLE)]
            self._centre = np.median(np.asarray(sample, np.float64), axis=0).astype(self.dtype)

    def keep(self) -> Rows:
        """Copy all rows to the device if there is room for them, with 4 GiB to spare; returns itself."""
        copies = 1 if self._centre is None else 2
        if self.arrays.free_bytes() < copies * self.base.size * self.dtype.itemsize + _ROOM:
            return self
        kept, squares = (self.arrays.empty(shape, self.dtype) for shape in (self.base.shape, self.base.shape[:1]))
        raw = kept if self._centre is None else self.arrays.empty(self.base.shape, self.dtype)
        for start in range(0, len(self.base), _COPIED):
            some = slice(start, start + _COPIED)
            kept[some], squares[some] = self.block(start, min(start + _COPIED, len(self.base)))
            if raw is not kept:
                raw[some] = self.arrays.put(self.base[some])
        self._kept, self.raw = (kept, squares), raw
        return self

    def ready(self, vectors: np.ndarray) -> np.ndarray:
        """``vectors`` (…, dim) as they are scored: in the type, shifted, or at unit length."""
        import numpy as np

        vectors = np.asarray(vectors, self.dtype)
        if self._centre is not None:
            vectors = vectors - self._centre
        elif self.metric == "cosine" and self.dtype == np.float64:
            vectors = unit(vectors)
        return vectors

    def block(self, start: int, stop: int) -> tuple[Array, Array]:
        """The rows from ``start`` to ``stop`` on the device, (stop - start, dim), and the square of the length of each."""
        if self._kept is not None:
            rows, squares = self._kept
            return rows[start:stop], squares[start:stop]
        xp, block = self.arrays.xp, self.arrays.put(self.ready(self.base[start:stop]))
        squares = xp.einsum("ij,ij->i", block, block)
        self.longest = max(self.longest, float(xp.sqrt(squares.max())))
        if self.metric == "cosine":
            self.off_unit = max(self.off_unit, float(xp.abs(squares - 1).max()))
        return block, squares


class Scoring:
    """The score of every pair of ``rows`` and ``queries`` (n, dim), higher the nearer.

    It is 2 q·b - |b|², which ranks as -|q - b|² does, for "l2", and q·b for the others.
    """

    def __init__(self, rows: Rows, queries: np.ndarray) -> None:
        import numpy as np

        self.rows, self.metric = rows, rows.metric
        self._asked = rows.ready(queries)
        self._lengths = np.linalg.norm(self._asked.astype(np.float64), axis=1)

    def candidates(self, width: int) -> tuple[Array, np.ndarray]:
        """The ids of the ``width`` best of each query, on the device (n, width), in no order, and the score that no
        other row exceeds, float64 (n,).

        Of each block only the scores above the worst kept so far are looked at, which soon are few.
        """
        import numpy as np

        arrays, count = self.rows.arrays, len(self._asked)
        blocks = self.blocks(width)
        _, first = next(blocks)
        ids = arrays.largest(first, width)
        best = arrays.take(first, ids)
        marks = arrays.empty((count * self._block(width)[1],), bool)
        for start, product in blocks:
            better = marks[: count * product.shape[1]].reshape(product.shape)
            arrays.xp.greater(product, arrays.xp.amin(best, axis=1, keepdims=True), out=better)
            pool, pool_ids = self._pool(best, ids, product, better, start)
            keep = arrays.largest(pool, width)
            best, ids = arrays.take(pool, keep), arrays.take(pool_ids, keep)
        if width == len(self.rows.base):
            return ids, np.full(count, -np.inf)
        return ids, arrays.get(arrays.xp.amin(best, axis=1)).astype(np.float64)

    def _pool(self, best: Array, ids: Array, product: Array, better: Array, start: int) -> tuple[Array, Array]:
        """``best`` and ``ids`` (n, width) with what is ``better`` in ``product`` behind them, -inf where one query has
        less of it than another; ``start`` is the id of the first column."""
        arrays, (count, width) = self.rows.arrays, best.shape
        xp = arrays.xp
        flat = arrays.flatnonzero(better)
        row = flat // product.shape[1]
        column = flat - row * product.shape[1]
        found = xp.bincount(row, minlength=count)
        place = width + arrays.arange(len(row)) - (xp.cumsum(found, axis=0) - found)[row]
        pool = arrays.full((count, width + int(found.max())), -xp.inf, self.rows.dtype)
        pool_ids = arrays.full(pool.shape, -1, "int64")
        pool[:, :width], pool_ids[:, :width] = best, ids
        pool[row, place], pool_ids[row, place] = product[row, column], column + start
        return pool, pool_ids

    def surely(self, row: int | np.ndarray, query: int | np.ndarray) -> np.ndarray:
        """What a row needs to score, float64, so that it may be as near as ``row`` to the query of that number; of many
        rows and as many queries too."""
        import numpy as np

        there = self.rows.ready(self.rows.base[row]).astype(np.float64)
        asked = self._asked[query].astype(np.float64)
        score: np.ndarray = np.einsum("...j,...j->...", asked, there)
        if self.metric == "l2":
            score = 2 * score - np.einsum("...j,...j->...", there, there)
        least: np.ndarray = score - self._error(query)
        return least

    def _error(self, query: int | np.ndarray) -> np.ndarray:
        """How far apart, at most, two rows are scored that are equally near; `candidates` has seen every row by then.

        Infinite where a sum could have left the range of the type.
        """
        import numpy as np

        rows = self.rows
        floats, dim = np.finfo(rows.dtype), rows.base.shape[1]
        unit_roundoff = float(floats.eps) / 2
        gamma = (dim + _ROUNDED) * unit_roundoff / (1 - (dim + _ROUNDED) * unit_roundoff)
        with np.errstate(invalid="ignore"):  # nothing times infinity
            size = self._lengths[query] * rows.longest
            if self.metric == "l2":
                size = 2 * size + rows.longest**2
            error = 2 * (gamma * size + rows.off_unit * self._lengths[query] + dim * _SMALLEST)
        return np.where(size < float(floats.max) / 2, error, np.inf)

    def blocks(self, least: int = 1) -> Iterator[tuple[int, Array]]:
        """Block by block: its first row and the scores of all queries, (n, rows), until the next block is asked for.

        Args:
            least: rows of the first block, unless the base has fewer.
        """
        import numpy as np

        arrays, count, rows = self.rows.arrays, len(self._asked), len(self.rows.base)
        xp = arrays.xp
        first, longest = self._block(least)
        asked = arrays.put(2 * self._asked if self.metric == "l2" else self._asked)
        room, stop = arrays.empty((count * longest,), self.rows.dtype), 0
        while stop < rows:
            start, stop = stop, min(stop + min(max(stop, first), longest), rows)
            block, squares = self.rows.block(start, stop)
            with np.errstate(over="ignore", invalid="ignore"):  # what leaves float32 is done again, see `_error`
                product = xp.matmul(asked, block.T, out=room[: count * (stop - start)].reshape(count, -1))
                if self.metric == "l2":
                    product -= squares
            yield start, product

    def _block(self, least: int) -> tuple[int, int]:
        """How many rows the first block has, and how many the longest."""
        first, longest = self.rows.arrays.block(len(self._asked)) or (_FIRST, _ROWS)
        return max(first, least), min(max(longest, least), len(self.rows.base))
