"""The control `ivfpq_refine`: the hybrid's index without its graph. Every centroid is compared, and so the very
nearest lists are scanned."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from nightgate.hybrid_ann.strategies import hybrid
from nightgate.hybrid_ann.strategies.interface import Setting

if TYPE_CHECKING:
    import numpy as np


class Strategy(hybrid.Strategy):
    """A setting is the same as the hybrid's."""

    def __init__(self, folder: Path, base: np.ndarray, metric: str) -> None:
        import faiss

        super().__init__(folder, base, metric)
        self._graph = self._router  # owns the centroids
        self._router = faiss.downcast_index(self._graph.storage)

    def tune(self, setting: Setting) -> None:
        self._index.nprobe, self._refine = setting["lists"], setting["refine"]
