"""The hybrid on a GPU. Where there is none, faiss's CPU index stands in for the device's, with the limits faiss states
for that, and numpy for cupy: what is tested then is the way a query takes, and nothing about a device."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from types import ModuleType, SimpleNamespace

import faiss
import numpy as np
import pytest

from nightgate.artifacts import Cache
from nightgate.errors import Unavailable
from nightgate.hybrid_ann import benchmark, timed
from nightgate.hybrid_ann.rerank import rerank_pq
from nightgate.hybrid_ann.settings import K, Settings
from nightgate.hybrid_ann.strategies import hybrid, hybrid_gpu
from nightgate.measure import devices
from nightgate.measure.child import ChildResult
from nightgate.record import Gpu

ROOT = Path(__file__).resolve().parents[2]
MOST = 2048  # neighbours and lists: what the selection on a GPU holds
SETTINGS = Settings(
    variants=("hybrid",), controls=("hnsw", "ivfpq_refine"), rows=4000, dim=32, queries=100, passes=2, load_seconds=0.1
)

has_gpu = faiss.get_num_gpus() > 0


class OnDevice:
    """Stands in for a cupy array: not a numpy array, so that nothing takes it for one."""

    device = SimpleNamespace(id=0)

    def __init__(self, array):
        self._array, self.shape, self.nbytes = np.array(array), array.shape, array.nbytes

    def __len__(self):
        return len(self._array)

    def __getitem__(self, ids):
        return self._array[ids]


class GpuIndex:
    """Stands in for `faiss.GpuIndexIVFPQ` and refuses what that refuses."""

    def __init__(self, resources, device, index, options):
        assert type(index) is faiss.IndexIVFPQ and index.pq.nbits == 8 and index.by_residual
        assert type(faiss.downcast_index(index.quantizer)) in (faiss.IndexFlat, faiss.IndexFlatL2, faiss.IndexFlatIP)
        assert index.quantizer.ntotal == index.nlist
        assert index.pq.M * 256 * (2 if options.useFloat16 else 4) <= 48 * 1024, "the tables exceed the shared memory"
        self._index, self.nlist, self.nprobe = index, index.nlist, 1

    def search_preassigned(self, queries, k, lists, distance):
        assert k <= MOST and self.nprobe <= MOST
        self._index.nprobe = self.nprobe
        return self._index.search_preassigned(queries, k, lists, distance)


@pytest.fixture
def stand_ins(monkeypatch):
    """A host with a device, as far as the code can see; returns what each child of the benchmark was asked for."""
    cupy = ModuleType("cupy")
    cupy.__version__ = "stand-in"
    cupy.is_available = lambda: True
    cupy.asarray = lambda array: OnDevice(array) if array.ndim == 2 else np.asarray(array)
    cupy.asnumpy = np.asarray
    cupy.cuda = SimpleNamespace(runtime=SimpleNamespace(getDeviceProperties=lambda device: {"name": b"Stand-in"}))
    monkeypatch.setitem(sys.modules, "cupy", cupy)
    for name, value in {
        "get_num_gpus": lambda: 1, "StandardGpuResources": object, "GpuClonerOptions": SimpleNamespace,
        "index_cpu_to_gpu": GpuIndex,
    }.items():  # fmt: skip
        monkeypatch.setattr(faiss, name, value, raising=False)
    monkeypatch.setattr(devices, "gpu", lambda: Gpu(name="Stand-in", memory_bytes=1, source="nvml"))
    asked = []

    def in_this_process(target, request, *, threads, device="cpu"):
        function = target.partition(":")[2]
        asked.append((function, device))
        return ChildResult(getattr(timed, function)(request), peak_rss_bytes=1, wall_seconds=1.0)

    monkeypatch.setattr(benchmark, "run_child", in_this_process)
    return asked


def test_the_hybrid_alone_is_measured_in_children_that_see_the_device(stand_ins, tmp_path):
    prepared = benchmark.prepare(SETTINGS, "gpu", Cache(tmp_path / "cache"))
    assert set(prepared["indexes"]) == {"ivfpq_gpu"}
    (record,) = benchmark.measure(SETTINGS, "gpu", prepared, tmp_path / "s.npz")
    assert (record.variant, record.device, record.status, record.reason) == ("hybrid", "gpu", "measured", None)
    assert record.metrics["recall_at_100"].value >= 0.92
    left = [record.metrics[name].value for name in ("route_recall", "scan_recall", "recall_at_100")]
    assert left == sorted(left, reverse=True)
    assert record.detail["index"]["ivfpq_gpu"]["pq"] == "PQ8x8"
    assert record.detail["gpu"] == {
        "name": "Stand-in", "faiss_gpus": 1, "cupy": "stand-in", "index": "GpuIndex",
        "base": f"{4000 * 32 * 4} bytes in {__name__} on device 0",
    }  # fmt: skip
    functions = ["see_gpu", "time_strategy", "time_strategy", "time_stages", "open_loop_latency", "throughput"]
    assert stand_ins == [(function, "gpu") for function in functions]


@pytest.mark.parametrize("metric", ["cosine", "l2", "ip"])
def test_every_metric_is_found(stand_ins, metric, tmp_path):
    strategy, base, queries = built(metric, tmp_path)
    hits = 0
    for query, answer in zip(queries, strategy.search_many(queries, 10, 2), strict=True):
        scores = -((base - query) ** 2).sum(axis=1) if metric == "l2" else base @ query
        assert np.array_equal(strategy.search(query, 10), answer)
        hits += len(set(answer.tolist()) & set(np.argsort(-scores)[:10].tolist()))
    assert hits >= 0.95 * 10 * len(queries)


def test_the_tables_of_as_many_codes_as_256_dimensions_get_fit(stand_ins, tmp_path):
    strategy, _, queries = built("cosine", tmp_path, dim=256)
    assert [strategy.search(query, 1)[0] for query in queries] == list(range(len(queries)))


def built(metric, folder, dim=24):
    """A strategy over random vectors, these, and queries that lie close to the first of them."""
    rng = np.random.default_rng(4)
    base = rng.standard_normal((3000, dim)).astype(np.float32)
    if metric == "cosine":
        base /= np.linalg.norm(base, axis=1, keepdims=True)
    for name in ("trained", "index"):
        (folder / name).mkdir()
    hybrid_gpu.train(folder / "trained", base, metric, threads=1, rows_per_list=128)
    hybrid_gpu.build(folder / "index", base, metric, trained=folder / "trained", threads=1)
    strategy = hybrid_gpu.Strategy(folder / "index", base, metric)
    strategy.tune({"lists": 24, "refine": 16})
    return strategy, base, base[:20] + 0.01 * rng.standard_normal((20, dim)).astype(np.float32)


@pytest.mark.parametrize(("dim", "codes"), [(24, 8), (32, 8), (100, 20), (256, 64), (960, 96), (1536, 96), (25, 1)])
def test_a_vector_gets_as_many_codes_as_faiss_offers_and_the_dimensions_allow(dim, codes):
    assert hybrid_gpu.codes_for(dim) == codes


def test_dimensions_without_codes_are_unavailable_and_named(stand_ins, tmp_path):
    odd = SETTINGS.model_copy(update={"dim": 97, "rows": 2000})
    with pytest.raises(Unavailable, match="97 dimensions.*Next step: measure this data set on the cpu"):
        benchmark.prepare(odd, "gpu", Cache(tmp_path))


def test_no_step_asks_for_more_than_a_gpu_selects():
    assert max(lists for lists, _ in hybrid.STEPS) <= MOST
    assert max(refine for _, refine in hybrid.STEPS) * K <= MOST


@pytest.mark.parametrize(
    ("module", "name", "value", "reason"),
    [
        ("faiss", "StandardGpuResources", None, "the installed faiss is a CPU build. Next step: `make setup-gpu`"),
        ("faiss", "get_num_gpus", lambda: 0, "faiss sees no CUDA device"),
        ("cupy", "is_available", lambda: False, "cupy sees no CUDA device.*`make setup-gpu`"),
    ],
)
def test_what_is_missing_is_named_with_the_line_that_installs_it(stand_ins, monkeypatch, module, name, value, reason):
    if value:
        monkeypatch.setattr(sys.modules[module], name, value)
    else:
        monkeypatch.delattr(sys.modules[module], name)
    with pytest.raises(Unavailable, match=reason):
        benchmark.prepare(SETTINGS, "gpu", None)


def test_cupy_that_is_absent_is_named(stand_ins, monkeypatch):
    monkeypatch.setitem(sys.modules, "cupy", None)
    with pytest.raises(Unavailable, match="cupy is not installed.*`make setup-gpu`"):
        benchmark.prepare(SETTINGS, "gpu", None)


@pytest.mark.skipif(has_gpu, reason="a GPU is here")
def test_a_cpu_build_says_so_from_a_real_child(monkeypatch):
    monkeypatch.setattr(devices, "gpu", lambda: Gpu(name="Stand-in", memory_bytes=1, source="nvml"))
    with pytest.raises(Unavailable, match="the installed faiss is a CPU build"):
        benchmark.prepare(SETTINGS, "gpu", None)


def test_a_host_without_a_device_starts_nothing(stand_ins, monkeypatch):
    monkeypatch.setattr(devices, "gpu", lambda: None)
    with pytest.raises(Unavailable, match="this host has no NVIDIA device"):
        benchmark.prepare(SETTINGS, "gpu", None)
    assert stand_ins == []


def test_variants_of_which_none_runs_on_a_gpu_are_unavailable(stand_ins):
    asked = SETTINGS.model_copy(update={"variants": ("hnsw", "usearch")})
    with pytest.raises(Unavailable, match="hnsw does not run on a gpu; usearch does not run on a gpu"):
        benchmark.prepare(asked, "gpu", None)


@pytest.mark.skipif(not has_gpu, reason="faiss sees no GPU")
@pytest.mark.parametrize("metric", ["cosine", "l2"])
def test_a_real_device_reranks_as_the_cpu_does(metric, tmp_path):
    strategy, base, queries = built(metric, tmp_path)
    for query in queries:
        candidates = strategy.scan(query, strategy.route(query), 10)
        assert (
            strategy.rerank(query, candidates, 10).tolist() == rerank_pq(query, candidates, base, 10, metric).tolist()
        )


@pytest.mark.skipif(not has_gpu, reason="faiss sees no GPU")
def test_a_real_device_measures_the_hybrid(tmp_path):
    prepared = benchmark.prepare(SETTINGS, "gpu", Cache(tmp_path / "cache"))
    (record,) = benchmark.measure(SETTINGS, "gpu", prepared, tmp_path / "s.npz")
    assert (record.status, record.reason) == ("measured", None)
    assert record.metrics["recall_at_100"].value >= 0.92
    assert record.detail["gpu"]["index"] == "GpuIndexIVFPQ"
    assert " in cupy" in record.detail["gpu"]["base"]


def test_both_builds_of_faiss_are_of_one_version():
    def pinned(file, name):
        return re.search(rf"^{name}==(\S+)", (ROOT / "include" / file).read_text(), re.M)[1]

    assert pinned("compose/gpu.txt", "faiss-gpu") == pinned("requirements/run.txt", "faiss-cpu")
    assert pinned("compose/gpu.txt", "cupy-cuda12x") == pinned("requirements/ci.txt", "cupy-cuda12x")
