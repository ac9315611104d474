"""Properties of `rerank_pq`, over many random cases."""

from __future__ import annotations

import sys
from types import ModuleType

import numpy as np
import pytest

from nightgate.errors import InputError
from nightgate.hybrid_ann.rerank import rerank_pq


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


class OnDevice:
    """Stands in for a cupy array: it can be indexed and multiplied, and is not a numpy array."""

    def __init__(self, array):
        self.array, self.shape = array, array.shape

    def __len__(self):
        return len(self.array)

    def __getitem__(self, ids):
        return self.array[ids]


@pytest.mark.parametrize("metric", ["cosine", "l2"])
def test_the_same_ids_come_from_the_path_of_the_gpu(monkeypatch, metric):
    cupy = ModuleType("cupy")
    cupy.asarray = cupy.asnumpy = np.asarray
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    rng = np.random.default_rng(2)
    vectors = rng.standard_normal((400, 16)).astype(np.float32)
    for query in rng.standard_normal((20, 16)).astype(np.float32):
        candidates = rng.integers(-1, 400, 150)
        there = rerank_pq(query, candidates, OnDevice(vectors), 10, metric)
        assert there.tolist() == rerank_pq(query, candidates, vectors, 10, metric).tolist()


def test_bad_arguments_are_refused():
    vectors = np.zeros((3, 4), np.float32)
    with pytest.raises(InputError, match="k must be at least 1"):
        rerank_pq(np.zeros(4, np.float32), np.array([0]), vectors, 0)
    with pytest.raises(InputError, match="candidate 3 is not among the 3 vectors"):
        rerank_pq(np.zeros(4, np.float32), np.array([0, 3]), vectors, 1)
    with pytest.raises(InputError, match="dimension 4"):
        rerank_pq(np.zeros(5, np.float32), np.array([0]), vectors, 1)
