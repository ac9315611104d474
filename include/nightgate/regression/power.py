"""What a series would show, by replaying its own nights with a shift that never was."""

from __future__ import annotations

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist, fmean

from nightgate.regression.course import LEAST, Course
from nightgate.regression.thresholds import Thresholds

_NIGHTS = 30  # the newest, at most, that a shift is put into
_WEEK = 7
_STEP, _SMALL = math.log(1.10), math.log(1.05)


@dataclass(frozen=True)
class Power:
    """The probability that a step of 10 % is told the same night, and one of 5 % within seven; over ``nights`` of its own."""

    tonight: float
    week: float
    nights: int

    def __str__(self) -> str:
        return f"a step of 10 % shows the same night in {100 * self.tonight:.0f} %, one of 5 % within a week in {100 * self.week:.0f} %"


def power(
    values: Sequence[float], limits: Thresholds, suite_sd: float | None, rounds: int, least_sd: float
) -> Power | None:
    """That of a series of speeds, logarithms, up is worse, oldest first; None of too few nights.

    A shift is put into each of its newest nights in turn. What is found there is confirmed with the probability that the mean of
    so many rounds beside the control, which scatter as its nights do, lies beyond the threshold.
    """
    course, tonight, week = Course(least_sd=least_sd), list[float](), list[float]()
    first = max(LEAST + 2, len(values) - _NIGHTS)
    for place, value in enumerate(values):
        if place >= first:
            tonight.append(_told(course, [value + _STEP], limits, suite_sd, rounds, _STEP))
            if place + _WEEK <= len(values):
                following = [one + _SMALL for one in values[place : place + _WEEK]]
                week.append(_told(course, following, limits, suite_sd, rounds, _SMALL))
        course.tonight(value, limits, suite_sd)
        course.up = course.down = 0.0
    return Power(fmean(tonight), fmean(week), len(tonight)) if tonight and week else None


def _told(
    before: Course, nights: Sequence[float], limits: Thresholds, suite_sd: float | None, rounds: int, shift: float
) -> float:
    """The probability that a shift is confirmed in one of ``nights``, each of which is asked again where it stands out."""
    course, missed, asked = copy.deepcopy(before), 1.0, 0
    for value in nights:
        found = course.tonight(value, limits, suite_sd)
        if found is None or not found.worse:
            continue
        asked += 1
        error = found.usual.sd * math.sqrt(2 / (rounds * asked))
        wanted, effect = (
            (limits.slow_confirmed, limits.slow_effect) if found.slow else (limits.confirmed, limits.effect)
        )
        missed *= NormalDist().cdf((max(wanted * error, effect) - shift) / error)
        course.answered(found, confirmed=False)
    return 1 - missed
