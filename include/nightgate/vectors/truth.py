"""Exact nearest neighbours, the yardstick of every recall figure: proven, not assumed (how: `exact`), and kept."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nightgate.errors import NotMeasured
from nightgate.vectors.exact import ExactSearch

if TYPE_CHECKING:
    import numpy as np

    from nightgate.vectors.arrays import Arrays
    from nightgate.vectors.dataset import Dataset

FORMAT = 5
_SETS = ("queries", "tuning")


@dataclass(frozen=True)
class Truth:
    """The exact top k of each query: ``ids`` int64, (queries, k), best first, equal ones by id."""

    ids: np.ndarray


def exact(
    base: np.ndarray,
    queries: np.ndarray,
    k: int,
    metric: str,
    *,
    original: np.ndarray | None = None,
    original_queries: np.ndarray | None = None,
    arrays: Arrays | None = None,
) -> Truth:
    """Search ``base`` (rows, dim) with ``queries`` (n, dim), both finite float32, by trying every pair; see `ExactSearch`.

    Args:
        original, original_queries: what ``base`` and ``queries`` were before each of their values was rounded.
        arrays: where to compute; None: on the CPU.

    Raises:
        NotMeasured: the base has fewer than k rows.
    """
    search = ExactSearch(base, metric, original=original, arrays=arrays)
    return Truth(search.search(queries, k, original=original_queries).ids)


def write(folder: Path, dataset: Dataset, k: int, arrays: Arrays | None = None) -> dict[str, Truth]:
    """Find and `save` the truth of the measured queries and of those to tune on."""
    search = ExactSearch(dataset.base, dataset.metric, original=dataset.original.get("base"), arrays=arrays)
    found = {}
    for name in _SETS:
        found[name] = Truth(search.search(getattr(dataset, name), k, original=dataset.exact(name)).ids)
        save(folder, name, found[name])
    return found


def save(folder: Path, name: str, found: Truth) -> None:
    """Write the truth of the queries ``name`` for `open_truth`."""
    import numpy as np

    np.save(folder / f"{name}-ids.npy", found.ids)


def open_truth(folder: Path, name: str) -> Truth:
    """Load what `save` wrote.

    Raises:
        NotMeasured: there is none. Recall without a ground truth is an error, never 1.0.
    """
    import numpy as np

    try:
        return Truth(np.load(folder / f"{name}-ids.npy"))
    except OSError as error:
        raise NotMeasured(f"there is no ground truth for the {name} queries in {folder} ({error})") from error
