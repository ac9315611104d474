"""The ways to answer a query: which there are, which indexes they read, and how both are loaded.

Each module here holds one `Strategy` (see `interface`) and, where it has an index of its own, how that is built.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nightgate.errors import Unavailable
from nightgate.record import Device
from nightgate.versions import installed

if TYPE_CHECKING:
    import numpy as np

    from nightgate.hybrid_ann.strategies.interface import Strategy

READS: dict[str, tuple[str, ...]] = {
    "hybrid": ("ivfpq",),
    "hybrid_gpu": ("ivfpq_gpu",),
    "exact_gpu": (),
    "hybrid_seeded": ("ivfpq", "hnsw"),
    "ivfpq_refine": ("ivfpq",),
    "hnsw": ("hnsw",),
    "hnswlib": ("hnswlib",),
    "usearch": ("usearch",),
    "faiss_hnsw": ("faiss_hnsw",),
}
"""Strategy → the indexes it reads."""

_MODULES = {
    "hnsw": "nmslib_hnsw", "hnswlib": "hnswlib_hnsw", "usearch": "usearch_hnsw",
    "ivfpq": "ivfpq_index", "ivfpq_gpu": "hybrid_gpu",
}  # fmt: skip
_ON_GPU = {"hybrid": "hybrid_gpu", "exact": "exact_gpu"}
_ON_GPU_ALONE = ("exact",)  # a CPU would take longer for it than for everything else together
_PACKAGES = {"hnsw": "nmslib", "hybrid_seeded": "nmslib", "hnswlib": "hnswlib", "usearch": "usearch"}


def made_for(variant: str, device: Device) -> bool:
    """Whether ``variant`` can run on such a device at all, installed or not."""
    return variant in _ON_GPU if device == "gpu" else variant not in _ON_GPU_ALONE


def on(device: Device, variant: str) -> str:
    """The strategy that is measured for ``variant`` on ``device``."""
    return _ON_GPU[variant] if device == "gpu" else variant


def unavailable(variant: str, device: Device) -> Unavailable | None:
    """Why ``variant`` cannot be measured here on ``device``, or None. Whether there is such a device is not asked."""
    if not made_for(variant, device):
        return Unavailable(f"{variant} does not run on a {device}")
    package = _PACKAGES.get(variant)
    if package is None or find_spec(package):
        return None
    return Unavailable(f"{variant} needs the package {package}", f"install it: pip install {package}")


def see_device(variant: str) -> dict[str, Any]:
    """What is known of the GPU that ``variant`` runs on; to be asked in a child, since CUDA libraries are loaded.

    Raises:
        Unavailable: it cannot run on one here.
    """
    return _module(on("gpu", variant)).see_device()


def libraries(index: str) -> dict[str, str]:
    """The libraries that shape ``index``, by distribution, with their versions: built by another, it is another index."""
    return installed(_PACKAGES.get(index, "faiss"), "numpy")


def builder(index: str) -> Any:
    """The module that builds ``index``: it has ``build`` and, when the work is done in two steps, ``train``."""
    return _module(index)


def load(strategy: str, indexes: Mapping[str, Path], base: np.ndarray, metric: str) -> Strategy:
    """Open ``strategy`` on the folders of its indexes."""
    return _module(strategy).Strategy(*(indexes[name] for name in READS[strategy]), base, metric)


def _module(name: str) -> Any:
    return import_module(f"{__name__}.{_MODULES.get(name, name)}")
