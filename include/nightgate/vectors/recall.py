"""k-recall@k with ties: how many of the k answers are among the k nearest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nightgate.errors import NotMeasured

if TYPE_CHECKING:
    import numpy as np

    from nightgate.vectors.truth import Truth

_RELATIVE_TIE = 1e-6
_ABSOLUTE_TIE = 1e-7


def per_query(
    found: np.ndarray | list[np.ndarray], truth: Truth, base: np.ndarray, queries: np.ndarray, k: int
) -> np.ndarray:
    """Recall of each query, float64 in [0, 1], shape (queries,).

    An answer counts when its similarity, recomputed in float64, reaches that of the true k-th neighbour within
    1e-6 relative + 1e-7: ids alone would punish a tie. Missing answers (fewer than k, or -1) are misses; the
    denominator is always k. ann-benchmarks uses an absolute 1e-3, which on tight clusters counts everything.

    Raises:
        NotMeasured: an id twice in one answer, an id outside the base, or a truth that is too short.
    """
    import numpy as np

    if truth.ids.shape[1] < k or len(truth.ids) < len(queries):
        raise NotMeasured(f"the ground truth holds {truth.ids.shape}, too little for {len(queries)} queries at k={k}")
    recall = np.empty(len(queries))
    for row, answer in enumerate(found):
        ids = np.asarray(answer, dtype=np.int64)[:k]
        ids = ids[ids >= 0]
        if len(np.unique(ids)) != len(ids):
            raise NotMeasured(f"query {row} was answered with the same id twice")
        if len(ids) and ids.max() >= len(base):
            raise NotMeasured(f"query {row} was answered with id {ids.max()}, outside the base of {len(base)} rows")
        query = np.asarray(queries[row], dtype=np.float64)
        kth = float(np.asarray(base[truth.ids[row, k - 1]], dtype=np.float64) @ query)
        similarity = np.asarray(base[ids], dtype=np.float64) @ query
        recall[row] = np.count_nonzero(similarity >= kth - abs(kth) * _RELATIVE_TIE - _ABSOLUTE_TIE) / k
    return recall
