"""The control `ivfpq_refine`: the hybrid's index without its graph. Every centroid is compared, and so the very
nearest lists are scanned."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nightgate.hybrid_ann.strategies.hybrid import Hybrid
from nightgate.vector_search.session import Setting

if TYPE_CHECKING:
    import numpy as np


class IvfpqRefine(Hybrid):
    """A setting is the same as the hybrid's."""

    name, label = "ivfpq_refine", "IVFPQ with refinement, faiss"

    def __init__(self, folders: Sequence[Path], base: np.ndarray, metric: str) -> None:
        import faiss

        super().__init__(folders, base, metric)
        self._graph = self._router  # owns the centroids
        self._router = faiss.downcast_index(self._graph.storage)

    def tune(self, setting: Setting) -> None:
        self._index.nprobe, self._refine = setting["lists"], setting["refine"]
