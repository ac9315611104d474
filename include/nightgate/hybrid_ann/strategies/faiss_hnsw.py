"""A peer: the HNSW graph of faiss (`faiss.IndexHNSWFlat`), its vectors in float32 beside it in one file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nightgate.vector_search.session import Facts, Setting
from nightgate.vector_search.strategy import Strategy

if TYPE_CHECKING:
    import numpy as np

_FILE = "graph.faiss"


class FaissHnsw(Strategy):
    """The setting is ``efSearch``. Vectors under "cosine" are stored unit-length, so their inner product is compared."""

    name, label = "faiss_hnsw", "HNSW, faiss"
    requires = ("faiss",)
    parameters = ("m", "ef_construction")
    build_seconds_per_number = 1.5e-6
    settings = tuple({"efSearch": ef} for ef in (100, 150, 200, 300, 400, 600, 800))

    @classmethod
    def build(cls, folder: Path, base: np.ndarray, metric: str, *, threads: int, m: int, ef_construction: int) -> Facts:
        """Build the graph of ``base`` (rows, dim) float32 into ``folder``; returns the parameters it was built with."""
        import faiss
        import numpy as np

        faiss.omp_set_num_threads(threads)
        kind = faiss.METRIC_L2 if metric == "l2" else faiss.METRIC_INNER_PRODUCT
        graph = faiss.IndexHNSWFlat(base.shape[1], m, kind)
        graph.hnsw.efConstruction = ef_construction
        graph.add(np.asarray(base))  # where faiss knows torch it takes no subclass, which an array of a mapped file is
        faiss.write_index(graph, str(folder / _FILE))
        return {"m": m, "ef_construction": ef_construction}

    def __init__(self, folders: Sequence[Path], base: np.ndarray, metric: str) -> None:
        import faiss

        faiss.omp_set_num_threads(1)  # for whoever asks one by one
        self._graph = faiss.read_index(str(folders[0] / _FILE))

    def tune(self, setting: Setting) -> None:
        self._graph.hnsw.efSearch = setting["efSearch"]

    def search(self, query: np.ndarray, k: int) -> np.ndarray:
        """Ids (at most k,) int64, best first, of one query (dim,); faiss gives a single query a single thread."""
        _, ids = self._graph.search(query[None], k)
        return _found(ids[0])

    def search_many(self, queries: np.ndarray, k: int, threads: int) -> list[np.ndarray]:
        """The ids of each query of (n, dim), on ``threads`` threads."""
        import faiss

        faiss.omp_set_num_threads(threads)
        _, ids = self._graph.search(queries, k)
        return [_found(row) for row in ids]


def _found(ids: np.ndarray) -> np.ndarray:
    """``ids`` without the -1 that stands where no neighbour was found."""
    return ids[ids >= 0]
