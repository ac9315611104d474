"""Three ways to answer a query, behind one interface: `Hnsw`, `IvfpqRefine`, `Hybrid`.

The hybrid routes with an HNSW graph over the centroids of the inverted file (Baranchuk et al., *Revisiting the
Inverted Indices for Billion-Scale Approximate Nearest Neighbors*, ECCV 2018), scans the routed lists by their 4-bit
product-quantisation codes (`faiss.IndexIVFPQ` in its fast-scan layout, André et al. 2017) and reranks exactly. A graph over
all vectors would take forty times longer to build and more memory than the vectors' codes.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from nightgate.hybrid_ann.rerank import rerank_pq

if TYPE_CHECKING:
    import numpy as np

FORMAT = 2  # part of the cache key of every index
_ROUTER_M = 16
_ROUTER_EF = 64  # a narrower search of so small a graph saves nothing and loses whole lists


class Strategy(Protocol):
    """``knobs`` are its settings from the cheapest to the dearest; `tune` puts one in force."""

    knobs: Sequence[int]

    def tune(self, knob: int) -> None: ...

    def search(self, query: np.ndarray, k: int) -> np.ndarray:
        """The ids (int64, at most k, best first) for one float32 query of shape (dim,)."""
        ...


def build_hnsw(folder: Path, base: np.ndarray, *, m: int, ef_construction: int, threads: int) -> None:
    """An nmslib HNSW graph over all vectors."""
    graph = _new_graph()
    graph.addDataPointBatch(base)
    graph.createIndex({"M": m, "efConstruction": ef_construction, "indexThreadQty": threads, "post": 0})
    graph.saveIndex(str(folder / "hnsw.nmslib"), save_data=True)


def build_ivfpq(folder: Path, base: np.ndarray) -> dict[str, Any]:
    """A `faiss.IndexIVFPQ` (4 bits, two dimensions per code) and the HNSW graph over its centroids."""
    import faiss
    import numpy as np

    rows, dim = base.shape
    lists = min(4096, max(16, 2 ** round(math.log2(math.sqrt(rows)))))
    coarse = faiss.IndexFlatIP(dim)
    index = faiss.IndexIVFPQ(coarse, dim, lists, dim // 2, 4, faiss.METRIC_INNER_PRODUCT)
    index.cp.spherical = True  # unit vectors: centroids belong on the sphere as well
    index.cp.seed = 1
    sample = np.random.default_rng(1).permutation(rows)[: lists * 128]
    index.train(np.ascontiguousarray(base[np.sort(sample)]))
    for start in range(0, rows, 100_000):
        index.add(np.ascontiguousarray(base[start : start + 100_000]))
    fast = faiss.IndexIVFPQFastScan(index)  # the same codes, laid out for SIMD registers
    faiss.write_index(fast, str(folder / "ivfpq.faiss"))
    router = _new_graph()
    router.addDataPointBatch(coarse.reconstruct_n(0, lists))
    router.createIndex({"M": _ROUTER_M, "efConstruction": 200, "indexThreadQty": 1, "post": 0})
    router.saveIndex(str(folder / "router.nmslib"), save_data=True)
    return {"lists": lists, "pq": f"PQ{dim // 2}x4fs"}


class Hnsw:
    """nmslib HNSW alone. The knob is ``efSearch``."""

    knobs = (100, 150, 200, 300, 400, 600, 800)

    def __init__(self, folder: Path, base: np.ndarray, refine: int) -> None:
        self._graph = _load_graph(folder / "hnsw.nmslib")

    def tune(self, knob: int) -> None:
        self._graph.setQueryTimeParams({"efSearch": knob})

    def search(self, query: np.ndarray, k: int) -> np.ndarray:
        return self._graph.knnQuery(query, k=k)[0]


class IvfpqRefine:
    """faiss alone: flat routing, fast scan, exact rerank. The knob is ``nprobe``."""

    knobs = (4, 8, 12, 16, 24, 32, 48, 64, 96, 128, 192, 256, 384, 512)

    def __init__(self, folder: Path, base: np.ndarray, refine: int) -> None:
        self._index = _load_ivfpq(folder)
        self._base, self._refine = base, refine
        self.knobs = tuple(knob for knob in self.knobs if knob <= self._index.nlist)

    def tune(self, knob: int) -> None:
        self._index.nprobe = knob

    def search(self, query: np.ndarray, k: int) -> np.ndarray:
        _, candidates = self._index.search(query[None], k * self._refine)
        return rerank_pq(query, candidates[0], self._base, k)


class Hybrid:
    """HNSW routes, IVFPQ scans, `rerank_pq` decides. The knob is the number of routed lists."""

    knobs = IvfpqRefine.knobs
    stages = ("route", "scan", "rerank")

    def __init__(self, folder: Path, base: np.ndarray, refine: int) -> None:
        self._index = _load_ivfpq(folder)
        self._router = _load_graph(folder / "router.nmslib")
        self._centroids = self._index.quantizer.reconstruct_n(0, self._index.nlist)
        self._base, self._refine = base, refine
        self.knobs = tuple(knob for knob in self.knobs if knob <= self._index.nlist)

    def tune(self, knob: int) -> None:
        self._index.nprobe = knob
        self._router.setQueryTimeParams({"efSearch": max(_ROUTER_EF, 2 * knob)})

    def search(self, query: np.ndarray, k: int) -> np.ndarray:
        return self.rerank(query, self.scan(query, self.route(query), k), k)

    def route(self, query: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """The ids of the lists to scan and the similarity of their centroids, both (1, nprobe); -1 where none was found."""
        import numpy as np

        found, _ = self._router.knnQuery(query, k=self._index.nprobe)
        lists = np.full((1, self._index.nprobe), -1, dtype=np.int64)
        similarity = np.zeros((1, self._index.nprobe), dtype=np.float32)
        lists[0, : len(found)] = found
        similarity[0, : len(found)] = self._centroids[found] @ query
        return lists, similarity

    def scan(self, query: np.ndarray, routed: tuple[np.ndarray, np.ndarray], k: int) -> np.ndarray:
        """Candidate ids (k × refine,) from the routed lists by their codes."""
        lists, similarity = routed
        return self._index.search_preassigned(query[None], k * self._refine, lists, similarity)[1][0]

    def rerank(self, query: np.ndarray, candidates: np.ndarray, k: int) -> np.ndarray:
        return rerank_pq(query, candidates, self._base, k)


STRATEGIES: dict[str, type[Hnsw] | type[IvfpqRefine] | type[Hybrid]] = {
    "hnsw": Hnsw,
    "ivfpq_refine": IvfpqRefine,
    "hybrid": Hybrid,
}


def _new_graph() -> Any:
    import nmslib

    # on unit vectors L2 orders as cosine does, and the graph's pruning rule needs distances that are not negative
    return nmslib.init(method="hnsw", space="l2", data_type=nmslib.DataType.DENSE_VECTOR)


def _load_graph(file: Path) -> Any:
    graph = _new_graph()
    graph.loadIndex(str(file), load_data=True)
    return graph


def _load_ivfpq(folder: Path) -> Any:
    import faiss

    return faiss.read_index(str(folder / "ivfpq.faiss"))
