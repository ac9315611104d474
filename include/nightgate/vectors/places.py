"""Where the vectors of a data set stand in the user's files, so that an answer can be checked against these."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

QUERIES_FILE, BASE_FILE = 0, 1
_NAMES = ("base", "queries", "held_out")


@dataclass(frozen=True)
class Places:
    """Row numbers in the user's files, int64, the first is 0.

    ``base``: of each row of the base, (rows,), ascending. ``queries``: of each measured query, (queries, 2): first
    whether it stands in the file of the queries (`QUERIES_FILE`; for an HDF5 file its ``test``) or was held out of the
    base (`BASE_FILE`), then its row. ``held_out``: the rows that the base lost to any of the query sets.
    """

    base: np.ndarray
    queries: np.ndarray
    held_out: np.ndarray

    def in_file_order(self, ids: np.ndarray) -> np.ndarray:
        """Ids of the base as rows of the file, of any shape; -1 stays -1."""
        import numpy as np

        return np.where(ids >= 0, self.base[ids], -1)


def save(folder: Path, places: Places) -> None:
    """Write ``places`` beside the data set, for `open_places`."""
    import numpy as np

    for name in _NAMES:
        np.save(folder / f"places-{name}.npy", getattr(places, name))


def open_places(folder: Path) -> Places | None:
    """What `save` wrote; None for vectors that no file holds."""
    import numpy as np

    if not (folder / "places-base.npy").exists():
        return None
    return Places(*(np.load(folder / f"places-{name}.npy", mmap_mode="r") for name in _NAMES))
