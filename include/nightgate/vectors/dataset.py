"""A folder of vectors ready to be measured: the base, three disjoint query sets and the metric that ranks them."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

WARMUP = 200
MOST_TUNING = 500
_ARRAYS = ("base", "queries", "tuning", "warmup")
_EXACT = ("base", "queries", "tuning")


@dataclass(frozen=True)
class Dataset:
    """Memory-mapped float32 vectors: ``base`` (rows, dim) and the query sets (n, dim), none of them in the base.

    ``metric`` is "cosine" (every vector is stored unit-length), "ip" (inner product) or "l2" (Euclidean distance).
    ``original`` holds base, queries and tuning as the user's file has them, where they had to be rounded on the way here
    (see `own.write`); neighbours and recall are decided on those.
    """

    base: np.ndarray
    queries: np.ndarray
    tuning: np.ndarray
    warmup: np.ndarray
    metric: str
    original: Mapping[str, np.ndarray] = field(default_factory=dict)

    def exact(self, name: str) -> np.ndarray:
        """The vectors ``name`` ("base", "queries" or "tuning") by which neighbours are decided, in any type."""
        return self.original[name] if name in self.original else getattr(self, name)


def query_counts(queries: int) -> dict[str, int]:
    """How many queries each set holds: as many to tune on as to measure, at most 500, and 200 to warm up with."""
    return {"queries": queries, "tuning": min(queries, MOST_TUNING), "warmup": WARMUP}


def original_file(folder: Path, name: str) -> Path:
    """Where the vectors ``name`` stand as they were before they were rounded."""
    return folder / f"{name}-original.npy"


def describe(folder: Path, metric: str) -> None:
    """Write ``dataset.json``, which says by which metric the vectors of ``folder`` are compared."""
    (folder / "dataset.json").write_text(json.dumps({"metric": metric}) + "\n", encoding="utf-8")


def open_dataset(folder: Path) -> Dataset:
    """Map the arrays of ``folder``; nothing is copied into memory."""
    import numpy as np

    def mapped(file: Path) -> np.ndarray:
        answer: np.ndarray = np.load(file, mmap_mode="r")
        return answer

    metric = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))["metric"]
    kept = {name: mapped(file) for name in _EXACT if (file := original_file(folder, name)).exists()}
    return Dataset(**{name: mapped(folder / f"{name}.npy") for name in _ARRAYS}, metric=metric, original=kept)
