"""A peer: the HNSW graph of hnswlib, by the authors of the method (Malkov & Yashunin, TPAMI 2020).

The graph keeps its own copy of the vectors in float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nightgate.vector_search.session import Facts, Setting
from nightgate.vector_search.strategy import Strategy

if TYPE_CHECKING:
    import numpy as np

_FILE = "graph.hnswlib"


class Hnswlib(Strategy):
    """The setting is ``ef``, the length of the list of candidates; the library raises it to k where it is lower."""

    name, label = "hnswlib", "HNSW, hnswlib"
    requires = ("hnswlib",)
    parameters, seeded = ("m", "ef_construction"), True
    build_seconds_per_number = 1e-6
    settings = tuple({"ef": ef} for ef in (100, 150, 200, 300, 400, 600, 800))

    @classmethod
    def build(
        cls, folder: Path, base: np.ndarray, metric: str, *, threads: int, m: int, ef_construction: int, seed: int = 1
    ) -> Facts:
        """Build the graph of ``base`` (rows, dim) float32 into ``folder``; returns the parameters it was built with."""
        import hnswlib

        rows, dim = base.shape
        graph = hnswlib.Index(space=metric, dim=dim)  # its spaces bear the names of our metrics
        graph.init_index(max_elements=rows, M=m, ef_construction=ef_construction, random_seed=seed)
        graph.add_items(base, num_threads=threads)
        graph.save_index(str(folder / _FILE))
        return {"m": m, "ef_construction": ef_construction}

    def __init__(self, folders: Sequence[Path], base: np.ndarray, metric: str) -> None:
        import hnswlib

        self._graph = hnswlib.Index(space=metric, dim=base.shape[1])
        self._graph.load_index(str(folders[0] / _FILE))
        self._graph.set_num_threads(1)
        self._rows = self._graph.get_current_count()

    def tune(self, setting: Setting) -> None:
        self._graph.set_ef(setting["ef"])

    def search(self, query: np.ndarray, k: int) -> np.ndarray:
        """Ids (k,) int64, best first, of one query (dim,) on one thread; none at all where the library gives up."""
        return self._answer(query, k, threads=1)[0]

    def search_many(self, queries: np.ndarray, k: int, threads: int) -> list[np.ndarray]:
        """The ids of each query of (n, dim), on ``threads`` threads."""
        answers = self._answer(queries, k, threads)
        # one query that the library gives up fails its whole batch: ask one by one then
        return answers if len(answers) == len(queries) else [self.search(query, k) for query in queries]

    def _answer(self, queries: np.ndarray, k: int, threads: int) -> list[np.ndarray]:
        """The ids of each query, or one empty answer for all.

        The library fails a call in which a query reaches fewer than k vectors, which many equal vectors in the base
        can cause, and hands out none of what it found. Such a query has no answer: all its neighbours are missed.
        """
        import numpy as np

        try:
            ids, _ = self._graph.knn_query(queries, min(k, self._rows), num_threads=threads)
        except RuntimeError as error:
            if "contiguous 2D array" not in str(error):
                raise
            return [np.empty(0, dtype=np.int64)]
        return list(ids.astype(np.int64))
