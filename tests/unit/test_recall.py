"""The exact neighbours, and recall: ties count, duplicates are an error, misses are misses."""

from __future__ import annotations

import numpy as np
import pytest

from nightgate.errors import NotMeasured
from nightgate.vectors import recall, truth
from nightgate.vectors.metric import METRICS

BASE = np.eye(4, dtype=np.float32)[[0, 1, 1, 2, 3]]  # rows 1 and 2 are the same vector
QUERY = np.array([[0.9, 0.4, 0.1, 0.0]], dtype=np.float32)
TRUTH = truth.exact(BASE, QUERY, 3, "cosine")


def one(answer, k=2):
    return recall.per_query([np.array(answer)], TRUTH, BASE, QUERY, k, "cosine")[0]


def test_a_tie_counts_whichever_of_the_two_is_found():
    assert one([0, 1]) == 1.0
    assert one([0, 2]) == 1.0
    assert one([0, 3]) == 0.5


def test_missing_answers_are_misses_and_the_denominator_stays_k():
    assert one([0]) == 0.5
    assert one([0, -1]) == 0.5
    assert one([]) == 0.0


def test_an_id_twice_or_outside_the_base_is_an_error():
    with pytest.raises(NotMeasured, match="the same id twice"):
        one([0, 0])
    with pytest.raises(NotMeasured, match="outside the base"):
        one([0, 99])


def test_no_ground_truth_is_an_error(tmp_path):
    with pytest.raises(NotMeasured, match="no ground truth"):
        truth.open_truth(tmp_path, "queries")
    with pytest.raises(NotMeasured, match="too little"):
        recall.per_query([np.array([0])], TRUTH, BASE, QUERY, 4, "cosine")


@pytest.mark.parametrize("offset", [0, 0.01, -300])
def test_a_tie_by_distance_is_as_wide_as_the_distances_are(offset):
    """A fixed width would count everything where vectors lie close, and nothing where they are long."""
    base = np.array([[0, 0], [1e-4, 0], [2e-4, 0]], np.float32) + np.float32(offset)
    query = base[:1]
    found = truth.exact(base, query, 2, "l2")
    assert found.ids.tolist() == [[0, 1]]
    assert recall.per_query([[0, 2]], found, base, query, 2, "l2") == [0.5]
    assert recall.per_query([[0, 1]], found, base, query, 2, "l2") == [1]


def test_distances_that_float32_hardly_tells_apart_are_a_tie():
    base, query = np.array([[1, 0], [1 + 3e-7, 0], [1 + 3e-6, 0]], np.float32), np.zeros((1, 2), np.float32)
    found = truth.exact(base, query, 1, "l2")
    assert [recall.per_query([[row]], found, base, query, 1, "l2")[0] for row in range(3)] == [1, 1, 0]


def test_an_inner_product_of_cancelling_terms_ties_within_what_float32_tells_apart():
    base = np.array([[1e4, -1e4], [1e4, -1e4 + 0.002], [-1e4, 0]], np.float32)
    query = np.array([[1e4, 1e4]], np.float32)
    found = truth.exact(base, query, 1, "ip")
    assert recall.per_query([[0]], found, base, query, 1, "ip") == [1]
    assert recall.per_query([[2]], found, base, query, 1, "ip") == [0]


def exhaustive(base, queries, metric):
    """Ids from the nearest to the farthest, equal ones by id, by plain float64."""
    base, queries = base.astype(np.float64), queries.astype(np.float64)
    score = -((queries[:, None] - base) ** 2).sum(axis=-1) if metric == "l2" else queries @ base.T
    order = np.argsort(-score, axis=1, kind="stable")
    return order, np.take_along_axis(score, order, axis=1)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("first, rows, queries", [(16, 64, 7), (1024, 8192, 1024), (1, 1, 1)])
def test_exact_search_in_blocks_equals_trying_every_pair(monkeypatch, metric, first, rows, queries):
    rng = np.random.default_rng(0)
    base, asked = (rng.standard_normal((n, 8)).astype(np.float32) for n in (500, 20))
    monkeypatch.setattr(truth, "_FIRST", first)
    monkeypatch.setattr(truth, "_ROWS", rows)
    monkeypatch.setattr(truth, "_QUERIES", queries)
    found = truth.exact(base, asked, 10, metric)
    ids, score = exhaustive(base, asked, metric)
    assert found.ids.tolist() == ids[:, :10].tolist()
    assert np.allclose(found.score, score[:, :10], rtol=1e-6)
    assert (found.ids.dtype, found.score.dtype) == (np.int64, np.float32)


@pytest.mark.parametrize("metric", METRICS)
def test_exact_search_does_not_depend_on_the_order_of_the_rows(monkeypatch, metric):
    """The hardest order for a running threshold: every row is nearer than all before it."""
    rng = np.random.default_rng(1)
    base, asked = rng.standard_normal((300, 4)).astype(np.float32), rng.standard_normal((1, 4)).astype(np.float32)
    base = base[exhaustive(base, asked, metric)[0][0, ::-1]]
    monkeypatch.setattr(truth, "_FIRST", 16)
    monkeypatch.setattr(truth, "_ROWS", 32)
    assert truth.exact(base, asked, 5, metric).ids.tolist() == [[299, 298, 297, 296, 295]]


def test_equal_rows_are_ordered_by_id(monkeypatch):
    monkeypatch.setattr(truth, "_FIRST", 8)
    monkeypatch.setattr(truth, "_ROWS", 8)
    base = np.ones((20, 4), np.float32)
    assert truth.exact(base, base[:2], 20, "ip").ids.tolist() == [list(range(20))] * 2


def test_what_float32_orders_wrongly_is_put_right(monkeypatch):
    rng = np.random.default_rng(3)
    base = (1 + 1e-5 * rng.standard_normal((2000, 64))).astype(np.float32)
    asked = rng.uniform(1, 2, (20, 64)).astype(np.float32)
    expected = exhaustive(base, asked, "ip")[0][:, :10].tolist()
    assert truth.exact(base, asked, 10, "ip").ids.tolist() == expected
    monkeypatch.setattr(truth, "_SPARE", 0)
    assert truth.exact(base, asked, 10, "ip").ids.tolist() != expected, "then this would show nothing"


def test_a_shared_offset_costs_no_neighbour():
    """Without the shift, float32 would tell these distances apart by luck only."""
    rng = np.random.default_rng(2)
    base, asked = (rng.standard_normal((n, 16)).astype(np.float32) + 1000 for n in (3000, 30))
    assert truth.exact(base, asked, 10, "l2").ids.tolist() == exhaustive(base, asked, "l2")[0][:, :10].tolist()


def test_fewer_rows_than_neighbours_is_an_error():
    with pytest.raises(NotMeasured, match="base of 5 rows has no 6"):
        truth.exact(BASE, QUERY, 6, "cosine")
