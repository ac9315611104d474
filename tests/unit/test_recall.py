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
    with pytest.raises(NotMeasured, match="query 0 was answered with id 5, outside the base of 5 rows"):
        one([0, 5])
    assert one([0, 4]) == 0.5


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


def test_what_float32_hardly_tells_apart_is_told_apart():
    base, query = np.array([[1, 0], [1 + 3e-7, 0], [1 + 3e-6, 0]], np.float32), np.zeros((1, 2), np.float32)
    found = truth.exact(base, query, 1, "l2")
    assert [recall.per_query([[row]], found, base, query, 1, "l2")[0] for row in range(3)] == [1, 0, 0]


def test_an_offset_that_is_all_of_a_distance_makes_no_tie():
    """As seen from far away the rows differ in the ninth digit of the distance, and in the first of the difference."""
    base = np.array([[0, 0], [1, 0], [0, 2], [5, 5]], np.float32)
    query = np.full((1, 2), 1e6, np.float32)
    found = truth.exact(base, query, 1, "l2")
    assert found.ids.tolist() == [[3]]
    assert [recall.per_query([[row]], found, base, query, 1, "l2")[0] for row in range(4)] == [0, 0, 0, 1]


def test_an_inner_product_of_cancelling_terms_is_told_apart():
    base = np.array([[1e4, -1e4], [1e4, -1e4 + 0.002], [-1e4, 0]], np.float32)
    query = np.array([[1e4, 1e4]], np.float32)
    found = truth.exact(base, query, 1, "ip")
    assert [recall.per_query([[row]], found, base, query, 1, "ip")[0] for row in range(3)] == [0, 1, 0]


@pytest.mark.parametrize("metric", METRICS)
def test_the_same_numbers_in_another_order_are_a_tie(metric):
    """Equally far by arithmetic, and not by float64, whose sums depend on the order."""
    rng = np.random.default_rng(4)
    row, query = rng.standard_normal(64).astype(np.float32), rng.standard_normal(64).astype(np.float32)
    order = rng.permutation(64)
    base = np.concatenate([[row], rng.standard_normal((3, 64)).astype(np.float32) * 9]).astype(np.float32)
    shuffled = np.concatenate([base[:, order], base])
    symmetric = np.concatenate([query, query])
    doubled = np.concatenate(
        [np.concatenate([base, base[:, order]], axis=1), np.concatenate([base[:, order], base], axis=1)]
    )
    del shuffled
    found = truth.exact(doubled, symmetric[None], 1, metric)
    twin = (found.ids[0, 0] + 4) % 8
    mirrored = np.concatenate([query, query])[None]
    assert recall.per_query([[twin]], found, doubled, mirrored, 1, metric) == [1]


def test_cosine_looks_at_no_length():
    base = np.array([[3, 4], [30, 40], [4, 3], [0.3, 0.41]], np.float32)
    query = np.array([[6, 8]], np.float32)
    found = truth.exact(base, query, 1, "cosine")
    assert found.ids[0, 0] in (0, 1)
    assert [recall.per_query([[row]], found, base, query, 1, "cosine")[0] for row in range(4)] == [1, 1, 0, 0]


def test_as_many_answers_as_queries():
    with pytest.raises(NotMeasured, match="1 answers for 2 queries"):
        recall.per_query([[0]], truth.exact(BASE, BASE[:2], 1, "l2"), BASE, BASE[:2], 1, "l2")


def test_only_the_first_k_answers_count_and_reaching_counts_all():
    base = np.array([[0], [1], [2], [3]], np.float32)
    found = truth.exact(base, base[:1], 3, "l2")
    assert recall.per_query([[3, 2, 0, 1]], found, base, base[:1], 3, "l2") == pytest.approx([2 / 3])
    assert recall.per_query([[3, 2, 0, 1]], found, base, base[:1], 2, "l2") == [0]
    assert recall.reaching(np.array([3, 2, 0, 1]), 1, base, base[0], "l2") == 2
