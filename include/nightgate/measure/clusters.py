"""The scatter of a mean over calls that depend on each other: of one input, of one pass, of one process.

Calls are clustered by each of the three by itself; the variance of a mean of clusters of like size is that of the clusters'
means over their number (Cochran, *Sampling Techniques*, 1977, §9.2).
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np


class Scatter(NamedTuple):
    """Variances of the mean over all calls. ``widest`` is that of inputs, of passes or of processes, whichever is largest;
    ``of_inputs`` what the inputs alone cause, without what differs from call to call of the same input."""

    widest: float
    of_inputs: float


def scatter(calls: np.ndarray, processes: Sequence[int] | None = None) -> Scatter:
    """Of calls, float64, (passes, inputs), nan where one does not count; ``processes``: that of each pass."""
    import numpy as np

    inputs = of_groups(calls.T)
    counts = np.isfinite(calls).sum(axis=0)
    twice = calls[:, counts > 1]
    noise = float(np.nanmean(np.nanvar(twice, axis=0, ddof=1)) / counts.sum()) if twice.size else 0.0
    widest = max(inputs, of_groups(calls), of_groups(calls, processes))
    return Scatter(widest, min(widest, max(0.0, inputs - noise)))


def of_groups(calls: np.ndarray, groups: Sequence[int] | None = None) -> float:
    """The variance of the mean over all calls, float64, (rows, columns), as far as the groups of rows show it; 0 of one group.

    Args:
        groups: the group of each row; each row is one by default. Their sizes count (a ratio estimator).
    """
    import numpy as np

    there = np.isfinite(calls)
    sums, counts = np.where(there, calls, 0.0).sum(axis=1), there.sum(axis=1).astype(np.float64)
    if groups is not None:
        _, where = np.unique(np.asarray(groups), return_inverse=True)
        sums, counts = np.bincount(where, sums), np.bincount(where, counts)
    told = counts > 0
    sums, counts, number = sums[told], counts[told], int(told.sum())
    if number < 2:
        return 0.0
    residuals = sums - sums.sum() / counts.sum() * counts
    return float((residuals**2).sum() / counts.sum() ** 2 * number / (number - 1))
