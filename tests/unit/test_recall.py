"""Recall: ties count, duplicates are an error, misses are misses."""

from __future__ import annotations

import numpy as np
import pytest

from nightgate.errors import NotMeasured
from nightgate.vectors import recall, synthetic, truth, tuning

BASE = np.eye(4, dtype=np.float32)[[0, 1, 1, 2, 3]]  # rows 1 and 2 are the same vector
QUERY = np.array([[0.9, 0.4, 0.1, 0.0]], dtype=np.float32)
TRUTH = truth.exact(BASE, QUERY, 3)


def one(answer, k=2):
    return recall.per_query([np.array(answer)], TRUTH, BASE, QUERY, k)[0]


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
        recall.per_query([np.array([0])], TRUTH, BASE, QUERY, 4)


def test_exact_search_in_blocks_equals_one_product(monkeypatch):
    rng = np.random.default_rng(0)
    base, queries = (rng.standard_normal((n, 8)).astype(np.float32) for n in (500, 20))
    monkeypatch.setattr(truth, "_BLOCK", 64)
    found = truth.exact(base, queries, 10)
    assert found.ids.tolist() == np.argsort(-(queries @ base.T), axis=1)[:, :10].tolist()


@pytest.mark.parametrize("dimension", [2, 6])
def test_the_local_dimension_of_a_flat_patch_is_known(dimension):
    rng = np.random.default_rng(0)
    patch = np.zeros((20_000, 16), np.float32)
    patch[:, :dimension] = 0.2 * rng.uniform(-1, 1, (20_000, dimension))
    patch[:, -1] = 1
    patch /= np.linalg.norm(patch, axis=1, keepdims=True)
    # the nearest of a row is the row itself: only the others count
    found = truth.exact(patch, patch[:200], 51)
    others = truth.Truth(found.ids[:, 1:], found.similarity[:, 1:])
    assert truth.local_dimension(others) == pytest.approx(dimension, rel=0.15)


def test_the_same_seed_gives_the_same_vectors_and_queries_are_not_in_the_base(tmp_path):
    folders = [tmp_path / name for name in "ab"]
    for folder in folders:
        folder.mkdir()
        synthetic.write(folder, rows=3000, dim=16, queries=100, seed=3)
    first, second = map(synthetic.open_dataset, folders)
    assert np.array_equal(first.base, second.base)
    assert np.allclose(np.linalg.norm(first.base, axis=1), 1, atol=1e-5)
    nearest = (first.queries @ first.base.T).max()
    assert nearest < 0.99999
    assert not np.intersect1d(first.queries[:, 0], first.tuning[:, 0]).size


def test_tuning_takes_the_cheapest_that_reaches_the_target_with_a_margin():
    known = {1: 0.5, 2: 0.915, 4: 0.93, 8: 0.99}
    tuned = tuning.cheapest(list(known), known.__getitem__, 0.90)
    assert (tuned.setting, tuned.reached) == (4, True)
    assert [point["setting"] for point in tuned.curve] == [1, 2, 4], "it stops there"
    missed = tuning.cheapest(list(known), known.__getitem__, 0.995)
    assert (missed.setting, missed.reached) == (8, False)
