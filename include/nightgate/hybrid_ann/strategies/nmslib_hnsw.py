"""The control `hnsw`: nmslib's HNSW graph over all vectors, of which it keeps a copy.

The graph compares by Euclidean distance, since its pruning rule needs distances that are not negative: on unit vectors
that orders as cosine does, and for the inner product every vector gets one more dimension, so that all are equally long
(Bachrach et al., RecSys 2014); a query has a zero there.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

_FILE = "hnsw.nmslib"


def build(folder: Path, base: np.ndarray, metric: str, *, m: int, ef_construction: int, threads: int) -> dict[str, Any]:
    """Build the graph of ``base`` (rows, dim) float32 into ``folder``."""
    graph = _new_graph()
    graph.addDataPointBatch(_equally_long(base) if metric == "ip" else base)
    graph.createIndex({"M": m, "efConstruction": ef_construction, "indexThreadQty": threads, "post": 0})
    graph.saveIndex(str(folder / _FILE), save_data=False)  # its copy of the vectors is in the graph already
    return {"m": m, "ef_construction": ef_construction}


class Strategy:
    """The setting is ``efSearch``."""

    settings = tuple({"efSearch": ef} for ef in (100, 150, 200, 300, 400, 600, 800))

    def __init__(self, folder: Path, base: np.ndarray, metric: str) -> None:
        self._graph, self._lift = _new_graph(), metric == "ip"
        self._graph.loadIndex(str(folder / _FILE), load_data=False)

    def tune(self, setting: dict[str, int]) -> None:
        self._graph.setQueryTimeParams({"efSearch": setting["efSearch"]})

    def search(self, query: np.ndarray, k: int) -> np.ndarray:
        return self._graph.knnQuery(self._lifted(query), k=k)[0].astype("int64")

    def search_many(self, queries: np.ndarray, k: int, threads: int) -> list[np.ndarray]:
        answers = self._graph.knnQueryBatch(self._lifted(queries), k=k, num_threads=threads)
        return [ids.astype("int64") for ids, _ in answers]

    def _lifted(self, queries: np.ndarray) -> np.ndarray:
        import numpy as np

        return np.pad(queries, [(0, 0)] * (queries.ndim - 1) + [(0, 1)]) if self._lift else queries


def _new_graph() -> Any:
    import nmslib

    return nmslib.init(method="hnsw", space="l2", data_type=nmslib.DataType.DENSE_VECTOR)


def _equally_long(base: np.ndarray) -> np.ndarray:
    import numpy as np

    squares = np.einsum("ij,ij->i", base, base, dtype=np.float64)
    return np.column_stack([base, np.sqrt(squares.max() - squares).astype(np.float32)])
