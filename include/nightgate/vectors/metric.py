"""By what two vectors are compared, and how much farther one row is than another."""

from __future__ import annotations

from typing import Any, Literal, get_args

Metric = Literal["cosine", "l2", "ip"]
METRICS: tuple[Metric, ...] = get_args(Metric)

_RESOLUTION = 2.0**-40
_UNIT_ERROR = 2.0**-50  # of a vector that was brought to unit length in float64, with room


def behind(rows: Any, pivot: Any, query: Any, metric: str, xp: Any = None) -> tuple[Any, Any]:
    """How much farther from ``query`` (dim,) each of ``rows`` (n, dim) is than ``pivot`` (dim,): below 0 where it is nearer.

    Of "l2" it is the difference of the squared distances, as (b - p)·(b + p - 2q), and of "cosine" that between vectors
    at unit length, which is twice the difference of the cosines and loses no digit where all point nearly the same way;
    of "ip" it is the difference of the inner products. The difference is formed before it is summed, so an offset that
    query and rows share, or the length of the query, takes no digit of it.

    Args:
        rows, pivot, query: of many queries at once too: (…, n, dim) and, for either of the others, (…, 1, dim).
        xp: the library whose arrays they are, see `Arrays.xp`; numpy when None.

    Returns:
        The differences, and what float64 can tell apart in each of them (both float64, (n,)): below that it is a tie.
    """
    import numpy as np

    xp = np if xp is None else xp
    rows, pivot, query = (xp.asarray(array, dtype=xp.float64) for array in (rows, pivot, query))
    floor: Any = 0.0
    if metric == "cosine":
        rows, pivot, query = unit(rows, xp), unit(pivot, xp), unit(query, xp)
    if metric == "ip":
        terms = (pivot - rows) * query
    else:
        apart, toward = rows - pivot, rows + pivot - 2 * query
        terms = apart * toward
        if metric == "cosine":
            rounded = xp.abs(rows) + xp.abs(pivot) + 2 * xp.abs(query)
            floor = _UNIT_ERROR * (rounded * (xp.abs(apart) + xp.abs(toward))).sum(axis=-1)
    return terms.sum(axis=-1), _RESOLUTION * xp.abs(terms).sum(axis=-1) + floor


def unit(vectors: Any, xp: Any = None) -> Any:
    """``vectors`` (…, dim) float64 at unit length. One of length 0, which has no direction, stays 0."""
    import numpy as np

    xp = np if xp is None else xp
    largest = xp.amax(xp.abs(vectors), axis=-1, keepdims=True)
    scaled = vectors / xp.where(largest > 0, largest, 1.0)  # no square leaves float64
    length = xp.sqrt((scaled**2).sum(axis=-1, keepdims=True))
    scaled /= xp.where(length > 1, length, 1.0)  # a length that is 0, or 1 and more
    return scaled
