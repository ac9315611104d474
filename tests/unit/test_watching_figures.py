"""The short form of `make watching`: how often the watch cries wolf and how soon it sees, with fixed seeds."""

from __future__ import annotations

import math
from statistics import fmean

import numpy as np

import watching

USUAL = watching.World()


def test_quiet_years_have_few_false_alerts():
    found = [watching.live(USUAL, np.random.default_rng([5, year]), lambda night: 0.0)[0] for year in range(4)]
    assert fmean(len(year.alerts) for year in found) <= 1
    assert 200 < fmean(year.asked for year in found) < 600


def test_a_step_of_a_tenth_shows_the_same_night_and_is_dated_to_it():
    delays, dated = watching.seen(USUAL, lambda night: math.log(1.10), 25, 5, before=40)
    assert fmean(delay == 0 for delay in delays) >= 0.9
    assert max(delays) <= 6
    assert dated >= 0.9


def test_a_slow_drift_shows_within_a_month():
    delays, _ = watching.seen(USUAL, lambda night: night * math.log(1.003), 10, 5, before=40)
    assert max(delays) < 30
    assert min(delays) > 2
