"""How long the steps of a measurement will take, and how long they may.

A rate says it from the settings alone, coarsely and from above. What earlier runs on the same host took, over what
the rates say of them, corrects it.
"""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Literal

from nightgate.errors import InputError

STEP_SECONDS = 6 * 3600.0
"""The longest time-out of one step of the nightly."""

NIGHT_SECONDS = 20 * 3600.0
"""After this Airflow ends the whole run, so that the next night can begin."""

MOST_LOOKS = 3
"""How often a night measures once more at most what its first measurement leaves undecided."""

AGAIN_AFTER = "NIGHTGATE_AGAIN_AFTER"
_AGAIN_SECONDS = 900.0  # time enough for a backup, an update or another night's job to be over

_LEAST = 3600.0  # seconds of a time-out: what hangs is found, what is slow once is not
Step = Literal["prepare", "measure"]
STEPS: tuple[Step, ...] = ("prepare", "measure")

_ROOM = 3.0  # a time-out over the estimate
_DOUBT = 3.0  # how far above the truth a rate may be
_RECENT = 5


@dataclass(frozen=True, slots=True)
class Steps:
    """Seconds of the two long steps."""

    prepare: float
    measure: float

    def of(self, step: Step) -> float:
        return self.prepare if step == "prepare" else self.measure


@dataclass(frozen=True, slots=True)
class Past:
    """An earlier run on this host: what its steps took, what the rates say of it, and whether it had these settings."""

    took: Steps
    rated: Steps
    same: bool


@dataclass(frozen=True, slots=True)
class Estimate:
    """``known`` tells whether runs with the same settings stand behind it, not only rates."""

    seconds: Steps
    rated: Steps
    known: bool

    def timeout(self, step: Step, ceiling: float | None) -> float:
        """Seconds after which a step is ended; at most ``ceiling``.

        A step whose work is cached takes less than when it is not, so the rate counts as well.
        """
        expected = max(self.seconds.of(step), self.rated.of(step))
        wanted = max(_LEAST, _ROOM * expected)
        return wanted if ceiling is None else min(wanted, ceiling)

    def too_long(self, step: Step, ceiling: float | None) -> bool | None:
        """Whether a step cannot end within ``ceiling``; None when it is doubtful."""
        seconds = self.seconds.of(step)
        if ceiling is None or seconds <= ceiling:
            return False
        return True if self.known or seconds > _DOUBT * ceiling else None


def estimate(rated: Steps, past: Sequence[Past]) -> Estimate:
    """The rates, corrected by the five newest runs with the same settings, or else the five newest.

    Of ``prepare`` the longest counts, for the others may have found in the cache what they needed.

    Args:
        past: newest first.
    """
    same = [one for one in past if one.same]
    near = (same or past)[:_RECENT]
    if not near:
        return Estimate(rated, rated, known=False)
    prepare = max(one.took.prepare / one.rated.prepare for one in near)
    measure = median(one.took.measure / one.rated.measure for one in near)
    return Estimate(Steps(rated.prepare * prepare, rated.measure * measure), rated, known=bool(same))


def check(estimates: Mapping[tuple[str, str], Estimate], lower: Mapping[str, str], *, nightly: bool) -> list[str]:
    """What the log should warn of: a step that perhaps cannot end in time, and a night that cannot.

    Args:
        estimates: per benchmark and device.
        lower: per benchmark the settings that make it shorter.
        nightly: whether Airflow ends what takes too long; by hand nothing does.

    Raises:
        InputError: a step cannot end within the longest time-out.
    """
    warnings = []
    for (benchmark, device), one in estimates.items() if nightly else ():
        for step in STEPS:
            too_long = one.too_long(step, STEP_SECONDS)
            if too_long is False:
                continue
            what = (
                f"{benchmark} on {device}: {step} would take about {human(one.seconds.of(step))}, "
                f"and its time-out is at most {human(STEP_SECONDS)}"
            )
            if too_long:
                raise InputError(what, f"lower {lower[benchmark]} of {benchmark}")
            warnings.append(f"{what}; no run of these settings says so yet")
    total = sum(one.seconds.prepare + one.seconds.measure for one in estimates.values())
    most = total * (1 + MOST_LOOKS)
    if nightly and total > NIGHT_SECONDS:
        warnings.append(f"the run would take about {human(total)}, and after {human(NIGHT_SECONDS)} it is ended")
    elif nightly and most > NIGHT_SECONDS:
        warnings.append(
            f"the run would take up to {human(most)} if all of it had to be confirmed, and after {human(NIGHT_SECONDS)} it is ended"
        )
    return warnings


def again_seconds() -> float:
    """How long after a measurement that a busy host has spoilt it is tried again: 15 min, or what ``NIGHTGATE_AGAIN_AFTER``
    says.

    Raises:
        InputError: that is no number of seconds.
    """
    text = os.environ.get(AGAIN_AFTER, "").strip()
    try:
        seconds = float(text or _AGAIN_SECONDS)
    except ValueError:
        seconds = -1.0
    if not 0 <= seconds < float("inf"):
        raise InputError(f"{AGAIN_AFTER}={text!r} is no number of seconds", "write seconds, for example 900")
    return seconds


def human(seconds: float) -> str:
    """``40 s``, ``12 min`` or ``3.5 h``."""
    if seconds < 100:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 6000 else f"{seconds / 3600:.1f} h"
