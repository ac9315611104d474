"""The index of the hybrid: a `faiss.IndexIVFPQ` with many short lists and an HNSW graph over their centroids.

Built in two steps, each kept when it is done, so that a build that was killed while it added the vectors resumes there.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nightgate.hybrid_ann.strategies.centroids import assigner, two_level
from nightgate.vector_search.session import Facts
from nightgate.vector_search.strategy import Index

if TYPE_CHECKING:
    import numpy as np

_MOST_LISTS = 65_536
_SAMPLE_PER_LIST = 40  # faiss asks for 39 training vectors per centroid
_SAMPLE_FOR_CODES = 20_000
_ROUTER_M = 32  # of the graph over the centroids: with 16 links it misses more of the nearest lists
_ROUTER_EF_CONSTRUCTION = 200
_COMPARED = 256  # centroids
_BLOCK = 100_000
_INDEX, _TRAINED, _ASSIGNER, _LIST_OF = "ivfpq.faiss", "trained.faiss", "assigner.faiss", "list-of.npy"


def lists_for(rows: int, rows_per_list: int) -> int:
    """The power of two nearest to ``rows / rows_per_list``, from 16 to 65,536."""
    answer: int = min(_MOST_LISTS, max(16, 2 ** round(math.log2(rows / rows_per_list))))
    return answer


def train(
    folder: Path,
    base: np.ndarray,
    metric: str,
    *,
    threads: int,
    rows_per_list: int,
    codes: int | None = None,
    bits: int = 4,
    seed: int = 1,
) -> Facts:
    """Find the centroids, the graph over them and the codebooks from a sample of ``base`` (rows, dim) float32.

    A vector is put into ``codes`` codes of ``bits`` bits; when None, of two dimensions each.
    """
    import faiss
    import numpy as np

    faiss.omp_set_num_threads(threads)
    rows, dim = base.shape
    lists = lists_for(rows, rows_per_list)
    order = np.random.default_rng(seed).permutation(rows)
    centroids = two_level(base[np.sort(order[: lists * _SAMPLE_PER_LIST])], lists, metric, seed)
    kind = faiss.METRIC_L2 if metric == "l2" else faiss.METRIC_INNER_PRODUCT
    # in half precision a centroid takes half the memory traffic, and the same lists are found
    if half := half_precision_suffices(centroids):
        router = faiss.IndexHNSWSQ(dim, faiss.ScalarQuantizer.QT_fp16, _ROUTER_M, kind)
        router.train(centroids)
    else:
        router = faiss.IndexHNSWFlat(dim, _ROUTER_M, kind)
    router.hnsw.efConstruction = _ROUTER_EF_CONSTRUCTION
    router.add(centroids)
    # two dimensions a code, 4 bits each: what the registers of a fast scan hold (André et al., ICMR 2017)
    codes = codes or (dim // 2 if dim % 2 == 0 else dim)
    index = faiss.IndexIVFPQ(router, dim, len(centroids), codes, bits, kind)
    index.pq.cp.seed = seed
    index.train(base[np.sort(order[:_SAMPLE_FOR_CODES])])
    faiss.write_index(index, str(folder / _TRAINED))
    faiss.write_index(assigner(centroids, metric), str(folder / _ASSIGNER))
    said: Facts = {"lists": len(centroids), "pq": f"PQ{codes}x{bits}" + "fs" * (bits == 4)}
    return said if half else said | {"centroids_stored_as": "float32, since half precision cannot tell them apart"}


def half_precision_suffices(vectors: np.ndarray) -> bool:
    """Whether float16 moves ``vectors`` (n, dim), by a sample of them, less than a hundredth of the way to another."""
    import numpy as np

    exact = np.asarray(vectors, np.float64)
    with np.errstate(over="ignore"):
        rounded = vectors.astype(np.float16)
    if not np.isfinite(rounded).all():
        return False
    some = np.random.default_rng(1).permutation(len(exact))[:_COMPARED]
    squares = (exact**2).sum(axis=1)
    apart = squares[some, None] + squares - 2 * exact[some] @ exact.T
    apart[np.arange(len(some)), some] = np.inf
    moved = ((exact[some] - rounded[some]) ** 2).sum(axis=1)
    return bool(np.mean(moved <= 1e-4 * np.maximum(apart.min(axis=1), 0)) > 0.99)


def build(folder: Path, base: np.ndarray, metric: str, *, trained: Path, threads: int, fast_scan: bool = True) -> Facts:
    """Add every vector of ``base`` to what `train` left in ``trained``; ``fast_scan`` asks for codes of 4 bits."""
    import faiss
    import numpy as np
    from faiss.contrib.ivf_tools import add_preassigned

    faiss.omp_set_num_threads(threads)
    index, nearest = faiss.read_index(str(trained / _TRAINED)), faiss.read_index(str(trained / _ASSIGNER))
    list_of = np.empty(len(base), np.int32)
    for start in range(0, len(base), _BLOCK):
        block = np.ascontiguousarray(base[start : start + _BLOCK])
        lists = nearest.search(block, 1)[1][:, 0]
        add_preassigned(index, block, lists)
        list_of[start : start + len(block)] = lists
    if fast_scan:
        index = faiss.IndexIVFPQFastScan(index)  # the same codes, laid out for registers
    faiss.write_index(index, str(folder / _INDEX))
    np.save(folder / _LIST_OF, list_of)
    return {}


def open_index(folder: Path) -> tuple[Any, Any]:
    """The IVFPQ index and its router, the `faiss.IndexHNSWSQ` over the centroids."""
    import faiss

    index = faiss.read_index(str(folder / _INDEX))
    return index, faiss.downcast_index(index.quantizer)


def open_list_of(folder: Path) -> np.ndarray:
    """The list that each vector is in: int32, (rows,)."""
    import numpy as np

    answer: np.ndarray = np.load(folder / _LIST_OF, mmap_mode="r")
    return answer


IVFPQ = Index("ivfpq", build, ("faiss",), ("rows_per_list",), train, seeded=True)
"""What `hybrid` and its like read."""
