"""Properties of `rerank_pq`, over many random cases."""

from __future__ import annotations

import numpy as np
import pytest
from support.extras import needs_torch

from nightgate.errors import InputError
from nightgate.hybrid_ann import rerank
from nightgate.hybrid_ann.rerank import rerank_many, rerank_pq
from nightgate.vectors.arrays import Arrays, Torch


@pytest.fixture(params=range(20))
def case(request):
    rng = np.random.default_rng(request.param)
    rows, dim = int(rng.integers(1, 300)), int(rng.integers(1, 32))
    # few distinct values, so that ties are common
    vectors = rng.integers(-2, 3, (rows, dim)).astype(np.float32)
    candidates = rng.integers(-1, rows, int(rng.integers(1, 400)))
    return rng.standard_normal(dim).astype(np.float32), candidates, vectors, int(rng.integers(1, 50))


def test_no_id_twice_none_empty_and_as_many_as_asked(case):
    query, candidates, vectors, k = case
    found = rerank_pq(query, candidates, vectors, k)
    distinct = set(candidates[candidates >= 0].tolist())
    assert found.dtype == np.int64
    assert len(found) == len(set(found.tolist())) == min(k, len(distinct))
    assert set(found.tolist()) <= distinct


@pytest.mark.parametrize("metric", ["cosine", "ip", "l2"])
def test_it_is_exact_when_given_all_candidates(case, metric):
    query, _, vectors, k = case
    query = np.round(query * 4) / 4  # so that float32 sums are exact and ties are ties
    scores = -((vectors - query) ** 2).sum(axis=1) if metric == "l2" else vectors @ query
    expected = np.lexsort((np.arange(len(vectors)), -scores))[:k]
    found = rerank_pq(query, np.random.default_rng(0).permutation(len(vectors)), vectors, k, metric)
    assert found.tolist() == expected.tolist()


def test_the_vectors_may_lie_in_a_file_that_is_mapped(tmp_path):
    vectors = np.random.default_rng(1).standard_normal((200, 8)).astype(np.float32)
    np.save(tmp_path / "base.npy", vectors)
    mapped = np.load(tmp_path / "base.npy", mmap_mode="r")
    assert rerank_pq(vectors[7], np.arange(200), mapped, 1).tolist() == [int(np.argmax(vectors @ vectors[7]))]


def test_recall_never_falls_when_more_candidates_are_given():
    rng = np.random.default_rng(5)
    vectors, query = rng.standard_normal((500, 16)).astype(np.float32), rng.standard_normal(16).astype(np.float32)
    best = set(np.argsort(-(vectors @ query))[:10].tolist())
    rough = np.argsort(-(vectors @ query) + rng.normal(0, 2, 500))  # what a coarse code would propose
    hits = [len(best & set(rerank_pq(query, rough[:n], vectors, 10).tolist())) for n in range(10, 501, 10)]
    assert hits == sorted(hits)
    assert hits[-1] == 10


def torch_arrays():
    needs_torch()
    return Torch("cpu")


@pytest.fixture(params=[Arrays, torch_arrays], ids=["numpy", "torch"])
def device(request):
    return request.param()


@pytest.mark.parametrize("metric", ["cosine", "ip", "l2"])
def test_the_same_ids_come_from_the_device_of_one_query_and_of_many(case, device, metric):
    query, candidates, vectors, k = case
    query = np.round(query * 4) / 4  # so that float32 sums are exact and ties are ties
    there = device.put(vectors)
    expected = rerank_pq(query, candidates, vectors, k, metric).tolist()
    found = rerank_pq(query, candidates, there, k, metric, arrays=device)
    assert (found.dtype, found.tolist()) == (np.int64, expected)
    queries, several = (
        np.stack([query, -query, query]),
        np.stack([candidates, candidates[::-1], np.full_like(candidates, -1)]),
    )
    for given in (several, device.put(several)):
        many = rerank_many(queries, given, there, k, metric, arrays=device)
        assert (many.dtype, many.shape) == (np.int64, (3, min(k, len(candidates))))
        assert [row[row >= 0].tolist() for row in many] == [
            expected, rerank_pq(-query, candidates, vectors, k, metric).tolist(), [],
        ]  # fmt: skip
        assert (many[0, len(expected) :] == -1).all()


@pytest.mark.parametrize("metric", ["cosine", "ip", "l2"])
def test_ordinary_vectors_change_places_only_where_float32_cannot_tell_them_apart(device, metric):
    rng = np.random.default_rng(2)
    vectors, queries = (rng.standard_normal((n, 256)).astype(np.float32) for n in (3000, 30))
    candidates = rng.integers(-1, 3000, (30, 600))
    found = rerank_many(queries, candidates, device.put(vectors), 100, metric, arrays=device)
    for query, ids, given in zip(queries, found, candidates, strict=True):
        expected = rerank_pq(query, given, vectors, 100, metric)
        scores = -((vectors - query) ** 2).sum(axis=1) if metric == "l2" else vectors @ query
        assert scores[ids] == pytest.approx(scores[expected], rel=1e-5)
        assert (ids == expected).mean() > 0.9


def test_many_queries_are_taken_in_parts_that_fit(device, monkeypatch):
    rng = np.random.default_rng(3)
    vectors, queries = (rng.standard_normal((n, 8)).astype(np.float32) for n in (90, 7))
    candidates, there = rng.integers(-1, 90, (7, 20)), device.put(vectors)
    expected = rerank_many(queries, candidates, there, 5, arrays=device)
    monkeypatch.setattr(rerank, "_AT_ONCE", 3 * 20 * 8)
    assert rerank_many(queries, candidates, there, 5, arrays=device).tolist() == expected.tolist()
    candidates[1, 3] = 90
    with pytest.raises(InputError, match="candidate 90 is not among the 90 vectors"):
        rerank_many(queries, candidates, there, 5, arrays=device)


def test_without_candidates_nothing_is_found(device):
    vectors, none = device.put(np.ones((3, 4), np.float32)), np.empty((2, 0), np.int64)
    assert rerank_many(np.ones((2, 4), np.float32), none, vectors, 5, arrays=device).shape == (2, 0)


def test_bad_arguments_are_refused():
    vectors = np.zeros((3, 4), np.float32)
    with pytest.raises(InputError, match="k must be at least 1"):
        rerank_pq(np.zeros(4, np.float32), np.array([0]), vectors, 0)
    with pytest.raises(InputError, match="candidate 3 is not among the 3 vectors"):
        rerank_pq(np.zeros(4, np.float32), np.array([0, 3]), vectors, 1)
    with pytest.raises(InputError, match="dimension 4"):
        rerank_pq(np.zeros(5, np.float32), np.array([0]), vectors, 1)
    with pytest.raises(InputError, match="k must be at least 1"):
        rerank_many(np.zeros((1, 4), np.float32), np.array([[0]]), vectors, 0, arrays=Arrays())
    with pytest.raises(InputError, match="dimension 4"):
        rerank_many(np.zeros((1, 5), np.float32), np.array([[0]]), vectors, 1, arrays=Arrays())
