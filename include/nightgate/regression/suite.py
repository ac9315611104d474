"""All series of a suite on one host, night by night, and what a measurement beside the control says of a candidate."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from statistics import fmean, median
from typing import Generic, TypeVar

from nightgate.regression.course import Candidate, Course
from nightgate.regression.thresholds import Thresholds

Key = TypeVar("Key", bound=Hashable)

_ROUND_WEIGHT = 6.0
_SCATTERS = 30  # nights


@dataclass(frozen=True)
class Tonight:
    """One night of a series: its ``value`` (up is worse), and the ``build`` that answered, where an index is built."""

    value: float
    build: str | None = None


@dataclass(frozen=True)
class Beside:
    """What a series measured in rounds beside its control: ``tonight`` and ``control``, one value of each per round, both in
    turns. ``same_build``: both asked one and the same index."""

    tonight: Sequence[float]
    control: Sequence[float]
    same_build: bool = True


@dataclass(frozen=True)
class Answer:
    """``ratio`` to the control with its standard ``error``; whether the candidate is ``confirmed``, or it was the ``host``."""

    ratio: float
    error: float
    control_far: float
    confirmed: bool
    host: bool

    @property
    def far(self) -> float:
        return self.ratio / self.error if self.error else math.copysign(math.inf, self.ratio)


@dataclass
class Suite(Generic[Key]):
    """``kinds``: which series scatter alike, by their key; ``limits`` and ``least_sd`` of a kind. The order of the series decides
    nothing."""

    kinds: Mapping[Key, str]
    limits: Mapping[str, Thresholds]
    least_sd: Mapping[str, float] = field(default_factory=dict)
    courses: dict[Key, Course] = field(default_factory=dict)

    def night(self, values: Mapping[Key, Tonight]) -> dict[Key, Candidate]:
        """Take one more night; the series that are to be measured again beside their control."""
        usual = self.spreads()
        found = {}
        for key, one in values.items():
            course = self.course(key)
            candidate = course.tonight(one.value, self.limits[self.kinds[key]], usual.get(self.kinds[key]), one.build)
            if candidate:
                found[key] = candidate
        return found

    def course(self, key: Key) -> Course:
        if key not in self.courses:
            least = self.least_sd.get(self.kinds[key])
            self.courses[key] = Course() if least is None else Course(least_sd=least)
        return self.courses[key]

    def spreads(self) -> dict[str, float]:
        """Kind → the median of the standard deviations of its series."""
        known: dict[str, list[float]] = {}
        for key, course in self.courses.items():
            if (sd := course.own_sd()) is not None:
                known.setdefault(self.kinds[key], []).append(sd)
        return {kind: median(of) for kind, of in known.items()}

    def decide(self, key: Key, candidate: Candidate, beside: Beside) -> Answer:
        """What the rounds beside the control say, and tell the series so.

        Rounds of the nights before that did not decide count as well. The error of the mean ratio is learned from the rounds of all
        nights; what nights scatter by stands in for most of it while these are few. Where the control itself lies far from what is
        usual, it is the host, and nothing of that night counts. Where other builds answered, what these differ by is part of it.
        """
        course, limits, usual = self.courses[key], self.limits[self.kinds[key]], candidate.usual
        course.rounds.append((0, [ours - theirs for ours, theirs in zip(beside.tonight, beside.control, strict=True)]))
        apart = 0.0 if beside.same_build else math.sqrt(2) * course.build_sd()
        sign = 1.0 if candidate.worse else -1.0
        course.scatters = [*course.scatters, _scatter(course.rounds[-1][1])][-_SCATTERS:]
        sd = _round_sd(course.scatters, usual.sd)
        mean, error = max(
            (_mean(course.rounds[-nights:], sd, apart) for nights in range(1, len(course.rounds) + 1)),
            key=lambda found: sign * found[0] / found[1],
        )
        far, effect = sign * mean / error, sign * mean
        wanted = limits.blind_confirmed if usual.sd > limits.blind else limits.confirmed
        confirmed = far > wanted and effect > limits.effect
        if candidate.slow:
            confirmed = far > limits.slow_confirmed and effect > limits.slow_effect
        moved = (fmean(beside.control) - usual.level) / math.hypot(usual.sd, usual.error)
        host = sign * moved > limits.host
        if host:
            course.rounds.pop()
        course.answered(candidate, confirmed and not host, host=host)
        return Answer(mean, error, moved, confirmed and not host, host)


def _scatter(rounds: Sequence[float]) -> tuple[float, int]:
    mean = fmean(rounds)
    return sum((one - mean) ** 2 for one in rounds), len(rounds) - 1


def _round_sd(scatters: Sequence[tuple[float, int]], sd: float) -> float:
    """What the ratio of one round scatters by; that of two independent nights weighs as much as six rounds."""
    squares, free = sum(square for square, _ in scatters), sum(count for _, count in scatters)
    return math.sqrt((squares + _ROUND_WEIGHT * 2 * sd**2) / (free + _ROUND_WEIGHT))


def _mean(nights: Sequence[tuple[int, Sequence[float]]], sd: float, apart: float) -> tuple[float, float]:
    """The mean of all rounds, and its standard error."""
    rounds = [ratio for _, ratios in nights for ratio in ratios]
    return fmean(rounds), math.hypot(sd / math.sqrt(len(rounds)), apart)
