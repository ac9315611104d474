"""The boundaries hold what they say, computed anew; and how far a mean of looks reaches."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import t

from nightgate.judge import sequential
from nightgate.judge.scatter import NONE, Point, Scatter
from nightgate.judge.sequential import LOOKS, POOLED, boundaries, mean_of, newest, student


def crossing(limits, cells=1200):
    """The probability that the mean of 1, 2, … standard normal looks ever lies above its limit in standard errors
    (Armitage, McPherson & Rowe 1969): the density of the sum of those that went on is carried from look to look."""
    top = 8 * math.sqrt(len(limits))
    sums, width = np.linspace(-top, top, cells, retstep=True)
    step = np.exp(-((sums[:, None] - sums[None, :]) ** 2) / 2) / math.sqrt(2 * math.pi) * width
    density, crossed = np.exp(-(sums**2) / 2) / math.sqrt(2 * math.pi), 0.0
    for look, limit in enumerate(limits, start=1):
        if look > 1:
            density = step @ density
        if math.isfinite(limit):
            beyond = np.clip((sums + width / 2 - limit * math.sqrt(look)) / width, 0, 1)  # of each cell
            crossed += float((density * beyond).sum() * width)
            density = density * (1 - beyond)
    return crossed


def test_the_recursion_agrees_with_the_table_of_its_paper():
    # Armitage, McPherson & Rowe, table 2: two-sided 1.96 at five looks is crossed with .142
    assert 2 * crossing([1.959964] * 5) == pytest.approx(0.142, abs=0.0015)
    assert crossing([1.644854]) == pytest.approx(0.05, abs=2e-4)


def test_four_looks_err_in_five_and_in_one_of_a_hundred_together():
    inside, outside = zip(*(boundaries(look, pooled=False) for look in range(1, LOOKS + 1)), strict=True)
    assert crossing(inside) == pytest.approx(0.05, abs=5e-4)
    assert crossing(outside) == pytest.approx(0.01, abs=2e-4)
    assert math.isinf(outside[0]), "never of one look"
    for limits in (inside, outside[1:]):
        assert list(limits) == sorted(limits, reverse=True)
    shape = [limit * (look / LOOKS) ** 0.25 for look, limit in enumerate(inside, start=1)]
    assert shape == pytest.approx([inside[-1]] * LOOKS, abs=2e-3), "Wang & Tsiatis with a quarter"


def test_all_pooled_looks_together_err_as_often():
    inside, outside = boundaries(2, pooled=True)
    assert crossing([inside] * POOLED) == pytest.approx(0.05, abs=1e-3)
    assert 0.008 <= crossing([math.inf] + [outside] * (POOLED - 1)) <= 0.0101
    assert boundaries(9, pooled=False) == boundaries(LOOKS, pooled=False)


def test_students_quantile_leaves_as_much_outside_as_the_normal_one():
    for normal, freedom in ((1.959964, 4.0), (2.591, 24.9), (2.94, 12.1)):
        assert t.sf(student(normal, freedom), freedom) == pytest.approx(t.sf(normal, 1e9), rel=1e-4)
    assert math.isinf(student(math.inf, 4.0))
    assert student(2.0, 1e9) == pytest.approx(2.0, abs=1e-6)


def point(value=0.0, below=0.02, above=0.03, shared=0.0):
    return Point(value, below, above, shared)


BETWEEN = Scatter(sd=0.05, of_night=0.0, freedom=1e9, runs=30, prior=False, least=0.0)


def test_looks_average_out_what_each_draws_anew_and_keep_what_they_share():
    noise = mean_of([[point(1.0), point(3.0)], [point(5.0), point(7.0)]], BETWEEN)
    assert (noise.value, noise.looks) == (4.0, 4)
    assert (noise.below, noise.above) == (pytest.approx(0.02**2 / 4), pytest.approx(0.03**2 / 4))
    assert noise.between == pytest.approx(0.05**2 / 4)
    same = mean_of([[point(shared=1.0)] * 4], BETWEEN)
    assert (same.below, same.above) == (pytest.approx(0.02**2), pytest.approx(0.03**2))
    half = mean_of([[point(shared=0.75)] * 4], BETWEEN)
    assert half.above == pytest.approx(0.03**2 * (0.75 + 0.25 / 4))


def test_what_the_runs_of_a_night_share_is_divided_by_the_nights():
    scatter = Scatter(sd=0.05, of_night=0.0016, freedom=9.0, runs=30, prior=False, least=0.0)
    one = mean_of([[point()] * 4], scatter)
    assert one.between == pytest.approx((0.0025 - 0.0016) / 4 + 0.0016)
    two = mean_of([[point()] * 3, [point()]], scatter)
    assert two.between == pytest.approx(0.0009 / 4 + 0.0016 * (9 + 1) / 16)


def test_the_parts_add_by_the_root_of_their_squares():
    mean = mean_of([[point(1.0)]], BETWEEN)
    low, high = mean.interval()
    assert 1 - low == pytest.approx(1.959964 * math.hypot(0.02, 0.05))
    assert high - 1 == pytest.approx(1.959964 * math.hypot(0.03, 0.05))
    unsure = mean_of([[point(1.0)]], Scatter(0.05, 0.0, 4.0, 0, True, 0.0)).interval()
    assert unsure[1] - 1 == pytest.approx(math.hypot(1.959964 * 0.03, t.ppf(0.975, 4) * 0.05))
    assert mean_of([[point(1.0, 0.0, 0.0)]], NONE).certain
    assert not mean_of([[point(1.0, 0.0, 1e-9)]], NONE).certain
    assert not mean_of([[point(1.0, 0.0, 0.0)]], BETWEEN).certain


def test_the_least_scatter_is_that_of_run_and_series_together():
    calm = Scatter(sd=0.0, of_night=0.0, freedom=30.0, runs=30, prior=False, least=0.015)
    assert calm.beside(point(below=0.009, above=0.009)) == pytest.approx(0.012)
    assert calm.beside(point(below=0.02, above=0.02)) == 0.0
    assert calm.beside(point(below=math.inf, above=0.0)) == 0.0


def test_the_newest_nights_are_pooled_whole():
    nights = [[point(float(number))] * size for number, size in enumerate((8, 6, 8, 8, 4))]
    assert [len(night) for night in newest(nights)] == [6, 8, 8, 4]
    assert [len(night) for night in newest([[point()] * 10, *nights[3:]])] == [10, 8, 4]
    assert (sequential.POOLED, sequential.PATIENCE) == (28, 14)
