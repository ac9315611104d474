"""A peer: the HNSW graph of usearch (Unum), with its vectors in half precision (f16).

It needs half the memory of float32; its scores are as exact as 11 bits of mantissa allow. Vectors that so few bits cannot
tell apart are stored in float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nightgate.hybrid_ann.strategies.ivfpq_index import half_precision_suffices
from nightgate.vector_search.session import Facts, Setting
from nightgate.vector_search.strategy import Strategy

if TYPE_CHECKING:
    import numpy as np

_FILE = "graph.usearch"
_SAMPLE = 4096
_METRICS = {"cosine": "cos", "ip": "ip", "l2": "l2sq"}


class Usearch(Strategy):
    """The setting is ``expansion_search``, the library's word for ef."""

    name, label = "usearch", "HNSW, usearch"
    requires = ("usearch",)
    parameters = ("m", "ef_construction")
    build_seconds_per_number = 3e-6
    settings = tuple({"expansion_search": ef} for ef in (100, 150, 200, 300, 400, 600, 800))

    @classmethod
    def build(cls, folder: Path, base: np.ndarray, metric: str, *, threads: int, m: int, ef_construction: int) -> Facts:
        """Build the graph of ``base`` (rows, dim) float32 into ``folder``.

        Returns:
            the parameters it was built with, the type of the stored vectors, and the instruction set that compares them.
        """
        import numpy as np
        from usearch.index import Index

        stored_as = "f16" if half_precision_suffices(base[:: max(1, len(base) // _SAMPLE)]) else "f32"
        graph = Index(
            ndim=base.shape[1], metric=_METRICS[metric], dtype=stored_as, connectivity=m, expansion_add=ef_construction
        )
        graph.add(np.arange(len(base), dtype=np.uint64), base, threads=threads)
        graph.save(folder / _FILE)
        return {
            "m": m,
            "ef_construction": ef_construction,
            "stored_as": stored_as,
            "instructions": graph.hardware_acceleration,
        }

    def __init__(self, folders: Sequence[Path], base: np.ndarray, metric: str) -> None:
        from usearch.index import Index

        # into memory: of a view, the first queries would pay for reading the file
        self._graph = Index.restore(folders[0] / _FILE)

    def tune(self, setting: Setting) -> None:
        self._graph.expansion_search = setting["expansion_search"]

    def search(self, query: np.ndarray, k: int) -> np.ndarray:
        """Ids (at most k,) int64, best first, of one query (dim,) on one thread."""
        import numpy as np

        answer: np.ndarray = self._graph.search(query, k, threads=1).keys.astype(np.int64)
        return answer

    def search_many(self, queries: np.ndarray, k: int, threads: int) -> list[np.ndarray]:
        """The ids of each query of (n, dim), on ``threads`` threads."""
        import numpy as np

        if len(queries) == 1:  # the library answers a batch of one without its outer dimension
            return [self.search(queries[0], k)]
        found = self._graph.search(queries, k, threads=threads)
        keys = found.keys.astype(np.int64)
        return [row[:count] for row, count in zip(keys, found.counts, strict=True)]
