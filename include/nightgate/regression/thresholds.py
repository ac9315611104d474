"""How far from its usual a series must be until it is asked again, and until it is believed.

The user says how many false alerts a year are too many. A finding stands when it is so improbable that in a year of all nights
and series fewer than these would come about by chance: the union bound, with each night of each series as one trial. As only
candidates are tried, it lies on the safe side by whatever nights are wilder than normal ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import log
from statistics import NormalDist

from nightgate.errors import InputError

NIGHTS_A_YEAR = 365
_TRIED = 0.4  # of all nights are candidates, at most
_BLIND_TRIED = 4.0  # where every bad night is one, and may count for each of the seven after it
_MOST_CERTAIN, _LEAST_CERTAIN = 6.0, 2.6


@dataclass(frozen=True)
class Thresholds:
    """In standard deviations, and effects as logarithms (of what is compared by its difference: as differences).

    ``candidate``: a night this far out is measured again beside the control; so is what the sums of ``slack`` and ``sum`` find
    (CUSUM: Page 1954). ``confirmed``: the ratio to the control must lie this far out; ``slow_confirmed`` where nights of sums
    speak for it already. ``blind``: nights that scatter by more than this would not show a tenth, so the series is measured beside its
    control in every night that lies on the bad side of its usual, and ``blind_confirmed`` takes the place of ``confirmed``. ``host``: so far from its own usual the control may be.
    """

    confirmed: float
    blind_confirmed: float = 4.0
    candidate: float = 2.2
    slack: float = 0.5
    sum: float = 5.0
    slow_confirmed: float = 3.2
    blind: float = 0.035
    host: float = 2.0
    effect: float = log(1.03)
    slow_effect: float = log(1.015)


def thresholds(alerts_a_year: float, series: int) -> Thresholds:
    """Those for so many ``series``.

    Raises:
        InputError: ``alerts_a_year`` is not above 0.
    """
    if not alerts_a_year > 0:
        raise InputError(
            f"alerts_a_year is {alerts_a_year:g}", "name how many false alerts a year are bearable, such as 1"
        )
    trials = NIGHTS_A_YEAR * max(1, series)
    return Thresholds(_certain(alerts_a_year / (trials * _TRIED)), _certain(alerts_a_year / (trials * _BLIND_TRIED)))


def _certain(share: float) -> float:
    """How far out so small a share of a normal distribution lies."""
    exact = NormalDist().inv_cdf(1 - share) if share < 0.5 else 0.0
    return min(_MOST_CERTAIN, max(_LEAST_CERTAIN, exact))
