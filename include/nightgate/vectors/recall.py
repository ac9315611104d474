"""k-recall@k with ties: how many of the k answers are among the k nearest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nightgate.errors import NotMeasured
from nightgate.vectors.metric import behind

if TYPE_CHECKING:
    import numpy as np

    from nightgate.vectors.truth import Truth


def per_query(
    found: np.ndarray | list[np.ndarray], truth: Truth, base: np.ndarray, queries: np.ndarray, k: int, metric: str
) -> np.ndarray:
    """Recall of each query, float64 in [0, 1], shape (queries,).

    An answer counts when it is no farther than the true k-th neighbour: ids alone would punish a tie. How much farther
    one is that is none of the true neighbours comes from the difference of the two (`metric.behind`), so nothing else of the
    distances can hide it. Missing
    answers (fewer than k, or -1) are misses; the denominator is always k.

    Args:
        found: ids, best first, per query; at most the first k are looked at.
        base, queries: what the ids and the truth are of: of a user's data set as its file has it (`Dataset.exact`).

    Raises:
        NotMeasured: an id twice in one answer, an id outside the base, or a truth that is too short.
    """
    import numpy as np

    if truth.ids.shape[1] < k or len(truth.ids) < len(queries):
        raise NotMeasured(f"the ground truth holds {truth.ids.shape}, too little for {len(queries)} queries at k={k}")
    if len(found) != len(queries):
        raise NotMeasured(f"{len(found)} answers for {len(queries)} queries")
    recall = np.empty(len(queries))
    for row, answer in enumerate(found):
        ids = np.asarray(answer, dtype=np.int64)[:k]
        ids = ids[ids >= 0]
        if len(np.unique(ids)) != len(ids):
            raise NotMeasured(f"query {row} was answered with the same id twice")
        if len(ids) and ids.max() >= len(base):
            raise NotMeasured(f"query {row} was answered with id {ids.max()}, outside the base of {len(base)} rows")
        true = truth.ids[row, :k]
        known = np.isin(ids, true)
        ties = reaching(ids[~known], true[-1], base, queries[row], metric) if not known.all() else 0
        recall[row] = (np.count_nonzero(known) + ties) / k
    return recall


def reaching(ids: np.ndarray, kth: int, base: np.ndarray, query: np.ndarray, metric: str) -> int:
    """How many of the rows ``ids`` (n,) are no farther from ``query`` (dim,) than the row ``kth``."""
    import numpy as np

    farther, tie = behind(base[ids], base[kth], query, metric)
    return int(np.count_nonzero(farther <= tie))
