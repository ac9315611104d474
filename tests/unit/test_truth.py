"""Exact neighbours are proven: the same as by trying every pair in more digits, whatever the size of the numbers."""

from __future__ import annotations

import logging

import numpy as np
import pytest

from nightgate.errors import NotMeasured
from nightgate.vectors import exact, scoring, truth
from nightgate.vectors.arrays import Arrays
from nightgate.vectors.dataset import Dataset
from nightgate.vectors.metric import METRICS, behind, unit


def exhaustive(base, queries, metric):
    """Ids from the nearest to the farthest, equal ones by id, in extended precision."""
    base, queries = base.astype(np.longdouble), queries.astype(np.longdouble)
    if metric == "cosine":
        base = base / np.sqrt((base**2).sum(axis=1, keepdims=True))
    score = -((queries[:, None] - base) ** 2).sum(axis=-1) if metric == "l2" else queries @ base.T
    return np.argsort(-score, axis=1, kind="stable")


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize("first, rows, queries", [(16, 64, 7), (1024, 8192, 1024), (1, 1, 1)])
def test_exact_search_in_blocks_equals_trying_every_pair(monkeypatch, metric, first, rows, queries):
    rng = np.random.default_rng(0)
    base, asked = (rng.standard_normal((n, 8)).astype(np.float32) for n in (90, 5))
    monkeypatch.setattr(scoring, "_FIRST", first)
    monkeypatch.setattr(scoring, "_ROWS", rows)
    monkeypatch.setattr(exact, "_QUERIES", queries)
    found = truth.exact(base, asked, 10, metric)
    assert found.ids.tolist() == exhaustive(base, asked, metric)[:, :10].tolist()
    assert found.ids.dtype == np.int64


@pytest.mark.parametrize("metric", METRICS)
def test_exact_search_does_not_depend_on_the_order_of_the_rows(monkeypatch, metric):
    """The hardest order for a running threshold: every row is nearer than all before it."""
    rng = np.random.default_rng(1)
    base, asked = rng.standard_normal((300, 4)).astype(np.float32), rng.standard_normal((1, 4)).astype(np.float32)
    base = base[exhaustive(base, asked, metric)[0, ::-1]]
    monkeypatch.setattr(scoring, "_FIRST", 16)
    monkeypatch.setattr(scoring, "_ROWS", 32)
    assert truth.exact(base, asked, 5, metric).ids.tolist() == [[299, 298, 297, 296, 295]]


def test_equal_rows_are_ordered_by_id(monkeypatch):
    monkeypatch.setattr(scoring, "_FIRST", 8)
    monkeypatch.setattr(scoring, "_ROWS", 8)
    base = np.ones((20, 4), np.float32)
    assert truth.exact(base, base[:2], 20, "ip").ids.tolist() == [list(range(20))] * 2


def test_what_float32_orders_wrongly_is_put_right(monkeypatch):
    rng = np.random.default_rng(3)
    base = (1 + 1e-5 * rng.standard_normal((2000, 64))).astype(np.float32)
    asked = rng.uniform(1, 2, (20, 64)).astype(np.float32)
    expected = exhaustive(base, asked, "ip")[:, :10].tolist()
    assert truth.exact(base, asked, 10, "ip").ids.tolist() == expected
    monkeypatch.setattr(exact, "_SPARE", 0)
    assert truth.exact(base, asked, 10, "ip").ids.tolist() == expected, "what cannot be proven is done in float64"
    monkeypatch.setattr(scoring.Scoring, "_error", lambda self, query: -np.inf)
    assert truth.exact(base, asked, 10, "ip").ids.tolist() != expected, "then this would show nothing"


def test_a_shared_offset_costs_no_neighbour():
    """Without the shift, float32 would tell these distances apart by luck only."""
    rng = np.random.default_rng(2)
    base, asked = (rng.standard_normal((n, 16)).astype(np.float32) + 1000 for n in (3000, 30))
    assert truth.exact(base, asked, 10, "l2").ids.tolist() == exhaustive(base, asked, "l2")[:, :10].tolist()


def test_fewer_rows_than_neighbours_is_an_error_and_as_many_are_all():
    base = np.array([[3], [1], [2]], np.float32)
    with pytest.raises(NotMeasured, match="base of 3 rows has no 4"):
        truth.exact(base, base[:1], 4, "l2")
    assert truth.exact(base, np.zeros((1, 1), np.float32), 3, "l2").ids.tolist() == [[1, 2, 0]]


def clustered(rows, dim, seed=0):
    """Tight groups far apart, where a sum in float32 loses what tells neighbours apart."""
    rng = np.random.default_rng(seed)
    centres = 3 * rng.standard_normal((50, dim))
    return (centres[rng.integers(0, 50, rows)] + rng.standard_normal((rows, dim))).astype(np.float32)


@pytest.mark.parametrize("metric", METRICS)
@pytest.mark.parametrize(
    ("factor", "offset"), [(1, 0), (1e5, 0), (1e-15, 0), (1e16, 0), (1, 1e4), (1, -3e6), (1e-3, 1e2)]
)
@pytest.mark.parametrize("outliers", [0, 1e6])
def test_neither_scale_nor_offset_nor_outliers_cost_a_neighbour(metric, factor, offset, outliers):
    base, asked = clustered(900, 24), clustered(9, 24, seed=1)
    if outliers:
        asked[::4] = outliers
        base[::90] = -outliers
    base, asked = ((factor * array.astype(np.float64) + offset).astype(np.float32) for array in (base, asked))
    found, expected = truth.exact(base, asked, 20, metric).ids, exhaustive(base, asked, metric)
    for query, ids, order in zip(asked, found, expected, strict=True):
        farther, tie = behind(base[ids], base[order[19]], query, metric)
        assert (farther <= tie).all(), "each is as near as the true twentieth"
        assert len(set(ids.tolist())) == 20


def test_the_first_pass_proves_ordinary_data_and_says_when_it_cannot(caplog):
    caplog.set_level(logging.INFO)
    base, asked = clustered(3000, 32), clustered(10, 32, seed=1)
    truth.exact(base, asked, 20, "l2")
    assert not caplog.records
    base[0] = 1e7  # one row so long that the error of its score could be larger than the gaps between the others
    truth.exact(base, asked, 20, "l2")
    assert [record.getMessage() for record in caplog.records] == ["exact neighbours: 10 of 10 queries need float64"]


@pytest.mark.parametrize("metric", METRICS)
def test_the_original_decides_where_the_copy_was_rounded(metric):
    """The copy cannot tell the rows apart, the file of the user can."""
    rng = np.random.default_rng(5)
    base, asked = 1 + 1e-9 * rng.standard_normal((500, 8)), rng.standard_normal((6, 8))
    ready = (lambda array: unit(array)) if metric == "cosine" else (lambda array: array)
    rounded, rounded_asked = ready(base).astype(np.float32), ready(asked).astype(np.float32)
    expected = exhaustive(base, asked, metric)[:, :10].tolist()
    found = truth.exact(rounded, rounded_asked, 10, metric, original=base, original_queries=asked)
    assert found.ids.tolist() == expected
    assert truth.exact(rounded, rounded_asked, 10, metric).ids.tolist() != expected, "then this would show nothing"


def far_apart(rng):
    """Two groups so far apart that a score in float64 is all distance between them."""
    there = np.where(np.arange(1000) % 3 == 0, 1e9, 0.0)[:, None]
    return there + 1e-3 * rng.standard_normal((1000, 8)), 1e9 + 1e-3 * rng.standard_normal((6, 8))


def narrow(rng):
    """Directions whose cosines are all 1 in float64."""
    return 1e6 + 1e-3 * rng.standard_normal((1000, 8)), 1e6 + 1e-3 * rng.standard_normal((6, 8))


@pytest.mark.parametrize(("metric", "made"), [("l2", far_apart), ("cosine", narrow)])
@pytest.mark.parametrize("rows", [64, 8192])
def test_what_no_score_in_float64_proves_differences_decide(monkeypatch, metric, made, rows):
    base, asked = made(np.random.default_rng(6))
    monkeypatch.setattr(scoring, "_ROWS", rows)
    long, long_asked = base.astype(np.longdouble), asked.astype(np.longdouble)
    if metric == "cosine":
        long, long_asked = (each / np.sqrt((each**2).sum(axis=1, keepdims=True)) for each in (long, long_asked))
    expected = np.argsort(((long_asked[:, None] - long) ** 2).sum(axis=-1), axis=1, kind="stable")[:, :10]
    rounded, rounded_asked = base.astype(np.float32), asked.astype(np.float32)
    found = truth.exact(rounded, rounded_asked, 10, metric, original=base, original_queries=asked).ids
    for query, ids, order in zip(asked, found, expected, strict=True):
        farther, tie = behind(base[ids], base[order[9]], query, metric)
        assert len(set(ids.tolist()) & set(order.tolist())) >= 9, "one may stand last in another's place"
        assert (farther <= tie).all()


def test_more_equal_rows_than_there_are_candidates_are_found():
    base = np.concatenate([np.full((300, 4), 2.0), np.full((300, 4), 1.0), np.full((5, 4), 0.5)]).astype(np.float32)
    found = truth.exact(base, np.zeros((1, 4), np.float32), 10, "l2").ids[0]
    assert found.tolist() == [600, 601, 602, 603, 604, 300, 301, 302, 303, 304], "and of equal ones the first by id"


def test_the_error_bound_holds_for_every_score():
    base, asked = clustered(2000, 48, seed=3), clustered(7, 48, seed=4)
    for metric in METRICS:
        rows = unit(base.astype(np.float64)).astype(np.float32) if metric == "cosine" else base
        made = scoring.Scoring(scoring.Rows(rows, metric, np.float32, Arrays()), asked)
        ids, worst = made.candidates(30)
        exact = asked.astype(np.float64) @ rows.T.astype(np.float64)
        if metric == "l2":
            exact = -((asked[:, None].astype(np.float64) - rows) ** 2).sum(axis=-1)
        for query in range(7):
            outside = np.setdiff1d(np.arange(2000), ids[query])
            best_outside = outside[np.argmax(exact[query, outside])]
            # a row that is left out is never surely nearer than the worst that was kept
            assert made.surely(int(best_outside), query) < worst[query]
            assert (
                0
                < made._error(query)
                < 1e-4 * made._lengths[query] * np.linalg.norm(rows, axis=1).max() * (1 + 9 * (metric == "l2"))
            ), "and it is no idle bound"


def test_both_query_sets_are_searched_and_kept(tmp_path):
    base = clustered(400, 8)
    data = Dataset(base, base[:5] + np.float32(0.1), base[5:8] - np.float32(0.1), base[:0], "l2")
    found = truth.write(tmp_path, data, 7)
    for name, count in (("queries", 5), ("tuning", 3)):
        expected = exhaustive(base, getattr(data, name), "l2")[:, :7].tolist()
        assert found[name].ids.tolist() == truth.open_truth(tmp_path, name).ids.tolist() == expected
        assert len(expected) == count
