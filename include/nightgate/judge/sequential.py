"""Look, decide, look again: how far from its limit a mean must lie when it is looked at more than once.

Who looks at a mean four times and stops at the first 95 % interval that excludes the limit is wrong more often than one
time in twenty. The boundaries below keep the error of all looks together at 5 % for a pass and 1 % for a breach, each on
one side and at the limit itself. `tests/unit/test_sequential.py` computes them anew, by the recursion of Armitage, McPherson
& Rowe (*Repeated significance tests on accumulating data*, JRSS A 1969). Their shape is that of Wang & Tsiatis
(*Approximately optimal one-parameter boundaries for group sequential trials*, Biometrics 1987) with Δ = ¼: at early looks
more is asked for than at the last.

A breach is never stated of one look: what differs between runs may have hit this one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Literal, NamedTuple

from nightgate.judge.scatter import Point, Scatter

LOOKS = 4
"""The most runs of one night."""
POOLED = 28
"""The most runs that are pooled over undecided nights: the newest."""
PATIENCE = 14
"""Runs of undecided nights after which a night is looked at once only, unless it lies outside."""

_PASS = (2.591, 2.179, 1.969, 1.832)
_BREACH = (math.inf, 2.904, 2.624, 2.442)
_PASS_POOLED, _BREACH_POOLED = 2.444, 3.017
_INTERVAL = 1.959964

Side = Literal["below", "above"]


class Mean(NamedTuple):
    """The mean of ``looks`` measurements of a series.

    ``below`` and ``above`` are variances: what the measurements themselves leave open on either side. ``between`` is the
    variance by what differs between runs, known with so many degrees of ``freedom``.
    """

    value: float
    looks: int
    below: float
    above: float
    between: float
    freedom: float

    @property
    def certain(self) -> bool:
        """Whether it stands for itself: neither the runs nor the series have any scatter."""
        return self.below == self.above == self.between == 0

    def reach(self, side: Side, normal: float) -> float:
        """How far the mean may be from the truth on one side, at the confidence of ``normal`` standard errors of a normal
        distribution.

        What the runs themselves leave open and what differs between them add by the root of their squares (MOVER: Zou &
        Donner, Statistics in Medicine 2008); the second is as sure as Student's t for the nights it was learned from.
        """
        own = self.below if side == "below" else self.above
        return math.sqrt(normal**2 * own + student(normal, self.freedom) ** 2 * self.between)

    def interval(self) -> tuple[float, float]:
        """At 95 %."""
        return self.value - self.reach("below", _INTERVAL), self.value + self.reach("above", _INTERVAL)


def mean_of(nights: Sequence[Sequence[Point]], scatter: Scatter) -> Mean:
    """The mean of the looks of one or more nights, the points of each.

    Of a look's own variance the part that comes from the inputs is in every look and stays; the rest is divided by their
    number. So is what differs between runs, but for what the runs of one night share: that, by the number of nights.
    """
    points = [point for night in nights for point in night]
    looks = len(points)
    below = above = apart = 0.0
    for point in points:
        remains = point.shared / looks + (1 - point.shared) / looks**2
        below += remains * point.below**2
        above += remains * point.above**2
        apart += scatter.beside(point) ** 2 / looks
    of_night = min(scatter.of_night, apart)
    between = (apart - of_night) / looks + of_night * sum(len(night) ** 2 for night in nights) / looks**2
    return Mean(sum(point.value for point in points) / looks, looks, below, above, between, scatter.freedom)


def boundaries(look: int, *, pooled: bool) -> tuple[float, float]:
    """In standard errors: how far inside its limit a mean passes, and how far outside it is a breach.

    Args:
        look: which look of the night it is, from 1.
        pooled: whether looks of earlier nights are in the mean.
    """
    if pooled:
        return _PASS_POOLED, _BREACH_POOLED
    at = min(look, LOOKS) - 1
    return _PASS[at], _BREACH[at]


def newest(nights: Sequence[Sequence[Point]]) -> tuple[tuple[Point, ...], ...]:
    """The newest `POOLED` looks, whole nights of them."""
    kept: list[tuple[Point, ...]] = []
    for night in reversed(nights):
        if sum(map(len, kept)) + len(night) > POOLED:
            break
        kept.append(tuple(night))
    return tuple(reversed(kept))


@lru_cache(maxsize=4096)
def student(normal: float, freedom: float) -> float:
    """The quantile of Student's t that leaves as much outside as ``normal`` does of the normal distribution."""
    from scipy.special import ndtr, stdtrit

    return normal if math.isinf(normal) else float(-stdtrit(freedom, ndtr(-normal)))
