"""Which rows of a user's file can be compared at all: looked at before anything is copied, so that all are counted."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nightgate.errors import InputError
from nightgate.vectors.files.rows import Rows

if TYPE_CHECKING:
    import numpy as np

BLOCK_BYTES = 2**25
LARGEST_SQUARE = 1e37  # of a vector's length: float32 ends at 3.4e38, and a squared distance is up to four times this
_NAMED = 5  # rows of each kind that a refusal names
_SAMPLE = 4096
_ZERO = "is zero, which has no direction and so no cosine"


@dataclass(frozen=True)
class Usable:
    """The first ``stop`` rows of a file are used, but for those of ``left_out`` (int64, ascending).

    ``lowest`` and ``highest`` (dim,) bound their values, ``sample`` (n, dim) are some thousands of them from all over the
    file, all float64.
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


def block_length(dim: int) -> int:
    """How many rows of a file are looked at together."""
    return max(1, BLOCK_BYTES // (4 * dim))


def look(rows: Rows, path: Path, wanted: int, metric: str, *, skip_zero: bool) -> Usable:
    """Look at the rows of a file, a block at a time, until ``wanted`` usable ones were found or there are no more.

    Args:
        skip_zero: leave out rows that are zero under "cosine", which are refused otherwise.

    Raises:
        InputError: rows hold NaN or an infinity, are too long for float32, or are zero under cosine; all of them are
            counted, and the first of each kind are named.
    """
    import numpy as np

    bad: dict[str, list[int]] = {}
    left_out: list[int] = []
    lowest, highest, samples = np.full(rows.shape[1], np.inf), np.full(rows.shape[1], -np.inf), []
    stop, step = 0, max(1, min(wanted, rows.shape[0]) // _SAMPLE)
    while stop < rows.shape[0] and stop - len(left_out) < wanted:
        start, stop = stop, min(stop + block_length(rows.shape[1]), rows.shape[0], wanted + len(left_out))
        block = rows[start:stop].astype(np.float64)
        for row, reason in _unusable(block, metric):
            if reason == _ZERO and skip_zero:
                left_out.append(start + row)
            else:
                bad.setdefault(reason, []).append(start + row)
        lowest, highest = np.minimum(lowest, block.min(axis=0)), np.maximum(highest, block.max(axis=0))
        samples.append(block[-start % step :: step])
    if bad:
        step_to_take = "mend or remove such rows"
        if list(bad) == [_ZERO]:
            step_to_take += ", or leave them out with skip_zero_rows=true"
        raise InputError("; ".join(_said(path, reason, found) for reason, found in bad.items()), step_to_take)
    return Usable(stop, np.array(left_out, np.int64), lowest, highest, np.concatenate(samples))


def _unusable(block: np.ndarray, metric: str) -> list[tuple[int, str]]:
    """The rows of ``block``, float64, that cannot be compared, ascending, each with the reason."""
    import numpy as np

    if metric == "cosine":  # only the direction counts, whatever the length
        odd = ~np.isfinite(block).all(axis=1) | ~block.any(axis=1)
    else:
        odd = ~(np.einsum("ij,ij->i", block, block) < LARGEST_SQUARE)  # einsum warns of no overflow
    return [(int(row), _reason(block[row])) for row in np.flatnonzero(odd)]


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
