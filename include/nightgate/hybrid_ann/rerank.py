"""The last stage of the hybrid: exact scores for the candidates that the compressed codes proposed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nightgate.errors import InputError

if TYPE_CHECKING:
    import numpy as np


def rerank_pq(query: np.ndarray, candidates: np.ndarray, vectors: np.ndarray, k: int) -> np.ndarray:
    """The ``k`` candidates most similar to ``query`` by their original vectors.

    Product quantisation ranks by approximate scores, so it is asked for more than ``k`` (the refine factor) and the
    order among those is decided here exactly (Jégou et al., *Searching in one billion vectors: re-rank with source
    coding*, ICASSP 2011, with the vectors themselves in place of a second code).

    Args:
        query: float32, shape (dim,).
        candidates: int ids into ``vectors``, shape (n,), from one source or several; -1 marks an empty place, and an
            id that stands more than once counts once.
        vectors: float32, shape (rows, dim); inner product is the similarity.
        k: how many to return.

    Returns:
        int64 ids, best first, shape (min(k, distinct candidates),); equal scores are ordered by id.

    Raises:
        InputError: ``k`` is below 1 or the dimensions differ.
    """
    import numpy as np

    if k < 1:
        raise InputError(f"k must be at least 1, not {k}")
    if query.shape != vectors.shape[1:]:
        raise InputError(f"the query has shape {query.shape}, the vectors have dimension {vectors.shape[1]}")
    ids = np.unique(candidates)
    ids = ids[np.searchsorted(ids, 0) :]  # sorted, so the empty places stand first
    scores = vectors[ids] @ query
    if len(ids) > k:
        kept = np.argpartition(-scores, k - 1)[:k]
        # a tie at the border goes to the smaller id, like every other tie
        border = scores[kept].min()
        kept = np.flatnonzero(scores >= border)
        ids, scores = ids[kept], scores[kept]
    return ids[np.argsort(-scores, kind="stable")][:k].astype(np.int64, copy=False)
