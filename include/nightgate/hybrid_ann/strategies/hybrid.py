"""HNSW routes, IVFPQ scans, `rerank_pq` decides.

A graph over the centroids finds the lists (Baranchuk, Babenko & Malkov, *Revisiting the Inverted Indices for
Billion-Scale Approximate Nearest Neighbors*, ECCV 2018), their 4-bit codes propose candidates, the vectors themselves
decide. Why the graph routes and does not seed: `README.md` beside the strategies.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING

from nightgate.hybrid_ann.rerank import rerank_pq
from nightgate.hybrid_ann.strategies.ivfpq_index import IVFPQ, open_index, open_list_of
from nightgate.vector_search.session import Setting
from nightgate.vector_search.strategy import Index, Strategy

if TYPE_CHECKING:
    import numpy as np

# (lists to scan, candidates per neighbour): both grow together, since more lists bring more that the codes cannot order
STEPS = (
    (4, 4),
    (8, 4),
    (12, 4),
    (16, 4),
    (24, 5),
    (32, 5),
    (48, 6),
    (64, 6),
    (96, 8),
    (128, 8),
    (192, 10),
    (256, 10),
    (384, 12),
    (512, 12),
    (768, 16),
    (1024, 16),
)
LEAST = 32  # neighbours that candidates are proposed for: of a few, the codes order too many wrongly
_EF_PER_LIST = 1.5  # of the router: asked for no more than it needs, it misses lists that then cost more to make up for


class Hybrid(Strategy):
    """A setting is ``lists``, how many are scanned, and ``refine``, how many candidates the reranking sees per neighbour."""

    name, label = "hybrid", "HNSW routes, IVFPQ scans"
    requires = ("faiss", "numpy")
    build_seconds_per_number = 2e-7
    index_bytes_per_number = 0.0  # a tenth of the vectors

    @classmethod
    def indexes(cls) -> tuple[Index, ...]:
        return (IVFPQ,)

    def __init__(self, folders: Sequence[Path], base: np.ndarray, metric: str) -> None:
        import faiss

        faiss.omp_set_num_threads(1)  # for whoever asks one by one
        folder = folders[0]
        self._index, self._router = open_index(folder)
        self._base, self._metric = base, metric
        self._refine = 1
        self.list_of = open_list_of(folder)
        steps = [step for step in STEPS if step[0] <= self._index.nlist]
        self.settings: Sequence[Setting] = tuple({"lists": lists, "refine": refine} for lists, refine in steps)

    def tune(self, setting: Setting) -> None:
        self._index.nprobe, self._refine = setting["lists"], setting["refine"]
        self._router.hnsw.efSearch = round(setting["lists"] * _EF_PER_LIST)

    def search(self, query: np.ndarray, k: int) -> np.ndarray:
        return self.rerank(query, self.scan(query, self.route(query), k), k)

    def route(self, query: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        distance, lists = self._router.search(query[None], self._index.nprobe)
        return lists, distance

    def scan(self, query: np.ndarray, routed: tuple[np.ndarray, np.ndarray], k: int) -> np.ndarray:
        answer: np.ndarray = self._index.search_preassigned(query[None], max(k, LEAST) * self._refine, *routed)[1][0]
        return answer

    def rerank(self, query: np.ndarray, candidates: np.ndarray, k: int) -> np.ndarray:
        return rerank_pq(query, candidates, self._base, k, self._metric)

    def search_many(self, queries: np.ndarray, k: int, threads: int) -> list[np.ndarray]:
        import faiss

        faiss.omp_set_num_threads(threads)
        distance, lists = self._router.search(queries, self._index.nprobe)
        _, candidates = self._index.search_preassigned(queries, max(k, LEAST) * self._refine, lists, distance)
        with ThreadPoolExecutor(threads) as pool:
            return list(pool.map(lambda query, ids: self.rerank(query, ids, k), queries, candidates))
