"""By what two vectors are compared, and how much farther one row is than another."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

if TYPE_CHECKING:
    import numpy as np

Metric = Literal["cosine", "l2", "ip"]
METRICS: tuple[str, ...] = get_args(Metric)

_RESOLUTION = 2.0**-40
_UNIT_ERROR = 2.0**-50  # of a vector that was brought to unit length in float64, with room


def behind(rows: np.ndarray, pivot: np.ndarray, query: np.ndarray, metric: str) -> tuple[np.ndarray, np.ndarray]:
    """How much farther from ``query`` (dim,) each of ``rows`` (n, dim) is than ``pivot`` (dim,): below 0 where it is nearer.

    Of "l2" it is the difference of the squared distances, as (b - p)·(b + p - 2q), and of "cosine" that between vectors
    at unit length, which is twice the difference of the cosines and loses no digit where all point nearly the same way;
    of "ip" it is the difference of the inner products. The difference is formed before it is summed, so an offset that
    query and rows share, or the length of the query, takes no digit of it.

    Returns:
        The differences, and what float64 can tell apart in each of them (both float64, (n,)): below that it is a tie.
    """
    import numpy as np

    rows, pivot, query = (np.asarray(array, np.float64) for array in (rows, pivot, query))
    floor: np.ndarray | float = 0.0
    if metric == "cosine":
        rows, pivot, query = unit(rows), unit(pivot), unit(query)
    if metric == "ip":
        terms = (pivot - rows) * query
    else:
        apart, toward = rows - pivot, rows + pivot - 2 * query
        terms = apart * toward
        if metric == "cosine":
            rounded = np.abs(rows) + np.abs(pivot) + 2 * np.abs(query)
            floor = _UNIT_ERROR * (rounded * (np.abs(apart) + np.abs(toward))).sum(axis=1)
    return terms.sum(axis=1), _RESOLUTION * np.abs(terms).sum(axis=1) + floor


def unit(vectors: np.ndarray) -> np.ndarray:
    """``vectors`` (…, dim) float64 at unit length. One of length 0, which has no direction, stays 0."""
    import numpy as np

    largest = np.abs(vectors).max(axis=-1, keepdims=True)
    scaled = vectors / np.where(largest > 0, largest, 1)  # no square leaves float64
    scaled /= np.maximum(np.sqrt((scaled**2).sum(axis=-1, keepdims=True)), 1)  # a length that is 0, or 1 and more
    return scaled
