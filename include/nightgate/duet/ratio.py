"""What the rounds of a duet say: the ratio of the second side to the first, with its interval."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean, stdev

from nightgate.metrics import MetricSpec

_LEAST_ROUNDS = 3


@dataclass(frozen=True)
class Ratio:
    """``value`` with its 95 % interval from ``low`` to ``high``: the second side over the first (of shares: less the first), by
    Student's t over the logarithms (the differences) of ``rounds`` rounds."""

    metric: str
    logarithmic: bool
    value: float
    low: float
    high: float
    rounds: int

    @property
    def none(self) -> float:
        """What it is when both are alike."""
        return 1.0 if self.logarithmic else 0.0

    @property
    def differs(self) -> bool:
        return not self.low <= self.none <= self.high


def ratio(first: Sequence[float], second: Sequence[float], spec: MetricSpec) -> Ratio | None:
    """That of one metric, measured once per round by each side; None of fewer than three rounds, or where a logarithm is
    asked of 0."""
    from scipy.stats import t

    pairs = list(zip(first, second, strict=True))
    if len(pairs) < _LEAST_ROUNDS or (spec.logarithmic and any(min(pair) <= 0 for pair in pairs)):
        return None
    apart = [math.log(two / one) if spec.logarithmic else two - one for one, two in pairs]
    mean, width = fmean(apart), float(t.ppf(0.975, len(apart) - 1)) * stdev(apart) / math.sqrt(len(apart))
    ends = [math.exp(end) if spec.logarithmic else end for end in (mean, mean - width, mean + width)]
    return Ratio(spec.name, spec.logarithmic, ends[0], ends[1], ends[2], len(apart))
