"""The last stage of the hybrid: exact scores for the candidates that the compressed codes proposed."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nightgate.errors import InputError
from nightgate.vectors.arrays import Array, Arrays

if TYPE_CHECKING:
    import numpy as np

_AT_ONCE = 2**28  # numbers of the candidates on a device: 1 GB of float32


def rerank_pq(
    query: np.ndarray,
    candidates: np.ndarray,
    vectors: Array,
    k: int,
    metric: str = "cosine",
    *,
    arrays: Arrays | None = None,
) -> np.ndarray:
    """The ``k`` candidates nearest to ``query`` by their original vectors.

    Product quantisation ranks by approximate scores, so it is asked for more than ``k`` (the refine factor) and the
    order among those is decided here exactly (Jégou et al., *Searching in one billion vectors: re-rank with source
    coding*, ICASSP 2011, with the vectors themselves in place of a second code).

    Args:
        query: float32, shape (dim,).
        candidates: int ids into ``vectors``, shape (n,), from one source or several; -1 marks an empty place, and an
            id that stands more than once counts once.
        vectors: float32, shape (rows, dim), C order; a numpy array, or one of ``arrays``, as `rerank_many` takes it.
        k: how many to return.
        metric: "cosine" (unit vectors) and "ip" by inner product, "l2" by Euclidean distance.
        arrays: what holds ``vectors``; None: numpy.

    Returns:
        int64 ids, best first, shape (min(k, distinct candidates),); equal scores are ordered by id.

    Raises:
        InputError: ``k`` is below 1, the dimensions differ, or a candidate is not among the vectors.
    """
    import numpy as np

    if arrays is not None:
        ids = rerank_many(query[None], candidates[None], vectors, k, metric, arrays=arrays)[0]
        answer: np.ndarray = ids[ids >= 0]
        return answer
    _check(query.shape, vectors.shape, k)
    ids = _distinct(candidates)
    if len(ids) and ids[-1] >= len(vectors):
        raise _not_among(ids[-1], len(vectors))
    scores = _scores(query, ids, vectors, metric)
    if len(ids) > k:
        kept = np.argpartition(-scores, k - 1)[:k]
        # a tie at the border goes to the smaller id, like every other tie
        border = scores[kept].min()
        kept = np.flatnonzero(scores >= border)
        ids, scores = ids[kept], scores[kept]
    return ids[np.argsort(-scores, kind="stable")][:k]


def rerank_many(
    queries: np.ndarray, candidates: Array, vectors: Array, k: int, metric: str = "cosine", *, arrays: Arrays
) -> np.ndarray:
    """As `rerank_pq`, of many queries at once, where ``vectors`` are: only ids leave the device.

    It sums in float32 as the CPU does, in another order, so two candidates whose scores differ by less than γ of the
    lengths of what is multiplied, γ = 2 · dim · 2⁻²⁴ (Higham 2002, §3.1; 3e-5 of 256 dimensions, and some 1e-6 as a rule),
    may change places between the two. Equal scores are ordered by id.

    Args:
        queries: float32, shape (n, dim).
        candidates: int64 ids, shape (n, width), -1 in an empty place; numpy's, or on the device.
        vectors: float32, shape (rows, dim), as `Arrays.put` returns it.
        arrays: what holds ``vectors``.

    Returns:
        int64 ids, best first, shape (n, min(k, width)), -1 where a query has fewer candidates.

    Raises:
        InputError: as `rerank_pq`.
    """
    import numpy as np

    _check(queries.shape[1:], vectors.shape, k)
    xp, (count, width) = arrays.xp, candidates.shape
    found, highest = np.empty((count, min(k, width)), np.int64), -1
    at_once = max(1, _AT_ONCE // max(1, width * vectors.shape[1]))
    for start in range(0, count if width else 0, at_once):
        some = slice(start, start + at_once)
        asked, ids = arrays.put(queries[some]), arrays.sort(arrays.put(candidates[some]))
        void = ids < 0
        void[:, 1:] |= ids[:, 1:] == ids[:, :-1]
        rows = vectors[xp.where(void | (ids >= len(vectors)), 0, ids)]
        if metric == "l2":
            scores = -((rows - asked[:, None]) ** 2).sum(axis=-1)
        else:
            scores = xp.matmul(rows, asked[:, :, None])[:, :, 0]
        order = arrays.argsort(-xp.where(void, -xp.inf, scores))[:, :k]
        found[some] = arrays.get(xp.where(arrays.take(void, order), -1, arrays.take(ids, order)))
        highest = max(highest, int(ids[:, -1].max()))
    if highest >= len(vectors):
        raise _not_among(highest, len(vectors))
    return found


def _check(query: tuple[int, ...], vectors: tuple[int, ...], k: int) -> None:
    if k < 1:
        raise InputError(f"k must be at least 1, not {k}")
    if query != vectors[1:]:
        raise InputError(f"the query has shape {query}, the vectors have dimension {vectors[1]}")


def _not_among(candidate: int, rows: int) -> InputError:
    return InputError(f"candidate {candidate} is not among the {rows} vectors")


def _distinct(candidates: np.ndarray) -> np.ndarray:
    """The ids that stand in ``candidates``, each once, ascending. Of so few, sorting is quicker than
    `numpy.unique`."""
    import numpy as np

    ids = np.sort(candidates).astype(np.int64, copy=False)
    ids = ids[np.searchsorted(ids, 0) :]  # the empty places stand first
    first = np.ones(len(ids), bool)
    np.not_equal(ids[1:], ids[:-1], out=first[1:])
    return ids[first]


def _scores(query: np.ndarray, ids: np.ndarray, vectors: np.ndarray, metric: str) -> np.ndarray:
    """Scores (n,) float32. faiss reads the rows where they lie, where numpy would copy them first."""
    import faiss
    import numpy as np

    query, scores = np.ascontiguousarray(query, np.float32), np.empty(len(ids), np.float32)
    compare = faiss.fvec_L2sqr_by_idx if metric == "l2" else faiss.fvec_inner_products_by_idx
    pointers = (faiss.swig_ptr(array) for array in (scores, query, vectors, ids))
    compare(*pointers, vectors.shape[1], 1, len(ids))
    return -scores if metric == "l2" else scores
