"""The peers of the hybrid, each with its real library, on a few thousand vectors."""

from __future__ import annotations

import shutil
import subprocess
import sys

import numpy as np
import pytest
from support.extras import needs_torch

from nightgate.hybrid_ann.strategies.faiss_hnsw import FaissHnsw
from nightgate.hybrid_ann.strategies.hnswlib_hnsw import Hnswlib
from nightgate.hybrid_ann.strategies.usearch_hnsw import Usearch

METRICS = ("cosine", "l2", "ip")
K = 10


@pytest.fixture(scope="module", params=[Hnswlib, Usearch, FaissHnsw], ids=lambda kind: kind.name)
def peer(request):
    pytest.importorskip(request.param.requires[0])
    return request.param


@pytest.fixture(scope="module", params=METRICS)
def metric(request):
    return request.param


def vectors(metric: str, rows: int = 5000, dim: int = 32) -> tuple[np.ndarray, np.ndarray]:
    """Base and queries, float32; their lengths differ, but for cosine."""
    rng = np.random.default_rng(11)
    found = rng.standard_normal((rows + 100, dim)) * rng.uniform(0.8, 1.2, (rows + 100, 1))
    if metric == "cosine":
        found /= np.linalg.norm(found, axis=1, keepdims=True)
    return found[:rows].astype(np.float32), found[rows:].astype(np.float32)


def scores(base: np.ndarray, queries: np.ndarray, metric: str) -> np.ndarray:
    """Higher is nearer; (queries, rows)."""
    products = queries @ base.T
    return 2 * products - (base**2).sum(axis=1) if metric == "l2" else products


def exact(base: np.ndarray, queries: np.ndarray, metric: str, k: int) -> np.ndarray:
    return np.argsort(-scores(base, queries, metric), axis=1)[:, :k]


def recall(found: list[np.ndarray], truth: np.ndarray) -> float:
    return float(np.mean([len(np.intersect1d(f, t)) / len(t) for f, t in zip(found, truth, strict=True)]))


@pytest.fixture(scope="module")
def built(peer, metric, tmp_path_factory):
    """An index over a memory-mapped base, as the benchmark has it."""
    folder = tmp_path_factory.mktemp(f"{peer.name}-{metric}")
    base, queries = vectors(metric)
    np.save(folder / "base.npy", base)
    base = np.load(folder / "base.npy", mmap_mode="r")
    (folder / "index").mkdir()
    facts = peer.build(folder / "index", base, metric, m=16, ef_construction=100, threads=2)
    assert {"m": 16, "ef_construction": 100}.items() <= facts.items()
    return folder / "index", base, queries


@pytest.fixture
def strategy(peer, metric, built):
    folder, base, _ = built
    opened = peer.open([folder], base, metric)
    opened.tune(opened.settings[0])
    return opened


def test_it_finds_the_true_neighbours_best_first(strategy, built, metric):
    _, base, queries = built
    truth = exact(base, queries, metric, K)
    found = [strategy.search(query, K) for query in queries]
    assert all(ids.dtype == np.int64 and ids.shape == (K,) for ids in found)
    assert recall(found, truth) > 0.95
    for query, ids in zip(queries, found, strict=True):
        assert (np.diff(scores(base[ids], query[None], metric)[0]) < 1e-2).all(), "best first, but for rounding to f16"


def test_no_id_comes_twice(strategy, built):
    _, base, queries = built
    for found in ([strategy.search(query, 100) for query in queries], strategy.search_many(queries, 100, 2)):
        assert all(len(set(ids.tolist())) == len(ids) == 100 for ids in found)
        assert all(ids.min() >= 0 and ids.max() < len(base) for ids in found)


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.parametrize("queries_in_batch", [100, 1])
def test_a_batch_is_answered_like_its_queries(strategy, built, threads, queries_in_batch):
    queries = built[2][:queries_in_batch]
    many = strategy.search_many(queries, K, threads)
    assert len(many) == len(queries)
    for query, ids in zip(queries, many, strict=True):
        assert ids.dtype == np.int64
        assert ids.tolist() == strategy.search(query, K).tolist()


def test_an_index_moved_elsewhere_answers_the_same(peer, strategy, built, metric, tmp_path):
    folder, base, queries = built
    moved = peer.open([shutil.copytree(folder, tmp_path / "moved")], base, metric)
    moved.tune(moved.settings[0])
    for query in queries:
        assert moved.search(query, K).tolist() == strategy.search(query, K).tolist()


def test_one_thread_builds_the_same_index_twice(peer, tmp_path):
    base, queries = vectors("l2", rows=1500)
    answers = []
    for folder in (tmp_path / "first", tmp_path / "second"):
        folder.mkdir()
        peer.build(folder, base, "l2", m=4, ef_construction=20, threads=1)
        strategy = peer.open([folder], base, "l2")
        strategy.tune(strategy.settings[0])
        answers.append([strategy.search(query, 100).tolist() for query in queries])
    assert answers[0] == answers[1]


def test_a_dearer_setting_finds_more(peer, tmp_path):
    base, queries = vectors("l2")
    peer.build(tmp_path, base, "l2", m=4, ef_construction=20, threads=2)
    strategy = peer.open([tmp_path], base, "l2")
    truth = exact(base, queries, "l2", 100)
    found = []
    for setting in (strategy.settings[0], strategy.settings[-1]):
        strategy.tune(setting)
        found.append(recall([strategy.search(query, 100) for query in queries], truth))
    assert found[0] + 0.05 < found[1]


def test_fewer_vectors_than_neighbours_give_what_there_is(peer, metric, tmp_path):
    base, queries = vectors(metric, rows=6)
    peer.build(tmp_path, base, metric, m=16, ef_construction=100, threads=1)
    strategy = peer.open([tmp_path], base, metric)
    strategy.tune(strategy.settings[0])
    for ids in (strategy.search(queries[0], K), *strategy.search_many(queries[:20], K, 2)):
        assert sorted(ids.tolist()) == list(range(6))


def test_what_cannot_be_reached_is_missing_not_repeated_nor_invented(peer, tmp_path):
    """A thousand copies each of five vectors tear the graphs of two of the three libraries apart."""
    rng = np.random.default_rng(0)
    base = np.repeat(rng.standard_normal((5, 32)).astype(np.float32), 1000, axis=0)
    queries = rng.standard_normal((100, 32)).astype(np.float32)
    peer.build(tmp_path, base, "ip", m=16, ef_construction=100, threads=1)
    strategy = peer.open([tmp_path], base, "ip")
    strategy.tune(strategy.settings[0])
    found = [strategy.search(query, 100) for query in queries]
    for ids in found:
        assert len(np.unique(ids)) == len(ids) <= 100 and (ids >= 0).all()
    many = strategy.search_many(queries, 100, 2)
    assert [ids.tolist() for ids in many] == [ids.tolist() for ids in found]
    short = sum(len(ids) < 100 for ids in found)
    assert short or peer.name == "usearch", "this test needs a torn graph"


def test_the_library_is_given_the_threads(peer, tmp_path, monkeypatch):
    base, queries = vectors("l2", rows=200)
    given = spy(peer.name, monkeypatch)
    for threads in (1, 2):
        given.clear()
        peer.build(tmp_path, base, "l2", m=8, ef_construction=20, threads=threads)
        strategy = peer.open([tmp_path], base, "l2")
        strategy.search_many(queries, K, threads + 1)
        assert given == [threads, threads + 1]


WITH_TORCH = """
import sys
from pathlib import Path
import faiss.contrib.torch_utils
import numpy as np
from nightgate.hybrid_ann.strategies.faiss_hnsw import FaissHnsw
folder = Path(sys.argv[1])
np.save(folder / "base.npy", np.random.default_rng(0).standard_normal((500, 16), np.float32))
base = np.load(folder / "base.npy", mmap_mode="r")
FaissHnsw.build(folder, base, "l2", threads=1, m=8, ef_construction=20)
print(FaissHnsw.open([folder], base, "l2").search(np.array(base[7]), 3)[0])
"""


def test_a_mapped_base_is_taken_where_faiss_knows_torch(tmp_path):
    """A strategy for a GPU teaches it, for the whole process."""
    needs_torch()
    command = [sys.executable, "-c", WITH_TORCH, str(tmp_path)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert (done.returncode, done.stdout.strip()) == (0, "7"), done.stderr


def spy(peer: str, monkeypatch) -> list[int]:
    """The threads that each adding and each batch search of the library gets."""
    given: list[int] = []
    if peer == "faiss_hnsw":
        import faiss

        def noting(call):
            return lambda self, *a, **k: (given.append(faiss.omp_get_max_threads()), call(self, *a, **k))[1]

        for name in ("add", "search"):
            monkeypatch.setattr(faiss.IndexHNSWFlat, name, noting(getattr(faiss.IndexHNSWFlat, name)))
    elif peer == "usearch":
        from usearch.index import Index

        def noting(call):
            return lambda *a, threads=0, **k: (given.append(threads), call(*a, threads=threads, **k))[1]

        for name in ("add", "search"):
            monkeypatch.setattr(Index, name, noting(getattr(Index, name)))
    else:
        import hnswlib

        class Noting(hnswlib.Index):
            def add_items(self, *a, num_threads=-1, **k):
                given.append(num_threads)
                super().add_items(*a, num_threads=num_threads, **k)

            def knn_query(self, *a, num_threads=-1, **k):
                given.append(num_threads)
                return super().knn_query(*a, num_threads=num_threads, **k)

        monkeypatch.setattr(hnswlib, "Index", Noting)
    return given
