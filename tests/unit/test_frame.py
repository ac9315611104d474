"""The frame of a user's vectors: common numbers stay as they are, others are moved to where float32 holds them well."""

from __future__ import annotations

import numpy as np
import pytest

from nightgate.vectors.frame import Frame, choose
from nightgate.vectors.usable import Usable

NONE = np.empty(0, np.int64)


def vectors(rows=400, dim=4, seed=0):
    return np.random.default_rng(seed).standard_normal((rows, dim)) * [1, 2, 3, 4]


def chosen(array, metric):
    return choose([Usable(len(array), NONE, array.min(axis=0), array.max(axis=0), array[::3])], metric)


@pytest.mark.parametrize("metric", ["l2", "ip"])
@pytest.mark.parametrize("factor", [1, 900, 1e-3])
def test_common_numbers_stay_as_they_are(metric, factor):
    array = factor * vectors()
    frame = chosen(array, metric)
    assert (frame.centre, frame.exponent, frame.unit) == (None, 0, False)
    assert frame.facts() == {}
    assert np.array_equal(frame.apply(array.astype(np.float32)), array.astype(np.float32))


@pytest.mark.parametrize("metric", ["l2", "ip"])
@pytest.mark.parametrize("factor", [1e5, 1e15, 1e-5, 1e-18])
def test_others_are_scaled_by_a_power_of_two_which_changes_no_digit(metric, factor):
    array = (factor * vectors()).astype(np.float32)
    frame = chosen(array, metric)
    moved = frame.apply(array)
    assert moved.dtype == np.float32
    assert 2**9 <= np.abs(moved).max() < 2**10
    assert np.array_equal(np.ldexp(moved.astype(np.float64), -frame.exponent), array)
    assert frame.facts() == {"scaled_by_two_to_the": frame.exponent}


def test_the_borders_of_the_common_range_belong_to_it():
    for largest, exponent in ((2.0**14, 0), (2.0**14 * 1.001, -5), (2.0**-10, 0), (2.0**-10 * 0.999, 20)):
        bound = np.array([largest, 0])
        middle = np.array([[1, 0], [-1, 0]])
        base, queries = (Usable(2, NONE, -bound / part, bound, middle) for part in (2, 4))
        assert choose([base], "ip").exponent == exponent
        mirrored = Usable(2, NONE, -bound, bound / 2, middle)
        assert choose([mirrored], "ip").exponent == exponent
        small = Usable(2, NONE, -bound / 8, bound / 8, middle)
        assert choose([small, queries], "ip").exponent == exponent, "queries may reach farther than the base"


def test_an_offset_far_beyond_the_spread_is_taken_away_under_l2_alone():
    array = vectors() + np.array([1000, -2000, 0, 50])
    frame = chosen(array, "l2")
    assert frame.centre == pytest.approx(np.median(array[::3], axis=0))
    assert frame.apply(array) == pytest.approx(array - frame.centre, rel=1e-6)
    assert frame.facts() == {"shifted_by_length": pytest.approx(np.linalg.norm(frame.centre))}
    assert chosen(array, "ip") == Frame()


def test_an_offset_within_the_spread_stays_and_outliers_move_no_centre():
    assert chosen(vectors() + np.array([3, -3, 3, 3]), "l2") == Frame()
    array = vectors()
    array[::10] += 1e6
    frame = chosen(array, "l2")
    assert (frame.centre, frame.exponent) == (None, -10)


def test_scale_is_judged_after_the_shift():
    array = vectors() + 1e6
    assert chosen(array, "l2").exponent == 0
    assert chosen(1e6 * vectors() + 1e9, "l2").exponent == -14
    one = np.full((5, 2), 7.0)
    assert chosen(one, "l2").apply(one).tolist() == [[0, 0]] * 5


def test_an_offset_is_far_beyond_eight_times_the_usual_distance():
    around = np.array([[1, 0], [-1, 0], [0, 1], [0, -1], [50, 0], [0, 0]])
    for offset, shifted in ((8.0, False), (8.001, True), (12.0, True)):  # the usual distance is 1, the mean of them 9
        frame = choose([Usable(6, NONE, np.full(2, -1.0), np.full(2, 20.0), around + np.array([offset, 0]))], "l2")
        assert (frame.centre is not None) is shifted
        assert frame.centre is None or frame.centre.tolist() == [offset, 0]


def test_after_the_shift_each_dimension_has_its_own_bounds():
    centre = np.array([1e6, -1e6])
    sample = centre + np.array([[1, 0], [-1, 0], [0, 1], [0, -1], [0, 0]])
    base, queries = (Usable(5, NONE, centre - reach, centre + reach, sample) for reach in (1, 3))
    frame = choose([base, queries], "l2")
    assert (frame.centre.tolist(), frame.exponent) == (centre.tolist(), 0)
    for low, high in ((2.0**15, 0), (0, 2.0**15)):
        far = Usable(5, NONE, centre - low, centre + high, sample)
        assert choose([base, far], "l2").exponent == -6


def test_nothing_but_zeros_needs_no_scale():
    for metric in ("l2", "ip"):
        assert chosen(np.zeros((3, 2)), metric) == Frame()


@pytest.mark.parametrize("frame", [Frame(), Frame(unit=True), Frame(exponent=2), Frame(centre=np.zeros(2))])
@pytest.mark.parametrize("dtype", ["uint8", "float16", "int64", "float64", "float32"])
def test_what_is_measured_is_float32(frame, dtype):
    assert frame.apply(np.array([[3, 4]], dtype)).dtype == np.float32


def test_under_cosine_only_the_direction_is_left():
    frame = chosen(vectors(), "cosine")
    assert frame == Frame(unit=True) and frame.facts() == {}
    array = np.array([[3, 4], [3e-300, 4e-300], [3e300, 4e300]])
    assert frame.apply(array) == pytest.approx(np.array([[0.6, 0.8]] * 3))


@pytest.mark.parametrize(
    ("frame", "dtype", "exact"),
    [
        (Frame(), "float32", True), (Frame(), "uint8", True), (Frame(), "float16", True), (Frame(), "float64", False),
        (Frame(unit=True), "float32", False), (Frame(exponent=3), "float32", False),
        (Frame(centre=np.zeros(2)), "float32", False),
    ],
)  # fmt: skip
def test_what_leaves_every_value_as_it_is(frame, dtype, exact):
    assert frame.exact(np.dtype(dtype)) is exact
