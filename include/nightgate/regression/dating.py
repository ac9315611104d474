"""When did a series shift?"""

from __future__ import annotations

from collections.abc import Sequence

SEGMENT = 3
"""Nights on either side, at least."""


def dated(values: Sequence[float], least: int = SEGMENT) -> int | None:
    """The place of the first night after the one shift that parts ``values`` best; None of fewer than twice ``least``.

    It is the split that makes the energy distance of both sides, weighted by their sizes, largest (Matteson & James, *A
    nonparametric approach for multiple change point analysis*, JASA 2014, with exponent 1).
    """
    import numpy as np

    count = len(values)
    if count < 2 * least:
        return None
    series = np.asarray(values, np.float64)
    apart = np.abs(series[:, None] - series[None, :])
    corner = np.zeros((count + 1, count + 1))
    corner[1:, 1:] = apart.cumsum(axis=0).cumsum(axis=1)
    splits = np.arange(least, count - least + 1)
    left, whole = corner[splits, splits], corner[count, count]
    across = corner[splits, count] - left
    right = whole - left - 2 * across
    before, after = splits.astype(np.float64), (count - splits).astype(np.float64)
    distance = 2 * across / (before * after) - left / before**2 - right / after**2
    return int(splits[int(np.argmax(before * after / count * distance))])
