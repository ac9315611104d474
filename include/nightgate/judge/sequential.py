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
from dataclasses import dataclass
from functools import lru_cache
from statistics import fmean
from typing import Literal

from nightgate.judge.scatter import Point, Scatter

LOOKS = 4
"""The most runs of one night."""
POOLED = 14
"""The most runs that are pooled over undecided nights: the newest."""

_PASS = (2.591, 2.179, 1.969, 1.832)
_BREACH = (math.inf, 2.904, 2.624, 2.442)
_PASS_POOLED, _BREACH_POOLED = 2.332, 2.940
_INTERVAL = 1.959964

Side = Literal["below", "above"]


@dataclass(frozen=True)
class Mean:
    """The mean of the looks of one or more nights (the points of each) of a series that scatters so."""

    nights: tuple[tuple[Point, ...], ...]
    scatter: Scatter

    @property
    def points(self) -> list[Point]:
        return [point for night in self.nights for point in night]

    @property
    def value(self) -> float:
        return fmean(point.value for point in self.points)

    @property
    def certain(self) -> bool:
        """Whether it stands for itself: neither the run nor the series has any scatter."""
        return self._between == 0 and all(point.below == point.above == 0 for point in self.points)

    def reach(self, side: Side, normal: float) -> float:
        """How far the mean may be from the truth on one side, at the confidence of ``normal`` standard errors of a normal
        distribution.

        What the runs themselves leave open and what differs between them add by the root of their squares (MOVER: Zou &
        Donner, Statistics in Medicine 2008); the second is as sure as Student's t for the nights it was learned from.
        """
        points = self.points
        number = len(points)
        squares = [(getattr(point, side) ** 2, point.shared) for point in points]
        own = sum(shared * square for square, shared in squares) / number
        own += sum((1 - shared) * square for square, shared in squares) / number**2
        return math.sqrt(normal**2 * own + student(normal, self.scatter.freedom) ** 2 * self._between)

    def interval(self) -> tuple[float, float]:
        """At 95 %."""
        return self.value - self.reach("below", _INTERVAL), self.value + self.reach("above", _INTERVAL)

    @property
    def _between(self) -> float:
        """The variance of the mean by what differs between runs."""
        points = self.points
        number = len(points)
        apart = fmean(self.scatter.beside(point) ** 2 for point in points)
        of_night = min(self.scatter.of_night, apart)
        return (apart - of_night) / number + of_night * sum(len(night) ** 2 for night in self.nights) / number**2


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
