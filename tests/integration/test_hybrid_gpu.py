"""The hybrid on a GPU, and every row compared there. Where there is none, faiss's CPU index stands in for the device's, with
the limits faiss states for that, and numpy or torch on the CPU for the device's arrays: what is tested then is the way a
query takes, and nothing about a device. The tests marked ``gpu`` want a real one."""

from __future__ import annotations

import re
from pathlib import Path
from types import SimpleNamespace

import faiss
import numpy as np
import pytest
from support import ann as benchmark
from support.ann import opened
from support.extras import needs_torch
from support.turning import alone

from nightgate.artifacts import Cache
from nightgate.errors import NotMeasured, Unavailable
from nightgate.hybrid_ann import preparing
from nightgate.hybrid_ann.rerank import rerank_pq
from nightgate.hybrid_ann.settings import Settings
from nightgate.hybrid_ann.strategies import hybrid, hybrid_gpu
from nightgate.hybrid_ann.strategies.exact_gpu import ExactOnGpu
from nightgate.hybrid_ann.strategies.hybrid_gpu import HybridOnGpu
from nightgate.measure import devices
from nightgate.measure.child import ChildResult
from nightgate.record import Gpu
from nightgate.vector_search import asking
from nightgate.vectors import arrays, truth
from nightgate.vectors.arrays import Arrays, Torch
from nightgate.vectors.data import TRUTH_DEPTH as K
from nightgate.vectors.exact import ExactSearch

ROOT = Path(__file__).resolve().parents[2]
MOST = 2048  # neighbours and lists: what the selection on a GPU holds
SETTINGS = Settings(
    variants=("hybrid",),
    controls=("hnsw", "ivfpq_refine", "exact"),
    rows=4000,
    dim=32,
    queries=100,
    passes=2,
    most_passes=3,
    load_seconds=0.1,
)


class NumpyDevice(Arrays):
    """Stands in for the arrays of a device, which has room."""

    def free_bytes(self):
        return 2**40

    def facts(self):
        return {"name": "Stand-in", "arrays": "stand-in"}


def torch_device():
    needs_torch()
    return type("TorchDevice", (NumpyDevice, Torch), {})("cpu")


class GpuIndex:
    """Stands in for `faiss.GpuIndexIVFPQ` and refuses what that refuses."""

    def __init__(self, resources, device, index, options):
        assert type(index) is faiss.IndexIVFPQ and index.pq.nbits == 8 and index.by_residual
        assert type(faiss.downcast_index(index.quantizer)) in (faiss.IndexFlat, faiss.IndexFlatL2, faiss.IndexFlatIP)
        assert index.quantizer.ntotal == index.nlist
        assert index.pq.M * 256 * (2 if options.useFloat16 else 4) <= 48 * 1024, "the tables exceed the shared memory"
        assert options.use_cuvs is False, "cuVS has no search_preassigned"
        self._index, self.nlist, self.nprobe = index, index.nlist, 1

    def search_preassigned(self, queries, k, lists, distance):
        assert k <= MOST and self.nprobe <= MOST
        self._index.nprobe = self.nprobe
        return self._index.search_preassigned(queries, k, lists, distance)

    def search(self, queries, k):
        assert k <= MOST and self.nprobe <= MOST
        self._index.nprobe = self.nprobe
        return self._index.search(queries, k)


@pytest.fixture(params=[NumpyDevice, torch_device], ids=["numpy", "torch"])
def stand_ins(request, monkeypatch):
    """A host with a device, as far as the code can see; returns what each child of the benchmark was asked for."""
    device = request.param()
    monkeypatch.setattr(arrays, "on", {"gpu": device, "cpu": Arrays()}.get)
    for name, value in {
        "get_num_gpus": lambda: 1, "StandardGpuResources": object, "GpuClonerOptions": SimpleNamespace,
        "index_cpu_to_gpu": GpuIndex,
    }.items():  # fmt: skip
        monkeypatch.setattr(faiss, name, value, raising=False)
    monkeypatch.setattr(devices, "gpu", lambda: Gpu(name="Stand-in", memory_bytes=1, source="nvml"))
    asked = []

    def in_this_process(function, request, *, device="cpu", **_):
        asked.append((function.__name__, device))
        return ChildResult(alone(function(request)), peak_rss_bytes=1, wall_seconds=1.0)

    for room in (preparing, asking):
        monkeypatch.setattr(room, "run_child", in_this_process)
    return asked


def test_hybrid_and_exact_are_measured_in_children_that_see_the_device(stand_ins, tmp_path):
    prepared = benchmark.prepare(SETTINGS, "gpu", Cache(tmp_path / "cache"))
    assert set(prepared.indexes) == {"ivfpq_gpu"}
    asked = SETTINGS.model_copy(update={"processes": 1})
    found, exact = benchmark.measure(asked, "gpu", prepared, tmp_path / "s.npz")
    assert (found.variant, found.device, found.status, found.reason) == ("hybrid", "gpu", "measured", None)
    assert found.metrics["recall_at_100"].value >= 0.92
    left = [found.metrics[name].value for name in ("route_recall", "scan_recall", "recall_at_100")]
    assert left == sorted(left, reverse=True)
    assert found.detail["index"]["ivfpq_gpu"]["pq"] == "PQ8x8"
    base = found.detail["gpu"].pop("base")
    assert base.startswith(f"{4000 * 32 * 4} bytes in ")
    assert found.detail["gpu"] == {
        "name": "Stand-in", "faiss_gpus": 1, "arrays": "stand-in", "index": "GpuIndex", "tables": "float32",
    }  # fmt: skip
    assert (exact.variant, exact.device, exact.status, exact.reason) == ("exact", "gpu", "measured", None)
    assert not exact.gated
    assert [exact.metrics[f"recall_at_{k}"].value for k in (1, 10, 100)] == [1.0] * 3
    assert exact.facts.tuning.setting == {"rows": 4000}
    for record in (found, exact):
        rates = record.facts.batches[1:]  # after the throughput
        assert [each.size for each in rates] == [1, 10, 100, 1000]
        assert all(each.queries_per_second > 0 for each in rates)
        # the batches are routed by all centroids, so they find as much and more
        assert all(each.recall >= record.metrics["recall_at_100"].value - 0.002 for each in rates)
    # the stages and the open loop of the hybrid share a child, as do what is asked in batches; exact search has no stages
    after = ("answer", "answer", "open_loop_latency", "answer")
    assert stand_ins == [(function, "gpu") for function in ("see_gpu", "time_queries", "time_queries", *after)]


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
    assert strategy.gpu["tables"] == "float16"
    assert [strategy.search(query, 1)[0] for query in queries] == list(range(len(queries)))


def built(metric, folder, dim=24, scale=1):
    """A strategy over random vectors, these, and queries that lie close to the first of them."""
    rng = np.random.default_rng(4)
    base = (scale * rng.standard_normal((3000, dim))).astype(np.float32)
    if metric == "cosine":
        base /= np.linalg.norm(base, axis=1, keepdims=True)
    strategy = opened(HybridOnGpu, base, metric, folder, rows_per_list=128)
    strategy.tune({"lists": 24, "refine": 16})
    return strategy, base, base[:20] + 0.01 * scale * rng.standard_normal((20, dim)).astype(np.float32)


@pytest.mark.parametrize(("dim", "codes"), [(24, 8), (32, 8), (100, 20), (256, 64), (960, 96), (1536, 96), (25, 1)])
def test_a_vector_gets_as_many_codes_as_faiss_offers_and_the_dimensions_allow(dim, codes):
    assert hybrid_gpu.codes_for(dim) == codes


def test_as_many_codes_as_may_be_in_float32():
    assert [hybrid_gpu.codes_for(dim, 48) for dim in (24, 256, 1536, 384)] == [8, 32, 48, 48]
    with pytest.raises(Unavailable, match="none of 1, 2, .*, 40, 48 divides them into parts of at most 32"):
        hybrid_gpu.codes_for(2048, 48)


@pytest.mark.parametrize(
    ("scale", "fits"), [(1, True), (2.0**-5.9, True), (2.0**-6.1, False), (2.0**4.9, True), (2.0**5.1, False)]
)
def test_tables_are_in_float16_where_their_entries_have_its_digits(tmp_path, scale, fits):
    """Four dimensions of ±1/2 are as long as one: an entry of the tables is of about that size, times the square of the scale."""
    signs = np.random.default_rng(1).choice([-0.5, 0.5], (3000, 256)).astype(np.float32)
    assert hybrid_gpu.fits_half(signs * np.float32(scale)) is fits
    told = hybrid_gpu.train(tmp_path, signs * np.float32(scale), "l2", threads=1, rows_per_list=128)
    assert told["pq"] == ("PQ64x8" if fits else "PQ32x8")


@pytest.mark.parametrize("scale", [1e-3, 1e3])
def test_numbers_that_float16_cannot_hold_are_found_all_the_same(stand_ins, tmp_path, scale):
    strategy, _, queries = built("l2", tmp_path, dim=256, scale=scale)
    assert strategy.gpu["tables"] == "float32"
    assert [strategy.search(query, 1)[0] for query in queries] == list(range(len(queries)))


def test_dimensions_without_codes_are_unavailable_and_named(stand_ins, tmp_path):
    odd = SETTINGS.model_copy(update={"dim": 97, "rows": 2000, "controls": ()})
    with pytest.raises(Unavailable, match="97 dimensions.*Next step: measure this data set on the cpu"):
        benchmark.prepare(odd, "gpu", Cache(tmp_path))
    prepared = benchmark.prepare(odd.model_copy(update={"controls": ("exact",)}), "gpu", Cache(tmp_path))
    assert list(prepared.missing) == ["hybrid"]


def test_no_step_asks_for_more_than_a_gpu_selects():
    assert max(lists for lists, _ in hybrid.STEPS) <= MOST
    assert max(refine for _, refine in hybrid.STEPS) * K <= MOST


@pytest.mark.parametrize(
    ("name", "value", "reason"),
    [
        ("StandardGpuResources", None, "the installed faiss is a CPU build. Next step: `make setup-gpu`"),
        ("get_num_gpus", lambda: 0, "faiss sees no CUDA device"),
    ],
)
def test_what_is_missing_is_named_with_the_line_that_installs_it(stand_ins, monkeypatch, name, value, reason):
    if value:
        monkeypatch.setattr(faiss, name, value)
    else:
        monkeypatch.delattr(faiss, name)
    with pytest.raises(Unavailable, match=reason):
        benchmark.prepare(SETTINGS.model_copy(update={"controls": ("hnsw",)}), "gpu", None)


def test_without_faiss_the_hybrid_is_skipped_and_every_row_is_compared(stand_ins, monkeypatch, tmp_path):
    monkeypatch.delattr(faiss, "StandardGpuResources")
    reason, asked = (
        "the installed faiss is a CPU build. Next step: `make setup-gpu`",
        SETTINGS.model_copy(update={"processes": 1}),
    )
    prepared = benchmark.prepare(asked, "gpu", Cache(tmp_path / "cache"))
    assert prepared.indexes == {}
    found, exact = benchmark.measure(asked, "gpu", prepared, tmp_path / "s.npz")
    assert (found.variant, found.status, found.gated) == ("hybrid", "skipped", True)
    assert re.match(reason, found.reason)
    assert (exact.variant, exact.status, exact.metrics["recall_at_100"].value) == ("exact", "measured", 1.0)


def test_without_a_library_that_computes_there_nothing_is_measured(stand_ins, monkeypatch):
    def missing(device):
        raise Unavailable("vectors cannot be compared on a GPU: torch and cupy are not installed", "install one")

    monkeypatch.setattr(arrays, "on", missing)
    with pytest.raises(Unavailable, match="^vectors cannot be compared on a GPU.*Next step: install one$"):
        benchmark.prepare(SETTINGS, "gpu", None)


def test_a_base_that_the_device_has_no_room_for_is_said(stand_ins, monkeypatch):
    device = arrays.on("gpu")
    monkeypatch.setattr(type(device), "free_bytes", lambda self: 5 * 2**30)
    base = np.zeros((2000, 8), np.float32)
    assert ExactOnGpu((), base, "ip").settings == ({"rows": 2000},)
    monkeypatch.setattr(type(device), "free_bytes", lambda self: 3 * 2**30)
    with pytest.raises(NotMeasured, match="the base of 0.0 GiB does not fit into the 3.0 GiB .*: measure fewer rows"):
        ExactOnGpu((), base, "ip")


@pytest.mark.parametrize("metric", ["cosine", "l2", "ip"])
def test_every_row_compared_finds_what_is_nearest(stand_ins, metric):
    rng = np.random.default_rng(7)
    base, asked = rng.standard_normal((3000, 24)).astype(np.float32), rng.standard_normal((9, 24)).astype(np.float32)
    if metric == "cosine":
        base, asked = (array / np.linalg.norm(array, axis=1, keepdims=True) for array in (base, asked))
    strategy = ExactOnGpu((), base, metric)
    strategy.tune(strategy.settings[0])
    expected = truth.exact(base, asked, 12, metric).ids.tolist()
    assert [strategy.search(query, 12).tolist() for query in asked] == expected
    assert [ids.tolist() for ids in strategy.search_many(asked, 12, 2)] == expected


@pytest.mark.skipif(hasattr(faiss, "StandardGpuResources"), reason="this is no CPU build")
def test_a_cpu_build_says_so_from_a_real_child(monkeypatch):
    monkeypatch.setattr(devices, "gpu", lambda: Gpu(name="Stand-in", memory_bytes=1, source="nvml"))
    with pytest.raises(Unavailable, match="the installed faiss is a CPU build"):
        benchmark.prepare(SETTINGS.model_copy(update={"controls": ()}), "gpu", None)


def test_a_host_without_a_device_starts_nothing(stand_ins, monkeypatch):
    monkeypatch.setattr(devices, "gpu", lambda: None)
    with pytest.raises(Unavailable, match="this host has no NVIDIA device"):
        benchmark.prepare(SETTINGS, "gpu", None)
    assert stand_ins == []


def test_variants_of_which_none_runs_on_a_gpu_are_unavailable(stand_ins):
    asked = SETTINGS.model_copy(update={"variants": ("hnsw", "usearch"), "controls": ("ivfpq_refine",)})
    with pytest.raises(Unavailable, match="hnsw does not run on a gpu; usearch does not run on a gpu"):
        benchmark.prepare(asked, "gpu", None)


@pytest.mark.gpu
@pytest.mark.parametrize("metric", ["cosine", "l2"])
def test_a_real_device_reranks_as_the_cpu_does(metric, tmp_path):
    strategy, base, queries = built(metric, tmp_path)
    for query in queries:
        candidates = strategy.scan(query, strategy.route(query), 10)
        assert (
            strategy.rerank(query, candidates, 10).tolist() == rerank_pq(query, candidates, base, 10, metric).tolist()
        )


@pytest.mark.gpu
def test_a_real_device_measures_the_hybrid(tmp_path):
    prepared = benchmark.prepare(SETTINGS, "gpu", Cache(tmp_path / "cache"))
    found, exact = benchmark.measure(SETTINGS, "gpu", prepared, tmp_path / "s.npz")
    assert [(record.status, record.reason) for record in (found, exact)] == [("measured", None)] * 2
    assert found.metrics["recall_at_100"].value >= 0.92
    assert found.detail["gpu"]["index"] == "GpuIndexIVFPQ"
    assert exact.metrics["recall_at_100"].value == 1.0


@pytest.mark.gpu
@pytest.mark.parametrize("metric", ["cosine", "l2", "ip"])
def test_a_real_device_finds_the_very_neighbours_that_the_cpu_finds(metric):
    rng = np.random.default_rng(8)
    base, asked = (rng.standard_normal((n, 96)).astype(np.float32) for n in (300_000, 1100))
    base[5::1000] = base[5]
    if metric == "cosine":
        base, asked = (array / np.linalg.norm(array, axis=1, keepdims=True) for array in (base, asked))
    search = ExactSearch(base, metric, arrays=arrays.on("gpu"))
    assert search.on_device and search.arrays.on_gpu
    found = search.search(asked, 100)
    assert found.proven.mean() > 0.99
    assert found.ids.tolist() == truth.exact(base, asked, 100, metric).ids.tolist()


def test_both_builds_of_faiss_are_of_one_version():
    def pinned(file, name):
        return re.search(rf"^{name}==(\S+)", (ROOT / "include" / file).read_text(), re.M)[1]

    assert pinned("compose/gpu.txt", "faiss-gpu") == pinned("requirements/run.txt", "faiss-cpu")
    assert pinned("compose/gpu.txt", "cupy-cuda12x") == pinned("requirements/ci.txt", "cupy-cuda12x")
