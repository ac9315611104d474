"""By how much do whole runs of one series differ? Learned from its past, assumed while there is none.

A night's interval says how well one run knows its own mean; what differs between runs (the layout of a process, the build
of an index, the host's hour) is in none of its samples. It is learned from the newest 30 valid nights of the series:

    between    half the mean squared difference of nights that lie at most three apart, less what the runs' own noise
               explains. Neighbours are compared, not each night with the mean of all, so that a step of the level stands in
               a few of the pairs and leaves them with the nights beside it (Hall, Kay & Titterington, *Asymptotically
               optimal difference-based estimation of variance*, Biometrika 1990). A square counts as nine times the mean
               one at most.
    one night  of that, the part which the runs of one night share. Nights with confirming runs tell it; none is assumed.

On logarithms where `MetricSpec.logarithmic`. A prior stands in while there is little history: it weighs as much as
`_PRIOR_WEIGHT` nights at first and nothing from about a dozen nights on.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, median
from typing import NamedTuple

from nightgate.judge.past import Measured, Night, Past
from nightgate.metrics import MetricSpec, Repeats
from nightgate.record import Metric

_NIGHTS = 30
_REACH = 3  # nights; pairs further apart say more of how the level moves
_LARGEST = 9.0
_PRIOR_WEIGHT = 4.0
_ENOUGH = 8.0  # degrees of freedom, those of about a dozen nights
_SHARED_WEIGHT = 10.0
_NORMAL = 1.959964
_MEDIAN_SQUARE = 0.4549364  # of a normal variable with variance 1


class Assumed(NamedTuple):
    """Standard deviations between single runs of metrics of one kind: what is assumed while nothing is known, and the least
    that a run's own noise and what differs between runs are ever taken to be together."""

    sd: float
    least: float


SPEEDS, SHARES, SIZES = Assumed(0.05, 0.015), Assumed(0.003, 0.0005), Assumed(0.0, 0.0)
"""Times and rates; recall and error rates, as a difference; bytes and counts, which are what they are until they differ."""


class Point(NamedTuple):
    """One measurement of one metric, on the scale on which it is compared (logarithm, or as it is).

    ``below`` and ``above``: standard errors of the run alone, by the lower and the upper end of its interval; both 0 of a
    single number, and inf where the end is not known. ``shared``: the part of their squares that comes from the inputs.
    """

    value: float
    below: float
    above: float
    shared: float

    @property
    def noise(self) -> float:
        """The variance that another run would draw anew."""
        error = (self.below + self.above) / 2
        return (1 - self.shared) * error * error if math.isfinite(error) else 0.0


@dataclass(frozen=True)
class Scatter:
    """Between single runs: the standard deviation ``sd``, the variance ``of_night`` that runs of one night share (part of
    sd²), and ``freedom``, the degrees of freedom it is known with. Learned from ``runs``; ``prior``: mostly assumed."""

    sd: float
    of_night: float
    freedom: float
    runs: int
    prior: bool
    least: float

    def beside(self, point: Point) -> float:
        """The standard deviation between runs that goes with one run's own errors: together never below ``least``."""
        own = (point.below + point.above) / 2
        return max(self.sd, math.sqrt(max(0.0, self.least**2 - own * own)))


def assumed(spec: MetricSpec) -> Assumed:
    """What is assumed of a metric of its kind."""
    return SPEEDS if spec.of_speed else SIZES if spec.logarithmic else SHARES


def own_interval(metric: Metric) -> tuple[float, float] | None:
    """The 95 % interval that its run alone gives, whether it was judged yet or not."""
    return metric.within95 if metric.between is not None else metric.ci95


def point(metric: Metric, spec: MetricSpec) -> Point | None:
    """``metric`` on the scale of ``spec``; None where it has no place there (a time that is not above 0)."""
    if spec.logarithmic and metric.value <= 0:
        return None
    value = math.log(metric.value) if spec.logarithmic else metric.value
    shared = metric.shared if metric.shared is not None else float(_of_inputs(spec))
    interval = own_interval(metric)
    if interval is None:
        return Point(value, 0.0, 0.0, shared)
    low, high = interval
    if spec.logarithmic:
        low, high = (math.log(end) if end > 0 else -math.inf for end in interval)
    return Point(value, max(0.0, value - low) / _NORMAL, max(0.0, high - value) / _NORMAL, shared)


def valid(measured: Sequence[Measured], spec: MetricSpec) -> list[Point]:
    """What ``measured`` says of one metric: nothing of a speed on a disturbed host."""
    counted = (one for one in measured if not (one.disturbed and spec.of_speed))
    found = (point(metric, spec) for one in counted if (metric := one.metrics.get(spec.name)))
    return [one for one in found if one is not None]


def learn(past: Past, spec: MetricSpec) -> Scatter:
    """The scatter between the runs of a series."""
    nights = _newest(past.nights, spec)
    prior = assumed(spec)
    firsts = [night[0] for night in nights]
    learned, freedom = _between(firsts)
    weight = _PRIOR_WEIGHT * max(0.0, 1 - freedom / _ENOUGH)
    variance = (weight * prior.sd**2 + freedom * learned) / (weight + freedom)
    runs = sum(len(night) for night in nights)
    of_night = _of_one_night(nights, variance)
    return Scatter(math.sqrt(variance), of_night, weight + freedom, runs, weight >= freedom, prior.least)


def _of_inputs(spec: MetricSpec) -> bool:
    """Whether its own interval is over inputs that every run has in common, where the record does not say: recall and error
    rates are means over queries and clips; what a speed scatters by is mostly noise."""
    return not spec.of_speed and not isinstance(spec.samples, Repeats)


def _newest(nights: Sequence[Night], spec: MetricSpec) -> list[list[Point]]:
    found: list[list[Point]] = []
    for night in reversed(nights):
        if points := valid(night.measured, spec):
            found.append(points)
            if len(found) == _NIGHTS:
                break
    return found[::-1]


def _between(points: Sequence[Point]) -> tuple[float, float]:
    """The variance between runs, without their own noise, and the degrees of freedom of the estimate (of a quadratic form
    of independent normal variables: trace² over the trace of the square)."""
    number = len(points)
    if number < 2:
        return 0.0, 0.0
    pairs = [(i, j) for i in range(number) for j in range(i + 1, min(number, i + _REACH + 1))]
    values = [one.value for one in points]
    noises = [one.noise for one in points]
    squares = [(values[i] - values[j]) ** 2 for i, j in pairs]
    middle = median(squares) / _MEDIAN_SQUARE
    if middle > 0:
        for _ in range(3):
            middle = fmean(min(square, _LARGEST * middle) for square in squares)
    else:  # most nights are alike: those that are not are all there is to learn from
        middle = fmean(squares)
    noise = fmean(noises[i] + noises[j] for i, j in pairs)
    degrees = [min(i, _REACH) + min(number - 1 - i, _REACH) for i in range(number)]
    trace = 2 * len(pairs)
    return max(0.0, (middle - noise) / 2), trace**2 / (sum(d * d for d in degrees) + trace)


def _of_one_night(nights: Sequence[Sequence[Point]], variance: float) -> float:
    """The part of ``variance`` that runs of one night share: what the scatter inside of nights leaves over. It takes
    `_SHARED_WEIGHT` re-runs until that is half believed."""
    inside, freedom = 0.0, 0
    for night in nights:
        if len(night) > 1:
            centre = fmean(one.value for one in night)
            noise = fmean(one.noise for one in night)
            inside += sum((one.value - centre) ** 2 for one in night) - noise * (len(night) - 1)
            freedom += len(night) - 1
    apart = (max(0.0, inside) + _SHARED_WEIGHT * variance) / (freedom + _SHARED_WEIGHT)
    return max(0.0, variance - apart)
