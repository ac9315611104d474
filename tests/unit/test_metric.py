"""How much farther one row is than another, by hand and where plain float64 would not do."""

from __future__ import annotations

import numpy as np
import pytest

from nightgate.vectors.metric import METRICS, behind, unit


def test_by_hand():
    rows, pivot, query = np.array([[1, 2], [3, 5], [0, -1]]), np.array([1, 0]), np.array([2, 1])
    # squared distances 2, 17, 8 and 2 of the pivot
    assert behind(rows, pivot, query, "l2")[0].tolist() == [0, 15, 6]
    # inner products 4, 11, -1 and 2
    assert behind(rows, pivot, query, "ip")[0].tolist() == [-2, -9, 3]
    # cosines 4/√5√5, 11/√34√5, -1/√5 and 2/√5
    expected = np.array([2 - 4 / 5**0.5, 2 - 11 / 34**0.5, 3]) * 2 / 5**0.5
    assert behind(rows, pivot, query, "cosine")[0] == pytest.approx(expected)


def test_what_can_be_told_apart_follows_the_terms_that_are_summed():
    rows, pivot, query = np.array([[1.0, 2.0]]), np.array([3.0, 0.0]), np.array([0.5, 0.25])
    # (b - p)(b + p - 2q) = -2·3 and 2·1.5
    assert behind(rows, pivot, query, "l2")[1].tolist() == [9 * 2.0**-40]
    # (p - b)q = 2·0.5 and -2·0.25
    assert behind(rows, pivot, query, "ip")[1].tolist() == [1.5 * 2.0**-40]
    # unit vectors (1, 2)/√5, (1, 0) and (2, 1)/√5; the rest is what their rounding can do, 2^-50 of them
    apart, toward = np.array([1 - 5**0.5, 2]) / 5**0.5, np.array([5**0.5 - 3, 0]) / 5**0.5
    rounded = np.array([5**0.5 + 5, 4]) / 5**0.5
    expected = 2.0**-40 * abs(apart @ toward) + 2.0**-50 * (rounded @ (abs(apart) + abs(toward)))
    assert behind(rows, pivot, query, "cosine")[1] == pytest.approx([expected], rel=1e-14)
    assert behind(np.array([[3.0, 0.0]]), pivot, query, "ip")[1].tolist() == [0]


def test_directions_that_nearly_agree_are_told_apart():
    """Their cosines differ by less than float64 has digits, and the distances between them do not."""
    rows, query = np.array([[1, 3e-9], [1, 2e-9]]), np.array([1, 0.0])
    farther, tie = behind(rows, np.array([1, 2.5e-9]), query, "cosine")
    assert farther == pytest.approx([9e-18 - 6.25e-18, 4e-18 - 6.25e-18], rel=1e-6)
    assert (np.abs(farther) > 1e4 * tie).all()


@pytest.mark.parametrize("metric", METRICS)
def test_equal_rows_tie_exactly_and_nothing_is_farther_than_itself(metric):
    rows = np.random.default_rng(0).standard_normal((5, 9)).astype(np.float32)
    farther, tie = behind(rows, rows[3], rows[0] * 1e8, metric)
    assert farther[3] == 0 and tie[3] >= 0
    assert (np.abs(np.delete(farther, 3)) > np.delete(tie, 3)).all()


def test_a_distance_that_is_nearly_all_offset_loses_no_digit():
    query = np.full(3, 2.0**60)
    rows, pivot = np.array([[1, 0, 0], [0, 0, 0.5]]), np.zeros(3)
    assert behind(rows, pivot, query, "l2")[0].tolist() == [1 - 2.0**61, 0.25 - 2.0**60]


def test_unit_vectors_over_the_whole_range_of_float64():
    given = np.array([[3, 4], [3e-310, 4e-310], [-3e300, 4e300], [0, 0]])
    assert unit(given) == pytest.approx(np.array([[0.6, 0.8], [0.6, 0.8], [-0.6, 0.8], [0, 0]]))
    assert unit(np.array([0.0, -2.0])).tolist() == [0, -1]
    assert given[0].tolist() == [3, 4], "what is given stays as it is"
