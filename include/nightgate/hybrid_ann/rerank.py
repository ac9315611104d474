"""The last stage of the hybrid: exact scores for the candidates that the compressed codes proposed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nightgate.errors import InputError

if TYPE_CHECKING:
    import numpy as np


def rerank_pq(query: np.ndarray, candidates: np.ndarray, vectors: Any, k: int, metric: str = "cosine") -> np.ndarray:
    """The ``k`` candidates nearest to ``query`` by their original vectors.

    Product quantisation ranks by approximate scores, so it is asked for more than ``k`` (the refine factor) and the
    order among those is decided here exactly (Jégou et al., *Searching in one billion vectors: re-rank with source
    coding*, ICASSP 2011, with the vectors themselves in place of a second code).

    Args:
        query: float32, shape (dim,).
        candidates: int ids into ``vectors``, shape (n,), from one source or several; -1 marks an empty place, and an
            id that stands more than once counts once.
        vectors: float32, shape (rows, dim), C order; a numpy array, or a cupy array on a GPU, where only the scores
            leave the device. Both sum in float32, so two candidates whose scores differ by less than about 1e-6 of
            them may change places between the two.
        k: how many to return.
        metric: "cosine" (unit vectors) and "ip" by inner product, "l2" by Euclidean distance.

    Returns:
        int64 ids, best first, shape (min(k, distinct candidates),); equal scores are ordered by id.

    Raises:
        InputError: ``k`` is below 1, the dimensions differ, or a candidate is not among the vectors.
    """
    import numpy as np

    if k < 1:
        raise InputError(f"k must be at least 1, not {k}")
    if query.shape != vectors.shape[1:]:
        raise InputError(f"the query has shape {query.shape}, the vectors have dimension {vectors.shape[1]}")
    ids = _distinct(candidates)
    if len(ids) and ids[-1] >= len(vectors):
        raise InputError(f"candidate {ids[-1]} is not among the {len(vectors)} vectors")
    scores = (_on_cpu if isinstance(vectors, np.ndarray) else _on_gpu)(query, ids, vectors, metric)
    if len(ids) > k:
        kept = np.argpartition(-scores, k - 1)[:k]
        # a tie at the border goes to the smaller id, like every other tie
        border = scores[kept].min()
        kept = np.flatnonzero(scores >= border)
        ids, scores = ids[kept], scores[kept]
    return ids[np.argsort(-scores, kind="stable")][:k]


def _distinct(candidates: np.ndarray) -> np.ndarray:
    """The ids that stand in ``candidates``, each once, ascending. Of so few, sorting is quicker than
    `numpy.unique`."""
    import numpy as np

    ids = np.sort(candidates).astype(np.int64, copy=False)
    ids = ids[np.searchsorted(ids, 0) :]  # the empty places stand first
    first = np.ones(len(ids), bool)
    np.not_equal(ids[1:], ids[:-1], out=first[1:])
    return ids[first]


def _on_cpu(query: np.ndarray, ids: np.ndarray, vectors: np.ndarray, metric: str) -> np.ndarray:
    """Scores (n,) float32. faiss reads the rows where they lie, where numpy would copy them first."""
    import faiss
    import numpy as np

    query, scores = np.ascontiguousarray(query, np.float32), np.empty(len(ids), np.float32)
    compare = faiss.fvec_L2sqr_by_idx if metric == "l2" else faiss.fvec_inner_products_by_idx
    pointers = (faiss.swig_ptr(array) for array in (scores, query, vectors, ids))
    compare(*pointers, vectors.shape[1], 1, len(ids))
    return -scores if metric == "l2" else scores


def _on_gpu(query: np.ndarray, ids: np.ndarray, vectors: Any, metric: str) -> np.ndarray:
    """Scores (n,) float32, computed where ``vectors`` are."""
    import cupy

    rows, asked = vectors[cupy.asarray(ids)], cupy.asarray(query)
    scores = -((rows - asked) ** 2).sum(axis=1) if metric == "l2" else rows @ asked
    return cupy.asnumpy(scores)
