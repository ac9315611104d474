"""Exact search in a base: candidates by their scores, an order by differences of distances, and a proof.

Every pair is scored in float32 first (`scoring`), so the best k + 28 of a query are proven to hold its k nearest when no row
outside can reach the k-th of them. Where that cannot be proven, every pair of that query is scored again in float64, and
where not even that proves it, every row within its error is a candidate. Among the candidates differences of distances
decide. On a device they do as well; what float64 cannot tell apart there is decided on the CPU, so the ids are the same.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from time import perf_counter
from typing import TYPE_CHECKING

from nightgate.errors import NotMeasured
from nightgate.vectors.arrays import Array, Arrays
from nightgate.vectors.metric import behind, unit
from nightgate.vectors.scoring import Rows, Scoring

if TYPE_CHECKING:
    import numpy as np

log = logging.getLogger(__name__)

_QUERIES = 1024  # scored at once
_SPARE = 28  # candidates kept beyond k: float32 sums swap neighbours, and a gap is needed behind them for the proof
_DECIDED = 2**25  # numbers of float64 on a device at once while it decides: 256 MB, and a few times that while it does


@dataclass(frozen=True)
class Found:
    """What one search found and cost.

    ``ids``: int64, (queries, k), best first, equal ones by id. ``proven``: bool, (queries,), whether the scores in float32
    proved that no other row is nearer. ``seconds``: of the whole search; ``scoring_seconds``: of its candidates alone, which
    is what a device is for. Both end when the device has finished, and neither holds the copy of the base to it.
    ``flops`` and ``bytes_moved``: what scoring every pair takes at least, 2 · queries · rows · dim, and 4 bytes for each
    number of the base (once for every 1024 queries) and of the queries, and for each score when it is written and read.
    """

    ids: np.ndarray
    proven: np.ndarray
    seconds: float
    scoring_seconds: float
    flops: int
    bytes_moved: int


class ExactSearch:
    """Searches one base by trying every pair, as often as is asked.

    On a GPU the base is kept there when it fits; else, and on the CPU, the memory is that of one block, whatever the number
    of rows. Equal distances are ordered by id, to the last place, so the ids are the same wherever they are found, as long as
    float64 tells the distances of different rows apart.
    """

    def __init__(
        self, base: np.ndarray, metric: str, *, original: np.ndarray | None = None, arrays: Arrays | None = None
    ) -> None:
        """
        Args:
            base: float32, finite, (rows, dim); of "cosine" at unit length.
            metric: "cosine", "l2" or "ip".
            original: what ``base`` was before each of its values was rounded (and all were shifted, scaled or brought to
                unit length, which moves no neighbour). It decides; None: no such thing.
            arrays: where to compute, see `arrays.on`; None: numpy on the CPU.
        """
        import numpy as np

        self.arrays = Arrays() if arrays is None else arrays
        self._deciding = base if original is None else original
        self._rows = Rows(base, metric, np.float32, self.arrays).keep()

    @property
    def on_device(self) -> bool:
        """Whether the base is kept on a device."""
        return self._rows.raw is not None

    def search(self, queries: np.ndarray, k: int, *, original: np.ndarray | None = None) -> Found:
        """The ``k`` nearest rows of each of ``queries`` (n, dim) float32, proven.

        Args:
            original: the queries before they were rounded, if `original` of the base is given.

        Raises:
            NotMeasured: the base has fewer than k rows.
        """
        return self._searched(queries, queries if original is None else original, k, prove=True)

    def nearest(self, queries: np.ndarray, k: int) -> Found:
        """As `search`, for those who count what was found: what float32 does not prove is left as it is."""
        return self._searched(queries, queries, k, prove=False)

    def _searched(self, queries: np.ndarray, asked: np.ndarray, k: int, *, prove: bool) -> Found:
        import numpy as np

        (rows, dim), count = self._rows.base.shape, len(queries)
        if rows < k:
            raise NotMeasured(f"the base of {rows} rows has no {k} nearest neighbours", "use more vectors")
        ids, proven, scoring_seconds, start = np.empty((count, k), np.int64), np.empty(count, bool), 0.0, perf_counter()
        for first in range(0, count, _QUERIES):
            some = slice(first, first + _QUERIES)
            began, scoring = perf_counter(), Scoring(self._rows, queries[some])
            candidates, worst = scoring.candidates(min(k + _SPARE, rows))
            self.arrays.synchronize()
            scoring_seconds += perf_counter() - began
            ids[some], proven[some] = decide(self._deciding, asked[some], candidates, worst, scoring, k)
            if prove and not proven[some].all():
                left = first + np.flatnonzero(~proven[some])
                log.info("exact neighbours: %d of %d queries need float64", len(left), len(proven[some]))
                ids[left] = self._in_float64(asked[left], k)
        passes = -(-count // _QUERIES)
        return Found(
            ids,
            proven,
            perf_counter() - start,
            scoring_seconds,
            2 * count * rows * dim,
            4 * (passes * rows * dim + count * dim + 2 * count * rows),
        )

    def _in_float64(self, asked: np.ndarray, k: int) -> np.ndarray:
        import numpy as np

        rows = self._deciding
        scoring = Scoring(Rows(rows, self._rows.metric, np.float64, self.arrays), asked)
        candidates, worst = scoring.candidates(min(k + _SPARE, len(rows)))
        ids, proven = decide(rows, asked, candidates, worst, scoring, k)
        return widened(rows, asked, ids, np.flatnonzero(~proven), scoring)


def decide(
    rows: np.ndarray, asked: np.ndarray, candidates: Array, worst: np.ndarray, scoring: Scoring, k: int
) -> tuple[np.ndarray, np.ndarray]:
    """The k nearest among ``candidates`` (n, width), ids of ``rows``, of each query, and whether they are proven.

    Args:
        candidates: on the device of ``scoring``.
        worst: float64, (n,): no row outside the candidates has a higher score in ``scoring``; -inf when there is none.

    Returns:
        ids, int64 (n, k), best first; bool (n,), whether no row outside can be nearer than the last of them.
    """
    import numpy as np

    ids, sure = np.empty((len(asked), k), np.int64), np.zeros(len(asked), bool)
    if scoring.rows.raw is not None and rows is scoring.rows.base:
        ids, sure = ordered(scoring.rows, asked, candidates, k)
    if not sure.all():
        there = scoring.rows.arrays.get(candidates)
        for row in np.flatnonzero(~sure):
            ids[row] = nearest(rows, there[row], asked[row], k, scoring.metric)
    return ids, worst < scoring.surely(ids[:, -1], np.arange(len(asked)))


def ordered(rows: Rows, asked: np.ndarray, candidates: Array, k: int) -> tuple[np.ndarray, np.ndarray]:
    """As `nearest`, of many queries at once on the device of ``rows``, which are kept there.

    Returns:
        ids, int64 (n, k); bool (n,), whether float64 tells apart what stands beside each other in them, so that no other
        order of the sums could change them.
    """
    import numpy as np

    arrays, (count, width) = rows.arrays, candidates.shape
    xp, at_once = arrays.xp, max(1, _DECIDED // (width * rows.base.shape[1]))
    ids, sure = np.empty((count, k), np.int64), np.empty(count, bool)
    for start in range(0, count, at_once):
        some = slice(start, start + at_once)
        there = arrays.sort(candidates[some])
        assert rows.raw is not None  # `exact` has put them there
        vectors = xp.asarray(rows.raw[there], dtype=xp.float64)
        query = xp.asarray(arrays.put(asked[some]), dtype=xp.float64)[:, None]
        direction = unit(vectors, xp) if rows.metric == "cosine" else vectors
        rough = ((vectors - query) ** 2).sum(axis=-1) if rows.metric == "l2" else -(direction * query).sum(axis=-1)
        pivot = vectors[arrays.arange(len(there)), rough.argmin(axis=1)][:, None]
        farther, tie = behind(vectors, pivot, query, rows.metric, xp)
        order = arrays.argsort(farther)
        farther, tie = arrays.take(farther, order), arrays.take(tie, order)
        apart = farther[:, 1:] - farther[:, :-1] > tie[:, 1:] + tie[:, :-1]
        ids[some] = arrays.get(arrays.take(there, order))[:, :k]
        sure[some] = arrays.get(apart[:, :k].all(axis=1))
    return ids, sure


def widened(rows: np.ndarray, asked: np.ndarray, ids: np.ndarray, unproven: np.ndarray, scoring: Scoring) -> np.ndarray:
    """``ids`` (n, k), where those of the ``unproven`` queries are the nearest of all rows that may be as near as their last."""
    import numpy as np

    if not len(unproven):
        return ids
    least, found = scoring.surely(ids[unproven, -1], unproven), ids.copy()
    for start, scores in scoring.blocks():
        for query, enough in zip(unproven, least, strict=True):
            near = start + np.flatnonzero(scoring.rows.arrays.get(scores[query]) >= enough)
            last = found[query, -1]
            # a copy of the last one changes nothing, unless it comes before it by its id
            near = near[(near < last) | (rows[near] != rows[last]).any(axis=1)]
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
