"""Many centroids in little time: k-means in two levels.

Lloyd's algorithm over 8192 centroids costs minutes on two cores. Here √lists cells are found first and each is then
split on its own, in proportion to the vectors it holds, which costs a hundredth of the products (Nistér & Stewénius,
*Scalable Recognition with a Vocabulary Tree*, CVPR 2006, with two levels).
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

_ITERATIONS = 8
_POINTS_PER_CELL = 200
_NEAR_CELLS = (
    8  # of the first level that `assigner` looks into: nearly all get the very nearest centroid, the rest a near one
)
_SEED = 1


def two_level(sample: np.ndarray, lists: int, metric: str, seed: int = _SEED) -> np.ndarray:
    """``lists`` centroids (fewer when ``sample`` has fewer vectors) of ``sample`` (n, dim) float32; float32 (lists, dim)."""
    import numpy as np

    cells = max(1, round(math.sqrt(lists)))
    chosen = np.random.default_rng(seed).permutation(len(sample))[: cells * _POINTS_PER_CELL]
    coarse = _kmeans(sample[chosen], cells, metric, seed)
    cell = coarse.search(sample, 1)[1][:, 0]
    sizes = np.bincount(cell, minlength=cells)
    shares = np.minimum(_apportion(sizes, lists), sizes)
    parts = [
        _vectors(_kmeans(sample[cell == number], int(share), metric, seed))
        for number, share in enumerate(shares)
        if share
    ]
    return np.concatenate(parts)


def assigner(centroids: np.ndarray, metric: str) -> Any:
    """A faiss index over ``centroids`` (lists, dim) whose nearest neighbour is, nearly always, the exact one.

    Trying every centroid for a million vectors would take longer than everything else of a build together.
    """
    import faiss

    cells = max(1, round(math.sqrt(len(centroids))))
    coarse = _flat(centroids.shape[1], metric)
    index = faiss.IndexIVFFlat(coarse, centroids.shape[1], cells, coarse.metric_type)
    index.cp.min_points_per_centroid = 1
    index.cp.seed = _SEED
    index.train(centroids)
    index.add(centroids)
    index.nprobe = min(_NEAR_CELLS, cells)
    return index


def _apportion(sizes: np.ndarray, seats: int) -> np.ndarray:
    """Divide ``seats`` in proportion to ``sizes`` by the largest remainders; who has any vectors gets at least one."""
    import numpy as np

    exact = sizes / sizes.sum() * seats
    shares = np.maximum(np.floor(exact), sizes > 0).astype(np.int64)
    left = max(0, seats - int(shares.sum()))
    shares[np.argsort(shares - exact, kind="stable")[:left]] += 1
    answer: np.ndarray = shares
    return answer


def _kmeans(vectors: np.ndarray, count: int, metric: str, seed: int) -> Any:
    """A flat faiss index that holds ``count`` centroids of ``vectors``."""
    import faiss
    import numpy as np

    clustering = faiss.Clustering(vectors.shape[1], min(count, len(vectors)))
    clustering.niter, clustering.seed = _ITERATIONS, seed
    clustering.spherical = metric == "cosine"  # unit vectors: centroids belong on the sphere as well
    clustering.min_points_per_centroid, clustering.max_points_per_centroid = 1, len(vectors)
    # by Euclidean distance also under "ip": a mean is the best centre in that sense alone
    index = _flat(vectors.shape[1], "cosine" if metric == "cosine" else "l2")
    clustering.train(np.ascontiguousarray(vectors), index)
    return index


def _vectors(flat: Any) -> np.ndarray:
    import numpy as np

    return np.asarray(flat.reconstruct_n(0, flat.ntotal))  # a tensor in a process where faiss knows torch


def _flat(dim: int, metric: str) -> Any:
    import faiss

    return faiss.IndexFlatL2(dim) if metric == "l2" else faiss.IndexFlatIP(dim)
