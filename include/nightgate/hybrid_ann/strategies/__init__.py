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

if TYPE_CHECKING:
    import numpy as np

    from nightgate.hybrid_ann.strategies.interface import Strategy

READS: dict[str, tuple[str, ...]] = {
    "hybrid": ("ivfpq",),
    "hybrid_seeded": ("ivfpq", "hnsw"),
    "ivfpq_refine": ("ivfpq",),
    "hnsw": ("hnsw",),
    "hnswlib": ("hnswlib",),
    "usearch": ("usearch",),
    "faiss_hnsw": ("faiss_hnsw",),
}
"""Strategy → the indexes it reads."""

_MODULES = {
    "hybrid_seeded": "hybrid_seeded", "hnsw": "nmslib_hnsw", "hnswlib": "hnswlib_hnsw", "usearch": "usearch_hnsw",
    "ivfpq": "ivfpq_index",
}  # fmt: skip
_PACKAGES = {"hnsw": "nmslib", "hybrid_seeded": "nmslib", "hnswlib": "hnswlib", "usearch": "usearch"}


def unavailable(strategy: str) -> Unavailable | None:
    """Why ``strategy`` cannot be measured here, or None."""
    package = _PACKAGES.get(strategy)
    if package is None or find_spec(package):
        return None
    return Unavailable(f"{strategy} needs the package {package}", f"install it: pip install {package}")


def builder(index: str) -> Any:
    """The module that builds ``index``: it has ``build`` and, when the work is done in two steps, ``train``."""
    return _module(index)


def load(strategy: str, indexes: Mapping[str, Path], base: np.ndarray, metric: str) -> Strategy:
    """Open ``strategy`` on the folders of its indexes."""
    return _module(strategy).Strategy(*(indexes[name] for name in READS[strategy]), base, metric)


def _module(name: str) -> Any:
    return import_module(f"{__name__}.{_MODULES.get(name, name)}")
