"""What repeats tell of a time, and how often its interval holds the truth."""

import numpy as np
import pytest
from scipy.stats import t

from nightgate.transcription.repeats import Repeated

WHOLE = np.array([[2.0, 8.0, 3.0, 5.0], [2.2, 7.6, 3.3, 5.1], [1.9, 8.8, 3.1, 4.9]])


def test_of_whole_repeats_it_is_their_mean():
    found = Repeated(WHOLE)
    passes = WHOLE.sum(axis=1)
    assert found.total == pytest.approx(passes.mean())
    assert found.levels * found.total == pytest.approx(passes)
    value, n, (low, high) = found.over(10.0)
    assert (value, n) == (pytest.approx(passes.mean() / 10), 3)
    assert (low + high) / 2 == pytest.approx(value)
    assert (high - low) / 2 / value == pytest.approx(found.half_width)


def test_the_wider_of_what_hits_calls_and_what_hits_repeats_counts():
    free = t.ppf(0.975, 8)
    means = WHOLE.mean(axis=0)
    pooled = ((WHOLE / means - 1) ** 2).sum() / 8
    of_calls = np.sqrt(pooled * (means**2).sum() / 3) / means.sum()
    of_repeats = WHOLE.sum(axis=1).std(ddof=1) / means.sum() / 3**0.5
    assert of_calls > of_repeats
    assert Repeated(WHOLE).half_width == pytest.approx(free * of_calls)
    shifted = WHOLE * [[1.0], [1.3], [0.9]]
    of_repeats = shifted.sum(axis=1).std(ddof=1) / shifted.mean(axis=0).sum() / 3**0.5
    assert Repeated(shifted).half_width == pytest.approx(free * of_repeats)


def test_of_a_repeat_that_was_broken_off_the_calls_that_it_made_count():
    times = np.array([[2.0, 8.0, 3.0, 5.0], [2.4, 8.8, 0.0, 0.0]])
    found = Repeated(times)
    assert found.total == pytest.approx(2.2 + 8.4 + 3.0 + 5.0)
    assert found.levels == pytest.approx([10.0 / 10.6, 11.2 / 10.6])
    shares = np.array([1.1 + 4.2 + 3.0 + 5.0, 1.1 + 4.2]) / found.total
    of_repeats = (11.2 - 10.0) / 10.6 / 2**0.5 * np.sqrt((shares**2).sum())
    assert found.half_width == pytest.approx(t.ppf(0.975, 2) * of_repeats)


@pytest.mark.parametrize("times", [WHOLE[:1], np.zeros((0, 3)), np.array([[1.0, 0.0], [2.0, 0.0], [1.5, 0.0]])])
def test_without_repeats_or_with_a_call_that_was_never_made_there_is_no_interval(times):
    assert Repeated(times).half_width is None


def test_one_repeat_has_a_value_and_no_interval():
    assert Repeated(WHOLE[:1]).over(9.0) == (pytest.approx(2.0), 1, None)
    assert Repeated(WHOLE[:1]).levels.tolist() == [1.0]


def test_times_that_came_one_after_the_other_are_repeats():
    one, two = np.array([4, 5, 6, 7, 8]), np.array([9])
    assert Repeated.of([one, two], 3).times.tolist() == [[4, 5, 6], [7, 8, 0], [9, 0, 0]]
    assert Repeated.of([one, np.zeros(3, int)], 3).times.tolist() == [[4, 5, 6], [7, 8, 0]], "nothing is no repeat"
    assert Repeated.of([], 3).times.shape == (0, 3)
    assert Repeated.of([one], 3).times.dtype == np.int64


def test_scaling_the_times_scales_the_interval():
    value, n, (low, high) = Repeated(WHOLE).over(2.0)
    assert Repeated(WHOLE * 7).over(2.0) == (pytest.approx(7 * value), n, pytest.approx((7 * low, 7 * high)))
