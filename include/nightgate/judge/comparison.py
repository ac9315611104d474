"""Is the difference between two measurements of one metric real, and how large is it?

A difference is real when its 99 % interval excludes "no difference": some twenty metrics are compared at once, and of so many one
would be wrong by 95 %. What is compared, and what was kept, decides the method:

    between_runs  two runs: the interval of each run alone, and what differs between runs of their series
    paired        two variants of one run that took turns: their rounds in pairs; gives a ratio
    speeds        Welch's t on the logarithms of the repeats of one run; gives a ratio
    error_rates   paired bootstrap over the clips that both transcribed; gives a difference

Repeats of one run share its processes and its hour, so `speeds` says nothing of two runs.
"""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from nightgate.judge import scatter
from nightgate.judge.sequential import mean_of
from nightgate.measure import estimates
from nightgate.metrics import MetricSpec
from nightgate.record import Metric

if TYPE_CHECKING:
    import numpy as np

Scale = Literal["ratio", "difference"]

_FEWEST_REPEATS = 3
_FEWEST_ROUNDS = 5
CONFIDENCE = 0.99
_NORMAL = 2.575829  # of the normal distribution, two-sided


@dataclass(frozen=True, slots=True)
class Difference:
    """The second measurement against the first: second / first, or second − first.

    ``interval`` is that of `CONFIDENCE`, where no other was asked for. ``real`` is None when nothing can be said; then ``reason`` says why.
    """

    scale: Scale
    value: float
    interval: tuple[float, float] | None
    method: str
    real: bool | None
    reason: str | None = None


def speeds(first: np.ndarray, second: np.ndarray, *, confidence: float = CONFIDENCE) -> Difference:
    """The ratio of the geometric means of two sets of repeats (Welch, *The generalization of Student's problem when
    several different population variances are involved*, Biometrika 1947).

    Logarithms, because a ratio is asked for and what disturbs a time multiplies it.

    Args:
        first, second: total times of the repeats in one unit, finite and > 0, shapes (repeats,); not paired.
    """
    import numpy as np
    from scipy.stats import ttest_ind

    method = "Welch's t on the repeats"
    logs = [np.log(np.asarray(times, dtype=np.float64)) for times in (first, second)]
    if not all(log.ndim == 1 and len(log) and np.isfinite(log).all() for log in logs):
        raise ValueError("repeats are finite times above 0")
    shift = float(logs[1].mean() - logs[0].mean())
    fewest = min(len(log) for log in logs)
    if fewest < _FEWEST_REPEATS:
        reason = f"{fewest} repeats are too few, {_FEWEST_REPEATS} are needed"
        return Difference("ratio", math.exp(shift), None, method, None, reason)
    if all(np.ptp(log) == 0 for log in logs):
        return Difference("ratio", math.exp(shift), None, method, None, "no repeat differs from another")
    with warnings.catch_warnings():  # one of the two may not scatter at all
        warnings.filterwarnings("ignore", "Precision loss", RuntimeWarning)
        welch = ttest_ind(logs[1], logs[0], equal_var=False)
    low, high = (float(end) for end in welch.confidence_interval(confidence))
    return Difference("ratio", math.exp(shift), (math.exp(low), math.exp(high)), method, not low <= 0 <= high)


def between_runs(first: Metric, second: Metric, spec: MetricSpec) -> Difference:
    """The second run against the first, with what either leaves open and what differs between runs anyway.

    The four add by the root of their squares (MOVER, see `ratio`). What differs between runs is what was learned of either
    series (`Metric.between`), else what is assumed of metrics of its kind. A difference no larger than the one by which a run
    of the series was off before, for no reason, is none either.
    """
    method = "both intervals, and what differs between runs"
    scale: Scale = "ratio" if spec.logarithmic and min(first.value, second.value) > 0 else "difference"
    value = second.value / first.value if scale == "ratio" else second.value - first.value
    one, two = scatter.point(first, spec), scatter.point(second, spec)
    if one is None or two is None or not (scatter.stands(first) and scatter.stands(second)):
        return Difference(scale, value, None, method, None, "no interval")
    series = [scatter.known(metric.between, spec) for metric in (first, second)]
    means = [mean_of([[at]], of) for at, of in zip((one, two), series, strict=True)]
    if all(mean.certain for mean in means):
        return Difference(scale, value, None, method, None, "neither is known to scatter")
    farthest = max(of.farthest for of in series)
    own = [_NORMAL * math.sqrt(end) for end in (means[1].below + means[0].above, means[1].above + means[0].below)]
    below = math.hypot(means[1].reach("below", _NORMAL), means[0].reach("above", _NORMAL))
    above = math.hypot(means[1].reach("above", _NORMAL), means[0].reach("below", _NORMAL))
    below, above = max(below, math.hypot(own[0], farthest)), max(above, math.hypot(own[1], farthest))
    shift = two.value - one.value
    ends = (shift - below, shift + above)
    interval = (math.exp(ends[0]), math.exp(ends[1])) if scale == "ratio" else ends
    return Difference(scale, value, interval, method, not ends[0] <= 0 <= ends[1])


def paired(first: np.ndarray, second: np.ndarray) -> Difference:
    """The ratio of two variants of one run that took turns, round by round: what disturbed a round disturbed both.

    Student's t on the logarithms of the rounds' ratios (as in duet benchmarking: Bulej et al., *Duet benchmarking: improving
    measurement accuracy in the cloud*, ICPE 2020).

    Args:
        first, second: what each found in each round (a time, a rate), finite and > 0, float64, (rounds,).
    """
    import numpy as np

    method = "the rounds in pairs"
    logs = [np.log(np.asarray(found, dtype=np.float64)) for found in (first, second)]
    if (
        not all(log.ndim == 1 and np.isfinite(log).all() for log in logs)
        or len(logs[0]) != len(logs[1])
        or not len(logs[0])
    ):
        raise ValueError("pairs are as many values above 0 of either variant")
    shifts = logs[1] - logs[0]
    value = math.exp(float(shifts.mean()))
    if len(shifts) < _FEWEST_ROUNDS:
        reason = f"{len(shifts)} rounds are too few, {_FEWEST_ROUNDS} are needed"
        return Difference("ratio", value, None, method, None, reason)
    if np.ptp(shifts) == 0:
        return Difference("ratio", value, None, method, None, "no round differs from another")
    _, _, bounds = estimates.mean(shifts, confidence=CONFIDENCE)
    assert bounds
    return Difference(
        "ratio", value, (math.exp(bounds[0]), math.exp(bounds[1])), method, not bounds[0] <= 0 <= bounds[1]
    )


def error_rates(first: np.ndarray, second: np.ndarray, words: np.ndarray) -> Difference:
    """The difference of two word error rates on the same clips; how hard a clip is falls out of it.

    Args:
        first, second: word errors of each clip, shapes (clips,), clip by clip the same audio.
        words: reference words of each clip, all > 0, shape (clips,).
    """
    import numpy as np

    method = "paired bootstrap over the clips"
    change = np.asarray(second, dtype=np.float64) - first
    value, _, interval = estimates.rate_over_clips(change, words, confidence=CONFIDENCE)
    if interval is None:
        return Difference("difference", value, None, method, None, f"{len(change)} clips are too few")
    return Difference("difference", value, interval, method, not interval[0] <= 0 <= interval[1])


def ratio(first: Metric, second: Metric) -> tuple[float, tuple[float, float] | None]:
    """second / first of two estimates that do not depend on each other, with the interval that theirs allow, as sure as they are;
    None where one has none.

    On the logarithms each end is as far off as the two ends it comes from, by the root of their squares (MOVER: Zou &
    Donner, *Construction of confidence limits about effect measures: a general approach*, Statistics in Medicine 2008).

    Args:
        first, second: above 0.
    """
    value = second.value / first.value
    known = [each.ci95 for each in (first, second) if each.ci95 and each.ci95[0] > 0]
    if len(known) < 2:
        return value, None
    (low_one, high_one), (low_two, high_two) = known
    below = math.hypot(math.log(second.value / low_two), math.log(high_one / first.value))
    above = math.hypot(math.log(high_two / second.value), math.log(first.value / low_one))
    return value, (value * math.exp(-below), value * math.exp(above))
