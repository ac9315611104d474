"""Intervals: known ranks, and coverage by simulation."""

from __future__ import annotations

import numpy as np
import pytest

from nightgate.measure import estimates


def test_the_ranks_of_a_p95_from_1000_samples():
    # two-sided 95 %: binom.ppf(.025, 1000, .95) = 936 and binom.ppf(.975, 1000, .95) + 1 = 964
    value, n, interval = estimates.quantile(np.arange(1, 1001), 0.95)
    assert (value, n, interval) == (951, 1000, (936, 964))


def test_too_few_samples_have_no_interval():
    assert estimates.quantile(np.arange(50.0), 0.95)[2] is None
    assert estimates.quantile(np.arange(200.0), 0.99)[2] is None


def test_repeating_the_same_queries_does_not_narrow_the_interval():
    once = np.random.default_rng(0).exponential(size=1000)
    _, n, repeated = estimates.quantile(np.tile(once, 5), 0.95, independent=1000)
    assert n == 5000
    assert repeated == estimates.quantile(once, 0.95)[2]


@pytest.mark.parametrize("q", [0.5, 0.95])
def test_the_interval_covers_the_true_quantile_as_often_as_it_says(q):
    rng, covered = np.random.default_rng(1), 0
    truth = -np.log(1 - q)
    for _ in range(400):
        low, high = estimates.quantile(rng.exponential(size=300), q)[2]
        covered += low <= truth <= high
    assert covered / 400 >= 0.93


def test_mean_and_ratio_of_sums():
    value, n, (low, high) = estimates.mean(np.array([1.0, 2, 3, 4, 5]))
    assert (value, n) == (3.0, 5)
    assert low == pytest.approx(3 - 2.776445 * 1.5811388 / 5**0.5, rel=1e-6)
    assert high == pytest.approx(6 - low)
    value, n, interval = estimates.ratio_of_sums(np.array([2.0, 2.0, 2.0]), 8.0)
    assert (value, n, interval) == (0.25, 3, (0.25, 0.25))
    assert estimates.ratio_of_sums(np.array([2.0, 2.0]), 8.0)[2] is None
