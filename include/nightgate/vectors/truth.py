"""Exact nearest neighbours, the yardstick of every recall figure: proven, not assumed.

Every pair is scored in float32 first. How far such a score can be from the true one is bounded (Higham, *Accuracy and
Stability of Numerical Algorithms*, 2nd ed. 2002, §3.1: |fl(x·y) - x·y| ≤ γₙ |x|·|y|, γₙ = nu / (1 - nu)), so the best
k + 28 of a query are proven to hold its k nearest when no row outside can reach the k-th of them. Where that cannot be
proven, every pair of that query is scored again in float64, and where not even that proves it, every row within its error
is a candidate. Among the candidates differences of distances decide.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nightgate.errors import NotMeasured
from nightgate.vectors.metric import behind, unit

if TYPE_CHECKING:
    import numpy as np

    from nightgate.vectors.dataset import Dataset

log = logging.getLogger(__name__)

FORMAT = 5
_QUERIES = 1024  # scored at once, against ...
_ROWS = 16_384  # ... this many rows: their scores take 64 MB, and longer products would be hardly any faster
_FIRST = 1024  # rows of the first block, all of which are candidates; each block after it is as long as all before it
_SPARE = 28  # candidates kept beyond k: float32 sums swap neighbours, and a gap is needed behind them for the proof
_SAMPLE = 4096  # rows whose median is taken as the centre
_ROUNDED = 8  # roundings a score meets besides its sums: when vectors were stored, shifted and squared, with room
_SMALLEST = 2.0**-120  # what float32 loses of a product below its range, and more


@dataclass(frozen=True)
class Truth:
    """The exact top k of each query: ``ids`` int64, (queries, k), best first, equal ones by id."""

    ids: np.ndarray


def exact(
    base: np.ndarray,
    queries: np.ndarray,
    k: int,
    metric: str,
    *,
    original: np.ndarray | None = None,
    original_queries: np.ndarray | None = None,
) -> Truth:
    """Search ``base`` (rows, dim) with ``queries`` (n, dim), both finite float32, by trying every pair.

    The memory is that of one block, whatever the number of rows and queries. The products run on a CUDA device when cupy
    sees one. Rows that float64 cannot tell apart are a tie, and any of them may stand last.

    Args:
        original, original_queries: what ``base`` and ``queries`` were before each of their values was rounded (and all
            were shifted, scaled or brought to unit length, which moves no neighbour). These decide; None: no such thing.

    Raises:
        NotMeasured: the base has fewer than k rows.
    """
    import numpy as np

    if len(base) < k:
        raise NotMeasured(f"the base of {len(base)} rows has no {k} nearest neighbours", "use more vectors")
    rows, asked = base if original is None else original, queries if original_queries is None else original_queries
    width = min(k + _SPARE, len(base))
    ids = np.empty((len(queries), k), np.int64)
    for start in range(0, len(queries), _QUERIES):
        some = slice(start, start + _QUERIES)
        first = _Scoring(base, queries[some], metric, np.float32)
        ids[some], proven = decide(rows, asked[some], *first.candidates(width), first, k)
        left = start + np.flatnonzero(~proven)
        if len(left):
            log.info("exact neighbours: %d of %d queries need float64", len(left), len(proven))
            again = _Scoring(rows, asked[left], metric, np.float64)
            found, proven = decide(rows, asked[left], *again.candidates(width), again, k)
            ids[left] = widened(rows, asked[left], found, np.flatnonzero(~proven), again)
    return Truth(ids)


def decide(
    rows: np.ndarray, asked: np.ndarray, candidates: np.ndarray, worst: np.ndarray, scoring: _Scoring, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest among ``candidates`` (n, width), ids of ``rows``, of each query, and whether they are proven.

    Args:
        worst: float64, (n,): no row outside the candidates has a higher score in ``scoring``; -inf when there is none.

    Returns:
        ids, int64 (n, k), best first; bool (n,), whether no row outside can be nearer than the last of them.
    """
    import numpy as np

    ids, proven = np.empty((len(asked), k), np.int64), np.empty(len(asked), bool)
    for row, query in enumerate(asked):
        ids[row] = nearest(rows, candidates[row], query, k, scoring.metric)
        proven[row] = worst[row] < scoring.surely(ids[row, -1], row)
    return ids, proven


def widened(
    rows: np.ndarray, asked: np.ndarray, ids: np.ndarray, unproven: np.ndarray, scoring: _Scoring
) -> np.ndarray:
    """``ids`` (n, k), where those of the ``unproven`` queries are the nearest of all rows that may be as near as their last."""
    import numpy as np

    if not len(unproven):
        return ids
    least, found = [scoring.surely(ids[query, -1], query) for query in unproven], ids.copy()
    for start, scores in scoring.blocks():
        for query, enough in zip(unproven, least, strict=True):
            near = start + np.flatnonzero(scoring.host(scores[query]) >= enough)
            near = near[(rows[near] != rows[found[query, -1]]).any(axis=1)]  # a copy of the last one changes nothing
            if len(near):
                candidates = np.union1d(found[query], near)
                found[query] = nearest(rows, candidates, asked[query], ids.shape[1], scoring.metric)
    return found


def nearest(rows: np.ndarray, candidates: np.ndarray, query: np.ndarray, k: int, metric: str) -> np.ndarray:
    """The ``k`` nearest of the ``candidates`` (n,), distinct ids of ``rows``, best first, equal ones by id: int64 (k,)."""
    import numpy as np

    there = np.sort(candidates)
    vectors, query = np.asarray(rows[there], np.float64), np.asarray(query, np.float64)
    if metric == "cosine":  # ranks as the distances of unit vectors do, which are made once
        vectors, query, metric = unit(vectors), unit(query), "l2"
    # from about the best one on the differences are small, and so is what rounding can do to them
    rough = -(vectors @ query) if metric == "ip" else np.square(vectors - query).sum(axis=1)
    farther, _ = behind(vectors, vectors[int(np.argmin(rough))], query, metric)
    return there[np.argsort(farther, kind="stable")[:k]]


class _Scoring:
    """Scores of every pair in one type of float, higher the nearer, and how wrong they can be.

    A score is 2 q·b - |b|², which ranks as -|q - b|² does, for "l2", with both shifted to the base's centre: a shift moves
    no distance, and without an offset that all share more digits are left. It is q·b for the others.
    """

    def __init__(self, base: np.ndarray, queries: np.ndarray, metric: str, dtype: Any) -> None:
        import numpy as np

        self.base, self.metric, self.dtype = base, metric, np.dtype(dtype)
        self._xp = _array_module()
        self._centre: np.ndarray | None = None
        if metric == "l2":
            sample = base[:: max(1, len(base) // _SAMPLE)]
            self._centre = np.median(np.asarray(sample, np.float64), axis=0).astype(self.dtype)
        self._asked = self._ready(queries)
        self._lengths = np.linalg.norm(self._asked.astype(np.float64), axis=1)
        self._longest = self._off_unit = 0.0

    def candidates(self, width: int) -> tuple[np.ndarray, np.ndarray]:
        """The ids of the ``width`` best of each query, (n, width), in no order, and the score that no other row exceeds.

        Of each block only the scores above the worst kept so far are looked at, which soon are few.
        """
        xp, count = self._xp, len(self._asked)
        best, ids = xp.full((count, width), -xp.inf, self.dtype), xp.full((count, width), -1)
        marks = xp.empty(count * _ROWS, bool)
        for start, product in self.blocks():
            better = marks[: product.size].reshape(product.shape)
            xp.greater(product, best.min(axis=1, keepdims=True), out=better)
            row, column = xp.divmod(xp.flatnonzero(better), product.shape[1])
            found = xp.bincount(row, minlength=count)
            place = width + xp.arange(len(row)) - (xp.cumsum(found) - found)[row]
            pool = xp.full((count, width + int(found.max())), -xp.inf, self.dtype)
            pool_ids = xp.full(pool.shape, -1)
            pool[:, :width], pool_ids[:, :width] = best, ids
            pool[row, place], pool_ids[row, place] = product[row, column], column + start
            keep = xp.argpartition(pool, -width)[:, -width:]
            best, ids = xp.take_along_axis(pool, keep, axis=1), xp.take_along_axis(pool_ids, keep, axis=1)
        worst = best.min(axis=1) if width < len(self.base) else xp.full(count, -xp.inf)
        return self.host(ids), self.host(worst).astype("float64")

    def surely(self, row: int, query: int) -> float:
        """What a row needs to score so that it may be as near as ``row`` to the query of that number."""
        import numpy as np

        there = self._ready(self.base[row][None])[0].astype(np.float64)
        asked = self._asked[query].astype(np.float64)
        score = 2 * asked @ there - there @ there if self.metric == "l2" else asked @ there
        return float(score) - self._error(query)

    def _error(self, query: int) -> float:
        """How far apart, at most, two rows are scored that are equally near; `candidates` has seen every row by then.

        Infinite where a sum could have left the range of the type.
        """
        import numpy as np

        floats, dim = np.finfo(self.dtype), self.base.shape[1]
        unit_roundoff = float(floats.eps) / 2
        gamma = (dim + _ROUNDED) * unit_roundoff / (1 - (dim + _ROUNDED) * unit_roundoff)
        size = self._lengths[query] * self._longest
        if self.metric == "l2":
            size = 2 * size + self._longest**2
        if not size < float(floats.max) / 2:
            return float("inf")
        return 2 * (gamma * size + self._off_unit * self._lengths[query] + dim * _SMALLEST)

    def blocks(self) -> Iterator[tuple[int, Any]]:
        """Block by block: its first row and the scores of all queries, (n, rows), until the next block is asked for."""
        import numpy as np

        xp, count = self._xp, len(self._asked)
        asked = xp.asarray(2 * self._asked if self.metric == "l2" else self._asked)
        room = xp.empty(count * _ROWS, self.dtype)
        stop = 0
        while stop < len(self.base):
            start, stop = stop, min(stop + min(max(stop, _FIRST), _ROWS), len(self.base))
            block, size = xp.asarray(self._ready(self.base[start:stop])), count * (stop - start)
            squares = xp.einsum("ij,ij->i", block, block)
            self._longest = max(self._longest, float(xp.sqrt(squares.max())))
            if self.metric == "cosine":
                self._off_unit = max(self._off_unit, float(xp.abs(squares - 1).max()))
            with np.errstate(over="ignore", invalid="ignore"):  # what leaves float32 is done again, see `_error`
                product = xp.matmul(asked, block.T, out=room[:size].reshape(count, -1))
                if self.metric == "l2":
                    product -= squares
            yield start, product

    def _ready(self, vectors: np.ndarray) -> np.ndarray:
        import numpy as np

        vectors = np.asarray(vectors, self.dtype)
        if self._centre is not None:
            return vectors - self._centre
        return unit(vectors) if self.metric == "cosine" and self.dtype == np.float64 else vectors

    def host(self, array: Any) -> np.ndarray:
        return array.get() if hasattr(array, "get") else array


def _array_module() -> Any:
    """cupy when it is there and sees a device, else numpy; both are called alike."""
    import numpy as np

    try:
        import cupy
    except ImportError:
        return np
    return cupy if cupy.is_available() else np


def write(folder: Path, dataset: Dataset, k: int) -> dict[str, Truth]:
    """Find and `save` the truth of the measured queries and of those to tune on."""
    found = {}
    for name in ("queries", "tuning"):
        found[name] = exact(
            dataset.base, getattr(dataset, name), k, dataset.metric,
            original=dataset.exact("base"), original_queries=dataset.exact(name),
        )  # fmt: skip
        save(folder, name, found[name])
    return found


def save(folder: Path, name: str, found: Truth) -> None:
    """Write the truth of the queries ``name`` for `open_truth`."""
    import numpy as np

    np.save(folder / f"{name}-ids.npy", found.ids)


def open_truth(folder: Path, name: str) -> Truth:
    """Load what `save` wrote.

    Raises:
        NotMeasured: there is none. Recall without a ground truth is an error, never 1.0.
    """
    import numpy as np

    try:
        return Truth(np.load(folder / f"{name}-ids.npy"))
    except OSError as error:
        raise NotMeasured(f"there is no ground truth for the {name} queries in {folder} ({error})") from error
