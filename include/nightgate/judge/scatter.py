"""By how much do whole runs of one series differ? Learned from its past, assumed while there is none.

A night's interval says how well one run knows its own mean; what differs between runs (the layout of a process, the build
of an index, the host's hour) is in none of its samples. It is learned from the newest 30 valid nights of the series:

    between    half the mean squared difference of nights that lie at most three apart, beyond what the runs' own noise
               explains; a noisy run counts less. Neighbours are compared, not each night with the mean of all, so that a step of the level stands in
               a few of the pairs and leaves them with the nights beside it (Hall, Kay & Titterington, *Asymptotically
               optimal difference-based estimation of variance*, Biometrika 1990). A square counts as nine times what is
               expected of it at most.
    one night  of that, the part which the runs of one night share. Nights with confirming runs tell it; none is assumed.

    apart      the standard deviation around the mean of all, for the comparison of two nights however far apart: a host that was
               slow for a week is not known by neighbours. With it how far the ``farthest`` was from the median: what is not
               near normal has a few that are far from all others, and each of them is part of many pairs.

On logarithms where `MetricSpec.logarithmic`. A prior stands in while there is little history: it weighs as much as
`_PRIOR_WEIGHT` nights at first and nothing from about a dozen nights on.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, NamedTuple

from nightgate.judge.past import Measured, Night, Past
from nightgate.metrics import MetricSpec, Repeats
from nightgate.record import Between, Metric

if TYPE_CHECKING:
    import numpy as np

_NIGHTS = 30
_REACH = 3  # nights; pairs further apart say more of how the level moves
_LARGEST = 9.0
_PRIOR_WEIGHT = 4.0
_ENOUGH = 8.0  # degrees of freedom, those of about a dozen nights
_SHARED_WEIGHT = 10.0
_NORMAL = 1.959964
_NEAR, _NOTHING = 1e-6, 1e-9
_MEDIAN_SQUARE = 0.4549364  # of a normal variable with variance 1


class Assumed(NamedTuple):
    """Standard deviations between single runs of metrics of one kind: what is assumed while nothing is known, and the least
    that a run's own noise and what differs between runs are ever taken to be together."""

    sd: float
    least: float


SPEEDS, SHARES, SIZES = Assumed(0.05, 0.01), Assumed(0.003, 0.0005), Assumed(0.0, 0.0)
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


@dataclass(frozen=True)
class Scatter:
    """Between single runs: the standard deviation ``sd``, the variance ``of_night`` that runs of one night share (part of
    sd²), and ``freedom``, the degrees of freedom it is known with. Learned from ``runs``; ``prior``: mostly assumed.

    ``apart`` and ``farthest`` are those of `nightgate.record.Between`."""

    sd: float
    of_night: float
    freedom: float
    runs: int
    prior: bool
    least: float
    apart: float = 0.0
    farthest: float = 0.0

    def beside(self, point: Point) -> float:
        """The standard deviation between runs that goes with one run's own errors: together never below ``least``."""
        own = (point.below + point.above) / 2
        return max(self.sd, math.sqrt(max(0.0, self.least**2 - own * own)))


NONE = Scatter(sd=0.0, of_night=0.0, freedom=1.0, runs=0, prior=False, least=0.0)
"""Of what does not differ between runs."""


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


def stands(metric: Metric) -> bool:
    """Whether something can be said of the truth from it: it has an interval of its own, or is a single number."""
    return metric.n == 1 or own_interval(metric) is not None


def valid(measured: Sequence[Measured], spec: MetricSpec) -> list[Point]:
    """What ``measured`` says of one metric: nothing of a speed on a disturbed host, nor where it does not stand."""
    counted = (one for one in measured if not (one.disturbed and spec.of_speed))
    found = (metric for one in counted if (metric := one.metrics.get(spec.name)) and stands(metric))
    return [one for metric in found if (one := point(metric, spec))]


def learn(past: Past, spec: MetricSpec) -> Scatter:
    """The scatter between the runs of a series."""
    nights = _newest(past.nights, spec)
    prior = assumed(spec)
    learned, freedom = _between([night[0] for night in nights])
    weight = _weight(freedom)
    variance = (weight * prior.sd**2 + freedom * learned) / (weight + freedom)
    runs = sum(len(night) for night in nights)
    of_night = _of_one_night(nights, variance)
    apart, farthest = _around_all([night[0] for night in nights], prior.sd)
    return Scatter(
        math.sqrt(variance), of_night, weight + freedom, runs, weight >= freedom, prior.least, apart, farthest
    )


def known(between: Between | None, spec: MetricSpec) -> Scatter:
    """The scatter between any two runs that a judged metric states, or what is assumed of its kind. An assumption is taken as it
    stands: no degrees of freedom make it wider."""
    prior = assumed(spec)
    if between is None:
        return Scatter(prior.sd, 0.0, math.inf, 0, True, prior.least, prior.sd)
    sd = between.sd if between.apart is None else max(between.sd, between.apart)
    learned = _pairs(min(between.runs, _NIGHTS))[2] if between.runs > 1 else 0.0
    freedom = math.inf if between.prior else learned + _weight(learned)
    return Scatter(sd, 0.0, freedom, between.runs, between.prior, prior.least, sd, between.farthest or 0.0)


def _weight(freedom: float) -> float:
    """How much the prior weighs beside what was learned with so many degrees of freedom."""
    return _PRIOR_WEIGHT * max(0.0, 1 - freedom / _ENOUGH)


def _of_inputs(spec: MetricSpec) -> bool:
    """Whether its own interval is over inputs that every run has in common, where the record does not say: recall and error
    rates are means over queries and clips; what a speed scatters by is mostly noise."""
    return not spec.of_speed and not isinstance(spec.samples, Repeats)


_Drawn = tuple[float, float]
"""What one run found, on the scale of comparison, and the variance that another would draw anew."""


def _newest(nights: Sequence[Night], spec: MetricSpec) -> list[list[_Drawn]]:
    """Of the newest nights that count, oldest first. Hundreds of metrics with as many nights are read at every gate, so
    nothing is looked up twice."""
    name, of_speed, logarithmic, of_inputs = spec.name, spec.of_speed, spec.logarithmic, float(_of_inputs(spec))
    found: list[list[_Drawn]] = []
    for night in reversed(nights):
        points = []
        for one in night.measured:
            metric = one.metrics.get(name)
            if metric is None or (one.disturbed and of_speed) or (logarithmic and metric.value <= 0):
                continue
            ends = metric.within95 if metric.between is not None else metric.ci95
            shared = of_inputs if metric.shared is None else metric.shared
            if ends is None or shared == 1 or (logarithmic and ends[0] <= 0):
                noise = 0.0
            else:
                width = math.log(ends[1] / ends[0]) if logarithmic else ends[1] - ends[0]
                noise = (1 - shared) * (width / (2 * _NORMAL)) ** 2
            points.append((math.log(metric.value) if logarithmic else metric.value, noise))
        if points:
            found.append(points)
            if len(found) == _NIGHTS:
                break
    return found[::-1]


def _around_all(points: Sequence[_Drawn], prior: float) -> tuple[float, float]:
    """The standard deviation around the mean of all, without the runs' own noise, and how far from the median the farthest is."""
    if len(points) < 2:
        return prior, 0.0
    values = sorted(value for value, _ in points)
    count = len(values)
    middle = (values[(count - 1) // 2] + values[count // 2]) / 2
    # around the median first: the mean of equal logarithms is rounded, and bytes that never differ would scatter by 1e-15
    freedom, mean = count - 1.0, sum(value - middle for value in values) / count
    around = sum((value - middle - mean) ** 2 for value in values) / freedom
    learned, weight = max(0.0, around - sum(noise for _, noise in points) / count), _weight(freedom)
    variance = (weight * prior**2 + freedom * learned) / (weight + freedom)
    return math.sqrt(variance), max(values[-1] - middle, middle - values[0])


def _between(points: Sequence[_Drawn]) -> tuple[float, float]:
    """The variance between runs, without their own noise, and the degrees of freedom of the estimate.

    It is the τ² with which the squared differences, each divided by what is expected of it, are 1 on average (Paule & Mandel,
    *Consensus values and weighting factors*, J. Res. NBS 1982): a run that hardly knows its own mean says little, where the
    plain mean would let it explain the scatter of all. The sum falls with τ² and has one root.
    """
    import numpy as np
    from scipy.optimize import brentq

    if len(points) < 2:
        return 0.0, 0.0
    earlier, later, freedom = _pairs(len(points))
    values, noises = np.array(points).T
    squares, noise = (values[later] - values[earlier]) ** 2, noises[later] + noises[earlier]
    mean = float(squares.mean())
    if not mean:
        return 0.0, freedom
    middle = float(np.partition(squares, len(squares) // 2)[len(squares) // 2]) / _MEDIAN_SQUARE
    # where most nights are alike, those that are not are all there is to learn from
    largest = _LARGEST if middle else math.inf
    least = _NOTHING * (middle or mean)

    def excess(tried: float) -> float:
        """How far the squares, each divided by what is expected of it, are above 1 on average, with e^``tried`` for 2 τ²."""
        return float(np.minimum(squares / (noise + math.exp(tried)), largest).mean()) - 1

    twice = least
    if excess(math.log(least)) > 0:
        twice = math.exp(brentq(excess, math.log(least), math.log(mean) + _NEAR, xtol=_NEAR))
    weights = 1 / (noise + twice)
    effective = float(weights.sum() ** 2 / (weights**2).sum()) / len(weights)
    return twice / 2 if twice > least else 0.0, freedom * effective


@cache
def _pairs(number: int) -> tuple[np.ndarray, np.ndarray, float]:
    """The pairs of ``number`` nights that lie near each other, as places, and the degrees of freedom of their mean square:
    of a quadratic form of independent normal variables, trace² over the trace of the square."""
    import numpy as np

    pairs = [(i, j) for i in range(number) for j in range(i + 1, min(number, i + _REACH + 1))]
    neighbours = [min(i, _REACH) + min(number - 1 - i, _REACH) for i in range(number)]
    trace = 2 * len(pairs)
    earlier, later = np.array(pairs).T
    return earlier, later, trace**2 / (sum(of * of for of in neighbours) + trace)


def _of_one_night(nights: Sequence[Sequence[_Drawn]], variance: float) -> float:
    """The part of ``variance`` that runs of one night share: what the scatter inside of nights leaves over. It takes
    `_SHARED_WEIGHT` re-runs until that is half believed."""
    inside, freedom = 0.0, 0
    for night in nights:
        again = len(night) - 1
        if again:
            centre = sum(value for value, _ in night) / len(night)
            noise = sum(noise for _, noise in night) / len(night)
            inside += sum((value - centre) ** 2 for value, _ in night) - noise * again
            freedom += again
    apart = (max(0.0, inside) + _SHARED_WEIGHT * variance) / (freedom + _SHARED_WEIGHT)
    return max(0.0, variance - apart)
