"""Hardness: known dimensions and contrasts are found, and the hard bucket holds the queries nothing is near to."""

from __future__ import annotations

import json

import numpy as np
import pytest

from nightgate.errors import NotMeasured
from nightgate.vectors import hardness
from nightgate.vectors.dataset import Dataset
from nightgate.vectors.truth import Truth

NONE = np.empty((0, 1), np.float32)


def dataset(base, queries, metric="l2"):
    return Dataset(np.asarray(base, np.float32), np.asarray(queries, np.float32), NONE, NONE, metric)


def exact(data, k):
    """By the definition of each metric, in float64."""
    base, queries = data.base.astype(np.float64), data.queries.astype(np.float64)
    score = queries @ base.T
    if data.metric == "l2":
        score = 2 * score - (base**2).sum(axis=1) - (queries**2).sum(axis=1)[:, None]
    ids = np.argsort(-score, axis=1, kind="stable")[:, :k]
    return Truth(ids)


LINE = dataset([[1], [2], [3], [4]], [[0], [10]])


def random(metric, rows=300, queries=20):
    vectors = (
        np.random.default_rng(5).standard_normal((rows + queries, 8)) * np.linspace(0.2, 3, rows + queries)[:, None]
    )
    return dataset(vectors[:rows], vectors[rows:], metric)


def unit(vectors):
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.mark.parametrize("dimension", [2, 6])
def test_the_local_dimension_of_a_flat_patch_is_known(dimension):
    rng = np.random.default_rng(0)
    patch = np.ones((20_200, dimension + 1))
    patch[:, :dimension] = 0.2 * rng.uniform(-1, 1, (20_200, dimension))
    data = dataset(unit(patch)[200:], unit(patch)[:200], "cosine")
    truth = exact(data, 50)
    assert hardness.measure(data, truth)["local_dimension"] == pytest.approx(dimension, rel=0.15)
    each = hardness.local_dimension(hardness.distances(data, truth).near)
    assert each.shape == (200,) and np.median(each) == pytest.approx(dimension, rel=0.15)


def test_the_local_dimension_of_one_query_by_hand():
    near = np.array([[1.0, 2.0, 4.0], [0.0, 2.0, 4.0], [3.0, 3.0, 3.0], [0.0, 0.0, 0.0]])
    expected = [2 / np.log(4 * 2), 1 / np.log(2), np.inf, np.inf]
    assert hardness.local_dimension(near) == pytest.approx(expected)


def test_the_relative_contrast_by_hand():
    # from 0 the rows are 1, 2, 3 and 4 away, 2.5 on average; from 10 it is 6, 7, 8, 9 and 7.5
    assert hardness.measure(LINE, exact(LINE, 2))["relative_contrast"] == {"1": pytest.approx(5.0 / 3.5)}
    assert hardness.per_query(LINE, exact(LINE, 2)) == pytest.approx([2 / 2.5, 7 / 7.5])
    assert hardness.per_query(LINE, exact(LINE, 1)) == pytest.approx([1 / 2.5, 6 / 7.5])


def test_every_depth_the_truth_holds_is_measured():
    data = random("l2")
    found = hardness.measure(data, exact(data, 100))["relative_contrast"]
    assert list(found) == ["1", "10", "100"]
    assert found["1"] > found["10"] > found["100"] > 1
    assert list(hardness.measure(data, exact(data, 99))["relative_contrast"]) == ["1", "10"]


def test_the_sample_is_fixed_and_stands_for_the_whole_base(monkeypatch):
    data = random("l2", rows=3000)
    truth = exact(data, 10)
    whole = hardness.distances(data, truth).mean
    monkeypatch.setattr(hardness, "SAMPLE", 1000)
    sampled = hardness.distances(data, truth).mean
    assert not np.array_equal(sampled, whole)
    assert sampled == pytest.approx(whole, rel=0.05), "rows at the start of the file are shorter: a slice would not do"
    assert np.array_equal(sampled, hardness.distances(data, truth).mean)


@pytest.mark.parametrize("metric", ["l2", "ip"])
def test_blocks_of_queries_and_rows_change_nothing(monkeypatch, metric):
    data = random(metric)
    whole = hardness.distances(data, exact(data, 10))
    monkeypatch.setattr(hardness, "_QUERIES_AT_ONCE", 7)
    monkeypatch.setattr(hardness, "_ROWS_AT_ONCE", 33)
    parts = hardness.distances(data, exact(data, 10))
    assert parts.near == pytest.approx(whole.near, rel=1e-12)
    assert parts.mean == pytest.approx(whole.mean, rel=1e-12)


def test_neighbours_rise_even_where_a_tie_stands_the_other_way_round_in_the_truth():
    ids = exact(LINE, 4).ids[:, ::-1]
    assert hardness.distances(LINE, Truth(ids)).near[0].tolist() == [1, 2, 3, 4]


def test_under_the_inner_product_distances_rank_as_it_does_and_follow_from_it():
    data = random("ip")
    truth = exact(data, 300)
    found = hardness.distances(data, truth)
    longest = np.linalg.norm(data.base.astype(np.float64), axis=1).max()
    score = np.take_along_axis(data.queries @ data.base.T, truth.ids, axis=1)
    cosine = score / (np.linalg.norm(data.queries, axis=1, keepdims=True) * longest)
    assert found.near == pytest.approx(np.sqrt(2 - 2 * cosine), rel=1e-5)
    assert found.mean == pytest.approx(found.near.mean(axis=1)), "of all rows, when the base is smaller than the sample"
    twice = dataset(data.base, 2 * data.queries, "ip")
    assert hardness.per_query(twice, truth) == pytest.approx(hardness.per_query(data, truth)), "its ranking is the same"


def test_unit_vectors_are_equally_hard_under_every_metric():
    vectors = unit(random("l2").base)
    each = [dataset(vectors[20:], vectors[:20], metric) for metric in ("cosine", "l2", "ip")]
    cosine, l2, ip = (hardness.per_query(data, exact(data, 10)) for data in each)
    assert cosine == pytest.approx(l2)
    assert cosine == pytest.approx(ip, abs=1e-3), "float32 unit vectors are not exactly as long as the longest"


@pytest.mark.parametrize("metric", ["cosine", "l2", "ip"])
def test_rows_that_repeat_still_give_json_without_infinity(metric):
    data = dataset(np.tile([[1, 0]], (20, 1)), [[1, 0]], metric)
    found = hardness.measure(data, exact(data, 10))
    assert found == {"local_dimension": None, "relative_contrast": {"1": None, "10": None}}
    json.dumps(found, allow_nan=False)
    assert hardness.per_query(data, exact(data, 10)).tolist() == [0.0]


def test_a_zero_query_has_no_near_row_under_the_inner_product():
    data = dataset(random("ip").base, np.zeros((1, 8)), "ip")
    assert hardness.per_query(data, exact(data, 10)) == pytest.approx([1.0])


def test_the_hard_bucket_holds_the_queries_nothing_is_near_to():
    rng = np.random.default_rng(2)
    centres = rng.standard_normal((10, 16))
    spread = np.array([0.02, 0.2, 2.0]).repeat(30)  # a third of the queries each: within, beside and off a cluster
    queries = centres[rng.integers(0, 10, 90)] + spread[:, None] * rng.standard_normal((90, 16))
    order = rng.permutation(90)
    data = dataset(centres.repeat(100, axis=0) + 0.1 * rng.standard_normal((1000, 16)), queries[order])
    found = hardness.buckets(hardness.per_query(data, exact(data, 50)))
    assert [hardness.BUCKETS[each] for each in found[np.argsort(order)]] == ["easy"] * 30 + ["middle"] * 30 + [
        "hard"
    ] * 30


def test_buckets_are_terciles_and_ties_go_by_position():
    assert hardness.buckets(np.array([0.9, 0.1, 0.5, 0.4, 0.2, 0.8])).tolist() == [2, 0, 1, 1, 0, 2]
    assert hardness.buckets(np.full(10, 0.5)).tolist() == [0, 0, 0, 0, 1, 1, 1, 2, 2, 2]
    equals = hardness.buckets(np.tile([0.8, 0.2, 0.5, 0.4], 250)).reshape(250, 4)
    assert np.all(np.diff(equals.astype(int), axis=0) >= 0)
    found = hardness.buckets(np.random.default_rng(0).random(1000))
    assert found.dtype == np.int8 and np.bincount(found).tolist() == [334, 333, 333]
    assert hardness.buckets(np.empty(0)).size == 0


def test_the_truth_of_other_queries_is_refused():
    with pytest.raises(NotMeasured, match="holds 1 queries, the data set 2"):
        hardness.measure(LINE, Truth(np.zeros((1, 2), np.int64)))


def test_what_a_result_is_kept_with():
    assert (hardness.BUCKETS, hardness.DEPTHS, hardness.SAMPLE) == (("easy", "middle", "hard"), (1, 10, 100), 4096)


@pytest.mark.parametrize("blocks", [1, 64])
def test_distances_are_those_of_float64(monkeypatch, blocks):
    monkeypatch.setattr(hardness, "_QUERIES_AT_ONCE", blocks)
    data = dataset([[0.1, 0.7], [-2.3, 0.4], [1.9, 1.7]], [[0.3, -0.6], [1.1, 2.2]])
    base, queries = data.base.astype(np.longdouble), data.queries.astype(np.longdouble)
    every = np.sqrt(((queries[:, None] - base) ** 2).sum(axis=-1)).astype(float)
    found = hardness.distances(data, exact(data, 2))
    assert found.near == pytest.approx(np.sort(every)[:, :2], rel=1e-14)
    assert found.mean == pytest.approx(every.mean(axis=1), rel=1e-13)
    assert hardness.per_query(data, exact(data, 2)) == pytest.approx(np.sort(every)[:, 1] / every.mean(axis=1))


def test_the_sphere_of_the_inner_product_by_hand():
    # the longest row is 10, so the rows become (0.6, 0.8, 0), (0.3, 0.4, √0.75) and (0, -1, 0); the query (1, 0, 0)
    data = dataset([[6, 8], [3, 4], [0, -10]], [[7, 0]], "ip")
    every = np.sqrt([0.8, 0.49 + 0.16 + 0.75, 2.0])
    found = hardness.distances(data, exact(data, 3))
    assert found.near == pytest.approx(every[None], rel=1e-12)
    assert found.mean == pytest.approx([every.mean()], rel=1e-12)


def test_rows_whose_squares_leave_float32_have_a_length():
    data = dataset([[3e30, 4e30], [3e30, -4e30]], [[1, 0]], "ip")
    assert hardness.distances(data, exact(data, 2)).near == pytest.approx(np.sqrt([[0.8, 0.8]]), rel=1e-6)


def test_nothing_but_zero_rows_is_equally_far_under_the_inner_product():
    data = dataset(np.zeros((3, 2)), [[5, 0]], "ip")
    assert hardness.distances(data, exact(data, 2)).near == pytest.approx(np.full((1, 2), 2**0.5))
    assert hardness.per_query(data, exact(data, 2)) == pytest.approx([1.0])


def test_local_dimensions_are_averaged_by_their_inverse():
    # from 0 ln(2/1), so 1/ln 2 = 1.44; from 10 ln(7/6)
    expected = 2 / (np.log(2) + np.log(7 / 6))
    assert hardness.measure(LINE, exact(LINE, 2))["local_dimension"] == pytest.approx(expected)
