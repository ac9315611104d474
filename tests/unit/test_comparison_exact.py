"""Differences at their edges: what is enough to tell one, and the exact numbers of small cases."""

from __future__ import annotations

import math

import numpy as np
import pytest

from nightgate.judge import comparison
from nightgate.judge.comparison import Difference

E = math.e
WELCH, PAIRED = "Welch's t on the repeats", "paired bootstrap over the clips"


def test_welchs_t_by_hand():
    # logarithms 0, 1, 2 and 4, 4, 5, 7: means 1 and 5; variances 1 and 2; parts 1/3 and 1/2
    found = comparison.speeds(np.exp([0.0, 1, 2]), np.exp([4.0, 4, 5, 7]))
    # (5/6)² / ((1/9)/2 + (1/4)/3) = 5 degrees of freedom, t = 4.032143 at 99 %, half = t·√(5/6)
    half = 4.032143 * math.sqrt(5 / 6)
    assert (found.scale, found.method, found.real, found.reason) == ("ratio", WELCH, True, None)
    assert found.value == pytest.approx(E**4)
    assert found.interval == (pytest.approx(E ** (4 - half), rel=1e-5), pytest.approx(E ** (4 + half), rel=1e-5))
    turned = comparison.speeds(np.exp([4.0, 4, 5, 7]), np.exp([0.0, 1, 2]))
    assert turned.real and turned.value == pytest.approx(E**-4)


@pytest.mark.parametrize(("shift", "real"), [(3.68, False), (3.69, True), (-3.68, False), (-3.69, True)])
def test_a_ratio_is_real_from_the_end_of_its_interval_on(shift, real):
    first, second = np.array([0.0, 1, 2]), np.array([-1.0, -1, 0, 2])  # the same parts; half = 3.680826
    assert comparison.speeds(np.exp(first), np.exp(second + 1 + shift)).real is real


def test_three_repeats_tell_and_two_do_not():
    assert comparison.speeds(np.array([1.0, 2, 3]), np.array([1.0, 2, 4])).real is False
    few = comparison.speeds(np.array([1.0, 4.0]), np.array([6.0, 3.0, 12.0]))
    assert few == Difference("ratio", pytest.approx(3.0), None, WELCH, None, "2 repeats are too few, 3 are needed")
    few = comparison.speeds(np.array([6.0, 3.0, 12.0]), np.array([2.0]))
    assert few.reason == "1 repeats are too few, 3 are needed"


def test_single_precision_is_compared_in_double():
    first, second = (np.array(times, dtype=np.float32) for times in ([0.1, 0.2, 0.4], [0.3, 0.5, 0.7]))
    exact = comparison.speeds(first.astype(np.float64), second.astype(np.float64))
    assert comparison.speeds(first, second) == exact
    counts = np.array([1, 2, 3, 4, 250], dtype=np.uint8)
    assert comparison.error_rates(counts, counts - 1, np.full(5, 100)).value == -0.01


def test_equal_repeats_tell_nothing_whatever_the_ratio():
    equal = comparison.speeds(np.full(4, 0.5), np.full(3, 2.0))
    assert equal == Difference("ratio", pytest.approx(4.0), None, WELCH, None, "no repeat differs from another")
    assert comparison.speeds(np.full(4, 0.5), np.array([2.0, 2.0, 2.1])).real is True


def test_a_difference_of_error_rates_counts_from_the_first():
    found = comparison.error_rates(np.array([1, 2, 3, 4, 5]), np.array([3, 4, 6, 5, 8]), np.array([10, 20, 30, 20, 20]))
    assert (found.value, found.scale, found.method, found.reason) == (0.11, "difference", PAIRED, None)
    assert found.real is True and found.interval[0] < 0.11 < found.interval[1]
    few = comparison.error_rates(np.array([1, 2]), np.array([2, 2]), np.array([10, 30]))
    assert few == Difference("difference", 0.025, None, PAIRED, None, "2 clips are too few")


@pytest.mark.parametrize(
    ("interval", "real"),
    [((-0.2, 0.1), False), ((0.0, 0.1), False), ((-0.1, 0.0), False), ((0.001, 0.1), True), ((-0.1, -0.001), True)],
)
def test_a_difference_of_error_rates_is_real_when_its_interval_excludes_nought(monkeypatch, interval, real):
    asked = []
    monkeypatch.setattr(
        comparison.estimates,
        "rate_over_clips",
        lambda *of, confidence: asked.append((*of, confidence)) or (0.04, 90, interval),
    )
    found = comparison.error_rates(np.array([1, 2]), np.array([5, 1]), np.array([10, 20]))
    assert found == Difference("difference", 0.04, interval, PAIRED, real)
    [(change, words, confidence)] = asked
    assert (change.tolist(), words.tolist(), confidence) == ([4.0, -1.0], [10, 20], 0.99)
