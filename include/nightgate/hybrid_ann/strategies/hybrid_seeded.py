"""The other topology: an HNSW graph over all vectors seeds. The lists its first finds are in are scanned by IVFPQ, and
`rerank_pq` merges seeds and candidates."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from nightgate.hybrid_ann.rerank import rerank_pq
from nightgate.hybrid_ann.strategies.hybrid import LEAST
from nightgate.hybrid_ann.strategies.ivfpq_index import IVFPQ, open_index, open_list_of
from nightgate.hybrid_ann.strategies.nmslib_hnsw import Nmslib
from nightgate.vector_search.session import Setting
from nightgate.vector_search.strategy import Index, Strategy

if TYPE_CHECKING:
    import numpy as np

_REFINE = 4


class HybridSeeded(Strategy):
    """The setting is ``seeds``, how many vectors the graph is asked for."""

    name, label = "hybrid_seeded", "HNSW seeds, IVFPQ scans"
    requires = ("nmslib", "faiss", "numpy")
    settings = tuple({"seeds": seeds} for seeds in (10, 20, 40, 70, 100, 150, 200, 300, 400))

    @classmethod
    def indexes(cls) -> tuple[Index, ...]:
        return (IVFPQ, *Nmslib.indexes())

    def __init__(self, folders: Sequence[Path], base: np.ndarray, metric: str) -> None:
        import faiss
        import numpy as np

        faiss.omp_set_num_threads(1)  # for whoever asks one by one
        folder, graph_folder = folders
        self._graph = Nmslib([graph_folder], base, metric)
        self._index, router = open_index(folder)
        # a tensor in a process where faiss knows torch
        self._centroids = np.asarray(faiss.downcast_index(router.storage).reconstruct_n(0, self._index.nlist))
        self._base, self._metric = base, metric
        self._seeds = 0
        self.list_of = open_list_of(folder)

    def tune(self, setting: Setting) -> None:
        self._seeds = self._index.nprobe = setting["seeds"]  # as many lists at most
        self._graph.tune({"efSearch": self._seeds})

    def search(self, query: np.ndarray, k: int) -> np.ndarray:
        return self.rerank(query, self.scan(query, self.route(query), k), k)

    def route(self, query: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The lists that the seeds are in, int64 (1, seeds), -1 in the places that are left, and the ids of the seeds."""
        import numpy as np

        seeds = self._graph.search(query, self._seeds)
        lists = np.full((1, self._seeds), -1, dtype=np.int64)
        found = np.unique(self.list_of[seeds])
        lists[0, : len(found)] = found
        return lists, seeds

    def scan(self, query: np.ndarray, routed: tuple[np.ndarray, np.ndarray], k: int) -> np.ndarray:
        import numpy as np

        lists, seeds = routed
        centroids = self._centroids[lists[0]]  # any for an empty place, which the scan passes over
        near = ((centroids - query) ** 2).sum(axis=1) if self._metric == "l2" else centroids @ query
        found = self._index.search_preassigned(query[None], max(k, LEAST) * _REFINE, lists, near[None])[1][0]
        return np.concatenate([seeds, found])

    def rerank(self, query: np.ndarray, candidates: np.ndarray, k: int) -> np.ndarray:
        return rerank_pq(query, candidates, self._base, k, self._metric)

    def search_many(self, queries: np.ndarray, k: int, threads: int) -> list[np.ndarray]:
        with ThreadPoolExecutor(threads) as pool:
            return list(pool.map(lambda query: self.search(query, k), queries))
