"""The hybrid on a GPU: the graph routes on the CPU, faiss scans the lists on the device, `rerank_pq` decides there.

It has an index of its own, `ivfpq_gpu`, since `faiss.GpuIndexIVFPQ` takes codes of 8 bits and no graph over its
centroids (Johnson, Douze & Jégou, *Billion-scale similarity search with GPUs*, IEEE Transactions on Big Data 2021).
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from nightgate.errors import Unavailable
from nightgate.hybrid_ann.strategies import hybrid, ivfpq_index

if TYPE_CHECKING:
    import numpy as np

_CODES = (1, 2, 3, 4, 8, 12, 16, 20, 24, 28, 32, 40, 48, 56, 64, 96)  # per vector: what the scan is compiled for
_DIMS_PER_CODE, _MOST_DIMS_PER_CODE = 4, 32
_INSTALL = "`make setup-gpu` installs faiss-gpu in place of faiss-cpu, and cupy"
_DEVICE = 0


def codes_for(dim: int) -> int:
    """How many 8-bit codes stand for a vector: one for four dimensions, or the nearest number that divides ``dim``.

    Raises:
        Unavailable: there is none that leaves at most 32 dimensions to a code.
    """
    fitting = [codes for codes in _CODES if dim % codes == 0 and dim // codes <= _MOST_DIMS_PER_CODE]
    if not fitting:
        raise Unavailable(
            f"faiss has no codes on a GPU for {dim} dimensions: none of {', '.join(map(str, _CODES))} divides them into "
            f"parts of at most {_MOST_DIMS_PER_CODE}", "measure this data set on the cpu",
        )  # fmt: skip
    return min(fitting, key=lambda codes: (abs(codes - dim / _DIMS_PER_CODE), -codes))


def train(folder: Path, base: np.ndarray, metric: str, *, threads: int, rows_per_list: int) -> dict[str, Any]:
    """As `ivfpq_index.train`, with 8-bit codes."""
    codes = codes_for(base.shape[1])
    return ivfpq_index.train(folder, base, metric, threads=threads, rows_per_list=rows_per_list, codes=codes, bits=8)


def build(folder: Path, base: np.ndarray, metric: str, *, trained: Path, threads: int) -> dict[str, Any]:
    """As `ivfpq_index.build`, in the layout that faiss copies to a GPU."""
    return ivfpq_index.build(folder, base, metric, trained=trained, threads=threads, fast_scan=False)


def see_device() -> dict[str, Any]:
    """``name`` of the device, ``faiss_gpus``, how many faiss sees, and the version of ``cupy``, which sees it too.

    Raises:
        Unavailable: one of the two is missing, is a CPU build or sees no device.
    """
    import faiss

    if not hasattr(faiss, "StandardGpuResources"):
        raise Unavailable("the installed faiss is a CPU build", _INSTALL)
    if not faiss.get_num_gpus():
        raise Unavailable("faiss sees no CUDA device", "see that the driver works and CUDA_VISIBLE_DEVICES hides none")
    try:
        import cupy
    except ImportError:
        raise Unavailable("cupy is not installed, and the hybrid reranks with it on a GPU", _INSTALL) from None
    if not cupy.is_available():
        raise Unavailable("cupy sees no CUDA device", f"see that it fits the driver; {_INSTALL}")
    name = cupy.cuda.runtime.getDeviceProperties(_DEVICE)["name"].decode()
    return {"name": name, "faiss_gpus": faiss.get_num_gpus(), "cupy": cupy.__version__}


class Strategy(hybrid.Strategy):
    """A setting is the same as the hybrid's. ``gpu`` tells which device the index and the vectors are on."""

    def __init__(self, folder: Path, base: np.ndarray, metric: str) -> None:
        import cupy
        import faiss
        from faiss.contrib.ivf_tools import replace_ivf_quantizer

        super().__init__(folder, base, metric)
        # the scan needs the centroids on the device, but nothing that searches them
        flat = faiss.IndexFlat(self._index.d, self._index.metric_type)
        self._router = replace_ivf_quantizer(self._index, flat)
        options = faiss.GpuClonerOptions()
        options.useFloat16 = True  # of the tables: as float32, those of more than 48 codes exceed the shared memory
        options.use_cuvs = False  # it has no search_preassigned
        self._resources = faiss.StandardGpuResources()
        self._index = faiss.index_cpu_to_gpu(self._resources, _DEVICE, self._index, options)
        self._base = cupy.asarray(base)
        where = f"{self._base.nbytes} bytes in {type(self._base).__module__} on device {self._base.device.id}"
        self.gpu = see_device() | {"index": type(self._index).__name__, "base": where}
