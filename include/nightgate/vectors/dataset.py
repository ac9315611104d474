"""A folder of vectors ready to be measured: the base, three disjoint query sets and the metric that ranks them."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

WARMUP = 200
MOST_TUNING = 500
_ARRAYS = ("base", "queries", "tuning", "warmup")


@dataclass(frozen=True)
class Dataset:
    """Memory-mapped float32 vectors: ``base`` (rows, dim) and the query sets (n, dim), none of them in the base.

    ``metric`` is "cosine" (every vector is stored unit-length), "ip" (inner product) or "l2" (Euclidean distance).
    """

    base: np.ndarray
    queries: np.ndarray
    tuning: np.ndarray
    warmup: np.ndarray
    metric: str


def query_counts(queries: int) -> dict[str, int]:
    """How many queries each set holds: as many to tune on as to measure, at most 500, and 200 to warm up with."""
    return {"queries": queries, "tuning": min(queries, MOST_TUNING), "warmup": WARMUP}


def describe(folder: Path, metric: str) -> None:
    """Write ``dataset.json``, which says by which metric the vectors of ``folder`` are compared."""
    (folder / "dataset.json").write_text(json.dumps({"metric": metric}) + "\n", encoding="utf-8")


def open_dataset(folder: Path) -> Dataset:
    """Map the arrays of ``folder``; nothing is copied into memory."""
    import numpy as np

    metric = json.loads((folder / "dataset.json").read_text(encoding="utf-8"))["metric"]
    return Dataset(**{name: np.load(folder / f"{name}.npy", mmap_mode="r") for name in _ARRAYS}, metric=metric)
