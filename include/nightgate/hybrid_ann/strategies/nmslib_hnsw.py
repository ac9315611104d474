"""The control `hnsw`: nmslib's HNSW graph over all vectors, of which it keeps a copy.

The graph compares by Euclidean distance, since its pruning rule needs distances that are not negative: on unit vectors
that orders as cosine does, and for the inner product every vector gets one more dimension, so that all are equally long
(Bachrach et al., RecSys 2014); a query has a zero there.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nightgate.vector_search.session import Facts, Setting
from nightgate.vector_search.strategy import Strategy

if TYPE_CHECKING:
    import numpy as np

_FILE = "hnsw.nmslib"


class Nmslib(Strategy):
    """The setting is ``efSearch``."""

    name, label = "hnsw", "HNSW, nmslib"
    requires = ("nmslib",)
    parameters = ("m", "ef_construction")
    build_seconds_per_number = 1.5e-6
    settings = tuple({"efSearch": ef} for ef in (100, 150, 200, 300, 400, 600, 800))

    @classmethod
    def build(cls, folder: Path, base: np.ndarray, metric: str, *, threads: int, m: int, ef_construction: int) -> Facts:
        """Build the graph of ``base`` (rows, dim) float32 into ``folder``."""
        graph = _new_graph()
        graph.addDataPointBatch(_equally_long(base) if metric == "ip" else base)
        graph.createIndex({"M": m, "efConstruction": ef_construction, "indexThreadQty": threads, "post": 0})
        graph.saveIndex(str(folder / _FILE), save_data=False)  # its copy of the vectors is in the graph already
        return {"m": m, "ef_construction": ef_construction}

    def __init__(self, folders: Sequence[Path], base: np.ndarray, metric: str) -> None:
        self._graph, self._lift = _new_graph(), metric == "ip"
        self._graph.loadIndex(str(folders[0] / _FILE), load_data=False)

    def tune(self, setting: Setting) -> None:
        self._graph.setQueryTimeParams({"efSearch": setting["efSearch"]})

    def search(self, query: np.ndarray, k: int) -> np.ndarray:
        answer: np.ndarray = self._graph.knnQuery(self._lifted(query), k=k)[0].astype("int64")
        return answer

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
