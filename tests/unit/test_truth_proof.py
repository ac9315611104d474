"""What proves the exact neighbours, part by part: scores, their error bound, blocks, candidates, and the second pass."""

from __future__ import annotations

import logging
from types import SimpleNamespace

import numpy as np
import pytest

from nightgate.errors import NotMeasured
from nightgate.vectors import exact, scoring, truth
from nightgate.vectors.arrays import Arrays
from nightgate.vectors.dataset import Dataset
from nightgate.vectors.exact import decide, nearest
from nightgate.vectors.scoring import Rows, Scoring

ROUNDOFF = {np.float32: 2.0**-24, np.float64: 2.0**-53}


def floats(*rows):
    return np.array(rows, np.float32)


def of(base, queries, metric, dtype=np.float32):
    return Scoring(Rows(base, metric, dtype, Arrays()), queries)


def seen(base, queries, metric, dtype=np.float32):
    """With every row seen."""
    made = of(base, queries, metric, dtype)
    made.candidates(1)
    return made


# --- scores ---------------------------------------------------------------------------------------------------------


def test_the_centre_is_the_median_in_each_dimension_of_rows_from_all_over_the_base(monkeypatch):
    base = floats([1, 90], [2, 50], [60, 40], [4, 30], [5, 20], [6, 10], [1000, 0])
    made = of(base, base[:1], "l2", np.float32)
    assert (made.rows._centre.dtype, made.rows._centre.tolist()) == (np.float32, [5, 30])
    monkeypatch.setattr(scoring, "_SAMPLE", 2)  # rows 0, 3 and 6
    assert of(base, base[:1], "l2", np.float64).rows._centre.tolist() == [4, 30]
    assert of(base[:3], base[:1], "l2", np.float64).rows._centre.tolist() == [2, 50], "each of three"
    assert of(base, base[:1], "l2", np.float64).rows._centre.dtype == np.float64


def test_the_centre_is_found_though_a_sum_of_two_rows_leaves_float32():
    base = floats([3e38], [2e38])
    assert of(base, base[:1], "l2", np.float32).rows._centre.tolist() == floats(2.5e38).tolist()


@pytest.mark.parametrize("metric", ["ip", "cosine"])
def test_without_distances_nothing_is_shifted(metric):
    base = floats([1, 2], [3, 5])
    assert of(base, base, metric, np.float32).rows.ready(base).tolist() == base.tolist()


def test_only_float64_brings_vectors_to_unit_length_once_more():
    base = floats([3, 4], [0, 2])
    assert of(base, base, "cosine", np.float32).rows.ready(base).tolist() == base.tolist()
    assert of(base, base, "ip", np.float64).rows.ready(base).tolist() == base.tolist()
    ready = of(base, base, "cosine", np.float64).rows.ready(base)
    assert ready.dtype == np.float64 and ready == pytest.approx(np.array([[0.6, 0.8], [0, 1]]))


@pytest.mark.parametrize(
    ("metric", "expected"),
    [
        ("l2", [[1, 0, -52, -9, 0], [-1, 0, -32, -9, -6]]),  # 2 q·b - |b|², both seen from the medians (2, 3)
        ("ip", [[10, 11, 11, 16, 13], [5, 7, 17, 12, 6]]),
    ],
)
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_each_pair_is_scored_block_by_block(monkeypatch, metric, expected, dtype):
    monkeypatch.setattr(scoring, "_FIRST", 1)
    monkeypatch.setattr(scoring, "_ROWS", 2)
    base, asked = floats([1, 3], [2, 3], [8, 1], [4, 4], [1, 4]), floats([1, 3], [2, 1])
    blocks = [(start, each.dtype, each.copy()) for start, each in of(base, asked, metric, dtype).blocks()]
    assert [start for start, _, _ in blocks] == [0, 1, 2, 4]
    assert {kind for _, kind, _ in blocks} == {np.dtype(dtype)}
    assert np.concatenate([product for _, _, product in blocks], axis=1).tolist() == expected


def test_a_block_is_as_long_as_all_before_it_up_to_the_longest(monkeypatch):
    monkeypatch.setattr(scoring, "_FIRST", 2)
    monkeypatch.setattr(scoring, "_ROWS", 8)
    base = np.arange(31, dtype=np.float32)[:, None]
    blocks = [(start, product.shape) for start, product in of(base, base[:3], "ip", np.float32).blocks()]
    assert blocks == [(0, (3, 2)), (2, (3, 2)), (4, (3, 4)), (8, (3, 8)), (16, (3, 8)), (24, (3, 7))]


# --- the error bound ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_the_bound_follows_from_the_lengths_and_the_roundings(monkeypatch, dtype):
    monkeypatch.setattr(scoring, "_FIRST", 1)
    base = floats([0, 0], [5, 12], [0, 0], [-3, 4], [0, 0])  # the longest is 13, and the median 0
    asked = floats([3, 4], [0, 2])
    gamma = 10 * ROUNDOFF[dtype] / (1 - 10 * ROUNDOFF[dtype])  # two dimensions and eight more roundings
    ip, l2 = seen(base, asked, "ip", dtype), seen(base, asked, "l2", dtype)
    assert [ip._error(0), ip._error(1)] == pytest.approx([2 * gamma * 5 * 13, 2 * gamma * 2 * 13], rel=1e-12)
    assert [l2._error(0), l2._error(1)] == pytest.approx(
        [2 * gamma * (2 * 5 * 13 + 169), 2 * gamma * (2 * 2 * 13 + 169)], rel=1e-12
    )


def test_what_a_product_loses_below_the_range_of_float32_is_never_nought():
    base, asked = floats([0, 0, 0], [0, 0, 0]), floats([0, 0, 0])
    for metric in ("l2", "ip"):
        assert seen(base, asked, metric)._error(0) == 2 * 3 * 2.0**-120


@pytest.mark.parametrize("order", [1, -1])
def test_rows_that_are_not_quite_of_unit_length_may_be_nearer_by_as_much(monkeypatch, order):
    monkeypatch.setattr(scoring, "_FIRST", 1)
    gamma = 10 * 2.0**-24 / (1 - 10 * 2.0**-24)
    for last, longest, off in (
        ([1 - 2.0**-9, 0], 1 + 2.0**-10, 2 * 2.0**-9 - 2.0**-18),
        ([1 - 2.0**-12, 0], 1 + 2.0**-10, 2 * 2.0**-10 + 2.0**-20),
    ):
        made = seen(floats([1, 0], [1 + 2.0**-10, 0], last)[::order], floats([0, 2]), "cosine")
        assert made._error(0) == pytest.approx(2 * (gamma * 2 * longest + off * 2), rel=1e-9)


def test_only_lengths_under_cosine_are_expected_to_be_one():
    made = seen(floats([3, 4]), floats([1, 0]), "ip")
    assert made.rows.off_unit == 0


@pytest.mark.parametrize("metric", ["l2", "ip"])
@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_what_a_row_needs_is_its_score_less_the_bound(metric, dtype):
    base, asked = floats([1, 2], [7, -1], [-4, 3]), floats([2, 2], [5, -3])  # the median is (1, 2)
    made = seen(base, asked, metric, dtype)
    expected = {"l2": [-45 + 2 * 6, -45 + 2 * (24 + 15)], "ip": [12, 38]}[metric]
    for query in (0, 1):
        assert made.surely(1, query) == expected[query] - made._error(query)
        assert made.surely(1, query) < expected[query]


def test_where_a_sum_may_leave_the_range_nothing_is_proven():
    assert seen(floats([2.0**63, 0]), floats([2.0**63, 0]), "ip")._error(0) < np.inf
    assert seen(floats([2.0**63, 0]), floats([2.0**64, 0]), "ip")._error(0) == np.inf
    assert seen(floats([2.0**64, 0]), floats([2.0**63, 0]), "ip", np.float64)._error(0) < np.inf
    half = float(np.finfo(np.float32).max) / 2
    assert seen(floats([1, 0]), floats([half, 0]), "ip")._error(0) == np.inf
    assert seen(floats([1, 0]), floats([0.9 * half, 0]), "ip")._error(0) < np.inf
    assert seen(floats([0, 0], [2.0**63, 0], [0, 0]), floats([0, 0]), "l2")._error(0) < np.inf
    assert seen(floats([0, 0], [2.0**63, 0], [0, 0]), floats([2.0**62, 0]), "l2")._error(0) == np.inf


@pytest.mark.parametrize("metric", ["l2", "ip"])
@pytest.mark.parametrize("sign", [1, -1])
def test_numbers_whose_products_leave_float32_are_ranked_by_float64(metric, sign):
    """Every score is infinite, or no number, in float32; that takes no warning either."""
    base = (1e20 * np.arange(1, 41)[:, None] * [1, -0.5]).astype(np.float32)[np.random.default_rng(0).permutation(40)]
    asked = floats([sign * 3e20, 1e20])
    score = asked.astype(float) @ base.astype(float).T
    if metric == "l2":
        score = -((base.astype(float) - asked) ** 2).sum(axis=1)[None]
    with np.errstate(over="raise", invalid="raise"):
        found = truth.exact(base, asked, 3, metric)
    assert found.ids.tolist() == np.argsort(-score, kind="stable")[:, :3].tolist()


# --- candidates -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("first", [1, 2, 100])
def test_the_best_are_kept_and_the_score_that_no_other_exceeds(monkeypatch, first):
    monkeypatch.setattr(scoring, "_FIRST", first)
    monkeypatch.setattr(scoring, "_ROWS", 4 if first < 100 else 100)
    base, asked = floats([4], [-7], [9], [1], [8], [-2], [3]), floats([1], [-2])
    ids, worst = of(base, asked, "ip", np.float32).candidates(3)
    assert [sorted(row) for row in ids.tolist()] == [[0, 2, 4], [1, 3, 5]]
    assert (worst.dtype, worst.tolist()) == (np.float64, [4, -2])
    ids, worst = of(base, asked, "ip", np.float32).candidates(6)
    assert [sorted(row) for row in ids.tolist()] == [[0, 2, 3, 4, 5, 6], [0, 1, 3, 4, 5, 6]]
    assert worst.tolist() == [-2, -16]


def test_beside_all_rows_there_is_no_other():
    ids, worst = of(floats([4], [-7], [9]), floats([1], [2]), "ip", np.float32).candidates(3)
    assert [sorted(row) for row in ids.tolist()] == [[0, 1, 2]] * 2
    assert worst.tolist() == [-np.inf] * 2


# --- the decision ---------------------------------------------------------------------------------------------------


def test_the_nearest_are_told_apart_as_seen_from_the_best():
    """As seen from the first, 1e9 away, the other two are equally far."""
    rows = np.array([[1e9], [1 + 2.0**-40], [1.0], [5.0]])
    found = nearest(rows, np.array([3, 1, 0, 2]), np.zeros(1), 3, "l2")
    assert (found.dtype, found.tolist()) == (np.int64, [2, 1, 3])
    assert nearest(rows, np.array([3, 1]), np.zeros(1), 1, "l2").tolist() == [1], "of the candidates alone"
    assert nearest(rows, np.array([3, 1, 2]), np.ones(1), 1, "ip").tolist() == [3]
    assert nearest(rows[[1, 0, 1, 1]], np.array([3, 2, 0]), np.ones(1), 3, "l2").tolist() == [0, 2, 3]


def test_proven_is_what_no_row_outside_can_reach():
    rows = floats([0], [1], [2], [3], [4])
    asked = floats([0], [4], [1.75], [3.25])
    candidates = np.array([[2, 0, 1], [2, 4, 3], [2, 3, 1], [4, 2, 3]])
    seen = []

    def surely(row, query):
        seen.extend(zip(row.tolist(), query.tolist(), strict=True))
        return query.astype(float)

    one = SimpleNamespace(metric="l2", surely=surely, rows=SimpleNamespace(raw=None, base=rows, arrays=Arrays()))
    ids, proven = decide(rows, asked, candidates, np.array([-0.5, 1.0, 2.5, -np.inf]), one, 2)
    assert (ids.dtype, ids.tolist()) == (np.int64, [[0, 1], [4, 3], [2, 1], [3, 4]])
    assert seen == [(1, 0), (3, 1), (1, 2), (4, 3)], "the last of the k, not the best"
    assert (proven.dtype, proven.tolist()) == (bool, [True, False, False, True])


class Spied(Scoring):
    """Says what it was made of; float32 proves nothing of the queries that begin with a number below 0."""

    made: list

    def __init__(self, rows, queries):
        super().__init__(rows, queries)
        self.made.append([rows.base, queries, rows.metric, rows.dtype])

    def candidates(self, width):
        self.made[-1].append(width)
        return super().candidates(width)

    def _error(self, query):
        return np.where((self.rows.dtype == np.float32) & (self._asked[query, 0] < 0), np.inf, 0.0)


@pytest.fixture
def spied(monkeypatch):
    monkeypatch.setattr(Spied, "made", [], raising=False)
    monkeypatch.setattr(exact, "Scoring", Spied)
    monkeypatch.setattr(exact, "_QUERIES", 2)
    return Spied.made


def test_what_is_not_proven_is_searched_again_in_float64_by_the_original(spied, caplog):
    caplog.set_level(logging.INFO)
    base = np.r_[np.arange(100.0), 200].astype(np.float32)[:, None]
    original = base.astype(np.float64) + 0.25
    asked = floats([5], [-6], [-7], [8], [-9])
    original_asked = np.array([[5], [6], [7], [8], [9.0]])
    found = truth.exact(base, asked, 2, "ip", original=original, original_queries=original_asked)
    assert [(len(queries), metric, dtype, width) for _, queries, metric, dtype, width in spied] == [
        (2, "ip", np.float32, 30), (1, "ip", np.float64, 30), (2, "ip", np.float32, 30), (1, "ip", np.float64, 30),
        (1, "ip", np.float32, 30), (1, "ip", np.float64, 30),
    ]  # fmt: skip
    assert [made[0] is (original if made[3] == np.float64 else base) for made in spied] == [True] * 6
    assert [made[1].tolist() for made in spied] == [[[5], [-6]], [[6]], [[-7], [8]], [[7]], [[-9]], [[9]]]
    assert found.ids.tolist() == [[100, 99]] * 5
    assert caplog.messages == [
        f"exact neighbours: 1 of {of} queries need float64" for of in (2, 2, 1)
    ]  # fmt: skip


def test_without_an_original_the_vectors_themselves_decide(spied):
    base, asked = floats([1], [3], [2]), floats([1], [-1])
    assert truth.exact(base, asked, 2, "ip").ids.tolist() == [[1, 2], [0, 2]]
    assert [(made[0] is base, made[1].tolist(), made[4]) for made in spied] == [
        (True, [[1], [-1]], 3), (True, [[-1]], 3),
    ]  # fmt: skip


def test_a_base_without_so_many_rows_is_refused_with_the_next_step():
    with pytest.raises(NotMeasured) as caught:
        truth.exact(floats([1], [2]), floats([1]), 3, "l2")
    assert str(caught.value) == "the base of 2 rows has no 3 nearest neighbours. Next step: use more vectors"


# --- what is kept ---------------------------------------------------------------------------------------------------


def test_each_query_set_is_searched_by_what_it_was(tmp_path):
    """All copies are alike: only the originals tell the rows apart, and either query set has its own."""
    same = np.ones((6, 1), np.float32)
    original = {
        "base": np.array([[1.3], [1.1], [1.6], [1.2], [1.5], [1.4]]), "queries": np.array([[1.0]]),
        "tuning": np.array([[2.0], [1.34]]),
    }  # fmt: skip
    data = Dataset(same, same[:1], same[:2], same[:0], "l2", original)
    found = truth.write(tmp_path, data, 3)
    expected = {"queries": [[1, 3, 0]], "tuning": [[2, 4, 5], [0, 5, 3]]}
    assert {name: of.ids.tolist() for name, of in found.items()} == expected
    assert {name: truth.open_truth(tmp_path, name).ids.tolist() for name in found} == expected
    assert sorted(path.name for path in tmp_path.iterdir()) == ["queries-ids.npy", "tuning-ids.npy"]


def test_a_missing_truth_is_named(tmp_path):
    with pytest.raises(NotMeasured, match=rf"no ground truth for the tuning queries in {tmp_path} \(.*No such file"):
        truth.open_truth(tmp_path, "tuning")


def test_the_format_of_a_kept_truth():
    assert truth.FORMAT == 5
