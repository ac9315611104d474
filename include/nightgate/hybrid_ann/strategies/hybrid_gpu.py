"""The hybrid on a GPU: a graph routes, faiss scans the lists on the device, `rerank_many` decides there.

It has an index of its own, `ivfpq_gpu`, since `faiss.GpuIndexIVFPQ` takes codes of 8 bits and no graph over its
centroids (Johnson, Douze & Jégou, *Billion-scale similarity search with GPUs*, IEEE Transactions on Big Data 2021). One
query is routed by the graph on the CPU, a batch by the device, which compares all centroids in less time than a graph takes
to be walked for one of the queries.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nightgate.errors import Unavailable
from nightgate.hybrid_ann.rerank import rerank_many, rerank_pq
from nightgate.hybrid_ann.strategies import ivfpq_index
from nightgate.hybrid_ann.strategies.hybrid import LEAST, Hybrid
from nightgate.vector_search.session import Facts
from nightgate.vector_search.strategy import Index
from nightgate.vectors import arrays
from nightgate.versions import installed

if TYPE_CHECKING:
    import numpy as np

_CODES = (1, 2, 3, 4, 8, 12, 16, 20, 24, 28, 32, 40, 48, 56, 64, 96)  # per vector: what the scan is compiled for
_MOST_IN_FLOAT32 = 48  # codes: the tables of more exceed the shared memory of 48 KiB, unless they are in float16
_HALF = (2.0**-12, 2.0**10)  # where a usual entry of the tables must lie so that float16 holds the others too
_DIMS_PER_CODE, _MOST_DIMS_PER_CODE = 4, 32
_SAMPLE = 4096  # rows by which the size of an entry is told
_INSTALL = "`make setup-gpu` installs faiss-gpu in place of faiss-cpu, and cupy"
_DEVICE = 0


def codes_for(dim: int, most: int = _CODES[-1]) -> int:
    """How many 8-bit codes stand for a vector: one for four dimensions, or the nearest number that divides ``dim``.

    Args:
        most: codes that are allowed.

    Raises:
        Unavailable: there is none that leaves at most 32 dimensions to a code.
    """
    fitting = [codes for codes in _CODES if codes <= most and dim % codes == 0 and dim // codes <= _MOST_DIMS_PER_CODE]
    if not fitting:
        raise Unavailable(
            f"faiss has no codes on a GPU for {dim} dimensions: none of "
            f"{', '.join(str(codes) for codes in _CODES if codes <= most)} divides them into parts of at most "
            f"{_MOST_DIMS_PER_CODE}",
            "measure this data set on the cpu",
        )
    return min(fitting, key=lambda codes: (abs(codes - dim / _DIMS_PER_CODE), -codes))


def fits_half(base: np.ndarray) -> bool:
    """Whether the tables of ``base`` (rows, dim) may be in float16, which ends at 65,504 and has few digits below 2⁻¹⁴.

    An entry is a distance, or an inner product, of as many dimensions as a code has.
    """
    import numpy as np

    sample = np.asarray(base[:: max(1, len(base) // _SAMPLE)], np.float64)
    usual = float((sample**2).mean()) * base.shape[1] / codes_for(base.shape[1])
    answer: bool = _HALF[0] <= usual <= _HALF[1]
    return answer


def train(folder: Path, base: np.ndarray, metric: str, *, threads: int, rows_per_list: int, seed: int = 1) -> Facts:
    """As `ivfpq_index.train`, with 8-bit codes."""
    codes = codes_for(base.shape[1], _CODES[-1] if fits_half(base) else _MOST_IN_FLOAT32)
    return ivfpq_index.train(
        folder, base, metric, threads=threads, rows_per_list=rows_per_list, codes=codes, bits=8, seed=seed
    )


def build(folder: Path, base: np.ndarray, metric: str, *, trained: Path, threads: int) -> Facts:
    """As `ivfpq_index.build`, in the layout that faiss copies to a GPU."""
    return ivfpq_index.build(folder, base, metric, trained=trained, threads=threads, fast_scan=False)


def see_device() -> Facts:
    """``name`` of the device, ``faiss_gpus``, how many faiss sees, and ``arrays``, the library that reranks there.

    Raises:
        Unavailable: one of the two is missing, is a CPU build or sees no device.
    """
    import faiss

    if not hasattr(faiss, "StandardGpuResources"):
        raise Unavailable("the installed faiss is a CPU build", _INSTALL)
    if not faiss.get_num_gpus():
        raise Unavailable("faiss sees no CUDA device", "see that the driver works and CUDA_VISIBLE_DEVICES hides none")
    return {"faiss_gpus": faiss.get_num_gpus(), **arrays.on("gpu").facts()}


IVFPQ_GPU = Index("ivfpq_gpu", build, ("faiss",), ("rows_per_list",), train, seeded=True)


class HybridOnGpu(Hybrid):
    """A setting is the same as the hybrid's. ``gpu`` tells which device the index and the vectors are on."""

    name, variant, label = "hybrid_gpu", "hybrid", "HNSW routes, IVFPQ scans on the GPU"
    devices = ("gpu",)

    @classmethod
    def indexes(cls) -> tuple[Index, ...]:
        return (IVFPQ_GPU,)

    @classmethod
    def see_device(cls) -> Facts:
        return see_device()

    def __init__(self, folders: Sequence[Path], base: np.ndarray, metric: str) -> None:
        import faiss
        from faiss.contrib.ivf_tools import replace_ivf_quantizer

        super().__init__(folders, base, metric)
        self._arrays = arrays.on("gpu")
        self._in_tensors = self._arrays.name == "torch"
        if self._in_tensors:
            import faiss.contrib.torch_utils  # indexes take and return tensors with it, on the device
        # the device has the centroids, for the residuals of the scan and to compare a batch with all of them
        flat = faiss.IndexFlat(self._index.d, self._index.metric_type)
        self._router = replace_ivf_quantizer(self._index, flat)
        options = faiss.GpuClonerOptions()
        options.useFloat16 = self._index.pq.M > _MOST_IN_FLOAT32  # of the tables
        options.use_cuvs = False  # it has no search_preassigned
        self._resources = faiss.StandardGpuResources()
        self._index = faiss.index_cpu_to_gpu(self._resources, _DEVICE, self._index, options)
        self._base = self._arrays.put(base)
        where = f"{base.nbytes} bytes in {type(self._base).__module__} on {self._base.device}"
        tables = "float16" if options.useFloat16 else "float32"
        self.gpu = see_device() | {"index": type(self._index).__name__, "tables": tables, "base": where}

    def rerank(self, query: np.ndarray, candidates: np.ndarray, k: int) -> np.ndarray:
        return rerank_pq(query, candidates, self._base, k, self._metric, arrays=self._arrays)

    def search_many(self, queries: np.ndarray, k: int, threads: int) -> list[np.ndarray]:
        """As of every strategy, with -1 where a query has too few answers."""
        asked = self._arrays.put(queries) if self._in_tensors else queries
        _, candidates = self._index.search(asked, max(k, LEAST) * self._refine)
        return list(rerank_many(asked, candidates, self._base, k, self._metric, arrays=self._arrays))

    def versions(self) -> dict[str, str]:
        return super().versions() | installed(self._arrays.name)

    def facts(self) -> Facts:
        return {"gpu": self.gpu}
