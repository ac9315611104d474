"""Which rows of a user's file can be compared at all: looked at before anything is copied, so that all are counted."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nightgate.errors import InputError
from nightgate.vectors.files.rows import Rows

if TYPE_CHECKING:
    import numpy as np

LARGEST_SQUARE = 1e37  # of a vector's length: float32 ends at 3.4e38, and a squared distance is up to four times this
SAMPLE = 4096  # rows that tell where the middle of all is
_NAMED = 5  # rows of each kind that a refusal names
_ZERO = "is zero, which has no direction and so no cosine"


@dataclass(frozen=True)
class Usable:
    """The first ``stop`` rows of a file are used, but for those of ``left_out`` (int64, ascending).

    ``lowest`` and ``highest`` bound each dimension of them, (dim,); ``sample`` is every so many of them, float64 (n, dim).
    """

    stop: int
    left_out: np.ndarray
    lowest: np.ndarray
    highest: np.ndarray
    sample: np.ndarray

    @property
    def count(self) -> int:
        return self.stop - len(self.left_out)

    @property
    def rows(self) -> np.ndarray:
        """Their row numbers in the file, int64, ascending."""
        import numpy as np

        return np.delete(np.arange(self.stop, dtype=np.int64), self.left_out)


def look(rows: Rows, path: Path, wanted: int, metric: str, *, skip_zero: bool, at_once: int) -> Usable:
    """Look at the rows of a file, ``at_once`` at a time, until ``wanted`` usable ones were found or there are no more.

    Args:
        skip_zero: leave out rows that are zero under "cosine", which are refused otherwise.

    Raises:
        InputError: rows hold NaN or an infinity, are too long to be compared in float32, or are zero under cosine; all
            of them are counted, and the first of each kind are named.
    """
    import numpy as np

    bad: dict[str, list[int]] = {}
    left_out: list[int] = []
    lowest, highest = [np.full(rows.shape[1], np.inf)], [np.full(rows.shape[1], -np.inf)]
    sample: list[np.ndarray] = [np.empty((0, rows.shape[1]))]
    every, stop = max(1, min(wanted, rows.shape[0]) // SAMPLE), 0
    while stop < rows.shape[0] and stop - len(left_out) < wanted:
        start, stop = stop, min(stop + at_once, rows.shape[0], wanted + len(left_out))
        block = rows[start:stop]
        odd = _unusable(block, metric)
        for row, reason in odd:
            if reason == _ZERO and skip_zero:
                left_out.append(start + row)
            else:
                bad.setdefault(reason, []).append(start + row)
        kept = np.delete(block, [row for row, _ in odd], axis=0) if odd else block
        sample.append(kept[-start % every :: every].astype(np.float64))
        if len(kept):
            lowest.append(kept.min(axis=0))
            highest.append(kept.max(axis=0))
    if bad:
        step = "mend or remove such rows"
        if list(bad) == [_ZERO]:
            step += ", or leave them out (--set hybrid_ann.skip_zero_rows=true)"
        raise InputError("; ".join(_said(path, reason, found) for reason, found in bad.items()), step)
    return Usable(
        stop, np.array(left_out, np.int64), np.min(lowest, axis=0), np.max(highest, axis=0), np.concatenate(sample)
    )


def _unusable(block: np.ndarray, metric: str) -> list[tuple[int, str]]:
    """The rows of ``block`` that cannot be compared, ascending, each with the reason."""
    import numpy as np

    with np.errstate(over="ignore", invalid="ignore"):
        vectors = block.astype(np.float64)
        squares = np.einsum("ij,ij->i", vectors, vectors)
    odd = ~np.isfinite(vectors).all(axis=1)
    odd |= ~vectors.any(axis=1) if metric == "cosine" else ~(squares < LARGEST_SQUARE)
    return [(int(row), _reason(vectors[row])) for row in np.flatnonzero(odd)]


def _reason(values: np.ndarray) -> str:
    import numpy as np

    if np.isnan(values).any():
        return "holds NaN"
    if not np.isfinite(values).all():
        return "holds an infinity"
    return "is too long to be compared in float32" if values.any() else _ZERO


def _said(path: Path, reason: str, found: list[int]) -> str:
    one = f"row {found[0]} of {path} (the first is 0) {reason}"
    if len(found) == 1:
        return one
    more = ", …" if len(found) > _NAMED else ""
    return f"{one}; {len(found)} such rows in all: {', '.join(map(str, found[:_NAMED]))}{more}"
