"""Exact nearest neighbours by cosine similarity, the yardstick of every recall figure."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nightgate.errors import NotMeasured

if TYPE_CHECKING:
    import numpy as np

FORMAT = 2
_BLOCK = 65_536


@dataclass(frozen=True)
class Truth:
    """The exact top k of each query: ``ids`` int64 and ``similarity`` float32, both (queries, k), best first."""

    ids: np.ndarray
    similarity: np.ndarray


def exact(base: np.ndarray, queries: np.ndarray, k: int) -> Truth:
    """Search ``base`` (rows, dim) with ``queries`` (n, dim), both unit-length float32, by faiss's flat index in blocks.

    Blocks keep the memory at one block's vectors, whatever the number of rows.
    """
    import faiss
    import numpy as np

    heap = faiss.ResultHeap(len(queries), k, keep_max=True)
    queries = np.ascontiguousarray(queries)
    for start in range(0, len(base), _BLOCK):
        block = np.ascontiguousarray(base[start : start + _BLOCK])
        similarity, ids = faiss.knn(queries, block, min(k, len(block)), metric=faiss.METRIC_INNER_PRODUCT)
        heap.add_result(similarity, ids + start)
    heap.finalize()
    return Truth(heap.I, heap.D)


def local_dimension(truth: Truth) -> float:
    """The local intrinsic dimension at the queries: the maximum-likelihood estimate of Levina & Bickel (NIPS 2004)
    from the Euclidean distances to the k nearest neighbours, its inverse averaged over the queries (MacKay &
    Ghahramani 2005)."""
    import numpy as np

    distance = np.sqrt(np.maximum(2 - 2 * truth.similarity.astype(np.float64), 1e-12))
    inverse = np.log(distance[:, -1:] / distance[:, :-1]).mean(axis=1)
    return float(1 / inverse.mean())


def write(folder: Path, base: np.ndarray, query_sets: dict[str, np.ndarray], k: int) -> dict[str, Any]:
    """Save the truth of each query set as ``<name>-ids.npy`` and ``<name>-similarity.npy``; returns what it tells of
    the data: the `local_dimension` at the queries of each set."""
    import numpy as np

    dimension = {}
    for name, queries in query_sets.items():
        truth = exact(base, queries, k)
        dimension[name] = local_dimension(truth)
        np.save(folder / f"{name}-ids.npy", truth.ids)
        np.save(folder / f"{name}-similarity.npy", truth.similarity)
    return {"k": k, "local_dimension": dimension}


def open_truth(folder: Path, name: str) -> Truth:
    """Load what `write` saved.

    Raises:
        NotMeasured: there is none. Recall without a ground truth is an error, never 1.0.
    """
    import numpy as np

    try:
        return Truth(np.load(folder / f"{name}-ids.npy"), np.load(folder / f"{name}-similarity.npy"))
    except OSError as error:
        raise NotMeasured(f"there is no ground truth for the {name} queries in {folder} ({error})") from error
