"""k-recall@k with ties: how many of the k answers are among the k nearest."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nightgate.errors import NotMeasured
from nightgate.vectors.metric import scores

if TYPE_CHECKING:
    import numpy as np

    from nightgate.vectors.truth import Truth

_RELATIVE_TIE = 1e-6
_ABSOLUTE_TIE = 1e-7


def per_query(
    found: np.ndarray | list[np.ndarray], truth: Truth, base: np.ndarray, queries: np.ndarray, k: int, metric: str
) -> np.ndarray:
    """Recall of each query, float64 in [0, 1], shape (queries,).

    An answer counts when its score, recomputed in float64, reaches that of the true k-th neighbour within 1e-6 of it,
    and for an inner product, whose terms may cancel, within 1e-7 of the product of both lengths beside that: ids alone
    would punish a tie. Missing answers (fewer than k, or -1) are misses; the denominator is always k. ann-benchmarks
    uses an absolute 1e-3, which on tight clusters counts everything.

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
        floor = _worst_that_counts(base[truth.ids[row, k - 1]], queries[row], metric)
        recall[row] = np.count_nonzero(scores(base[ids], queries[row], metric) >= floor) / k
    return recall


def _worst_that_counts(kth: np.ndarray, query: np.ndarray, metric: str) -> float:
    import numpy as np

    score = float(scores(kth[None], query, metric)[0])
    lengths = 0.0 if metric == "l2" else float(np.linalg.norm(kth) * np.linalg.norm(query))
    return score - _RELATIVE_TIE * abs(score) - _ABSOLUTE_TIE * lengths
