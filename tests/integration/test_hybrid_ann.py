"""The real indexes on a few thousand vectors."""

from __future__ import annotations

import signal
import subprocess
import sys

import faiss
import numpy as np
import pytest
from support import ann as benchmark

from nightgate.artifacts import Cache
from nightgate.errors import Unavailable
from nightgate.hybrid_ann import indexes, strategies
from nightgate.hybrid_ann.indexes import build_index
from nightgate.hybrid_ann.settings import Settings
from nightgate.hybrid_ann.strategies.ivfpq_index import IVFPQ
from nightgate.judge import judge
from nightgate.measure import devices
from nightgate.publish.figures import named
from nightgate.record import Look
from nightgate.suite import Limit
from nightgate.vectors.data import TRUTH_DEPTH as K
from nightgate.vectors.dataset import open_dataset
from nightgate.vectors.prepared import PreparedData

CONTROLS = ("hnsw", "ivfpq_refine", "hybrid_seeded")


@pytest.fixture(scope="module")
def settings():
    return Settings(
        variants=("hybrid",),
        controls=CONTROLS,
        rows=4000,
        dim=32,
        queries=100,
        passes=2,
        most_passes=2,
        load_seconds=0.2,
        load_controls=True,
    )


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return Cache(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def prepared(settings, cache):
    return benchmark.prepare(settings, "cpu", cache)


@pytest.fixture(scope="module")
def records(settings, prepared, tmp_path_factory):
    samples = tmp_path_factory.mktemp("run") / "hybrid_ann-cpu.npz"
    found = benchmark.measure(settings, "cpu", prepared, samples)
    with np.load(samples) as kept:
        return {record.variant: record for record in found}, dict(kept)


def test_every_strategy_is_measured(records):
    found, samples = records
    assert list(found) == ["hybrid", *CONTROLS]
    for variant, record in found.items():
        assert (record.status, record.reason) == ("measured", None)
        assert record.metrics["recall_at_100"].value >= 0.92
        assert record.metrics["latency_p95"].n == 400, "two passes in each of two processes"
        low, high = record.metrics["latency_p95"].ci95
        assert 0 < low <= record.metrics["latency_p95"].value <= high
        assert samples[f"{variant}/durations_ns"].shape == (4, 100)
        assert samples[f"{variant}/recall"].shape == (100,)
        assert record.facts.tuning.reached
        parts = [record.metrics[f"recall_{name}"] for name in ("easy", "middle", "hard")]
        whole = sum(part.value * part.n for part in parts) / 100
        assert whole == pytest.approx(record.metrics["recall_at_100"].value)


def test_the_curve_leads_past_the_chosen_setting(records):
    for record in records[0].values():
        curve, chosen = record.facts.tuning.curve, record.facts.tuning.setting
        point = next(point for point in curve if point.setting == chosen)
        assert point.recall >= 0.94
        assert all(before.recall < 0.94 for before in curve[: curve.index(point)]), "the cheapest that reaches it"
        assert curve[-1].recall >= 0.99
        assert all(0 < point.latency_p50 <= point.latency_p95 for point in curve)


def test_the_stages_are_timed_and_lose_neighbours_one_after_the_other(records):
    for variant in ("hybrid", "ivfpq_refine", "hybrid_seeded"):
        metrics = records[0][variant].metrics
        assert all(metrics[f"{stage}_seconds"].value > 0 for stage in ("route", "scan", "rerank"))
        left = [metrics[name].value for name in ("route_recall", "scan_recall", "recall_at_100")]
        assert left == sorted(left, reverse=True)
    assert "route_seconds" not in records[0]["hnsw"].metrics


def test_load_is_put_on_every_strategy(records):
    for variant, record in records[0].items():
        assert record.metrics["throughput_qps"].value > 0
        assert record.facts.open_loop.saturated is False
        assert record.metrics["open_loop_p50"].n == 40 == len(records[1][f"{variant}/open_loop_ns"])


def test_a_rate_beyond_reach_states_no_latency(settings, prepared, tmp_path):
    flooded = settings.model_copy(update={"controls": (), "arrival_rate": 1e6, "processes": 1, "load_seconds": 0.05})
    (record,) = benchmark.measure(flooded, "cpu", prepared, tmp_path / "s.npz")
    assert record.status == "measured"
    assert record.facts.open_loop.saturated is True
    assert "open_loop_p50" not in record.metrics


def test_single_queries_and_batches_give_the_same_answers(settings, prepared):
    data = open_dataset(prepared.vectors)
    for variant in ("hybrid", *CONTROLS):
        kind = strategies.on("cpu", variant)
        folders = [prepared.indexes[index.name].folder for index in kind.indexes()]
        strategy = kind.open(folders, data.base, data.metric)
        strategy.tune(strategy.settings[-1])
        queries = np.array(data.queries)
        together = strategy.search_many(queries, K, 2)
        for query, answer in zip(queries, together, strict=True):
            assert np.array_equal(strategy.search(query, K), answer)


@pytest.mark.parametrize("variant", ["hybrid", "ivfpq_refine", "hybrid_seeded"])
def test_faiss_has_one_thread_for_queries_one_by_one(prepared, variant):
    data, kind = open_dataset(prepared.vectors), strategies.on("cpu", variant)
    faiss.omp_set_num_threads(3)
    kind.open([prepared.indexes[index.name].folder for index in kind.indexes()], data.base, data.metric)
    assert faiss.omp_get_max_threads() == 1


@pytest.mark.parametrize("metric", ["cosine", "l2", "ip"])
@pytest.mark.parametrize("dim", [24, 25])
def test_every_metric_is_found_by_every_strategy(metric, dim, tmp_path):
    rng = np.random.default_rng(3)
    centres = rng.standard_normal((40, dim))
    base = (centres[rng.integers(0, 40, 6000)] + 0.3 * rng.standard_normal((6000, dim))).astype(np.float32)
    base *= rng.uniform(0.8, 1.2, (6000, 1)).astype(np.float32)
    np.save(tmp_path / "mine.npy", base)
    settings = Settings(
        variants=("hybrid",), controls=CONTROLS, dataset=str(tmp_path / "mine.npy"), metric=metric, queries=100,
        passes=1, processes=1, load_seconds=0,
    )  # fmt: skip
    prepared = benchmark.prepare(settings, "cpu", Cache(tmp_path / "cache"))
    for record in benchmark.measure(settings, "cpu", prepared, tmp_path / "s.npz"):
        assert record.status == "measured", record.reason
        assert record.metrics["recall_at_100"].value >= 0.88, f"{record.variant}: 100 queries scatter around 0.94"
        assert record.facts.vectors.metric == metric


def test_a_second_prepare_builds_nothing(settings, cache, prepared, monkeypatch):
    monkeypatch.setattr(indexes, "run_child", lambda *_, **__: pytest.fail("built again"))
    again = benchmark.prepare(settings, "cpu", cache).indexes
    assert set(again) == {"hnsw", "ivfpq"}
    assert again == {name: index.model_copy(update={"reused": True}) for name, index in prepared.indexes.items()}


def test_a_build_that_was_killed_resumes_behind_its_training(prepared, tmp_path):
    builder = """
import os, sys
from nightgate.artifacts import Cache
from nightgate.hybrid_ann import indexes
from nightgate.hybrid_ann.strategies.ivfpq_index import IVFPQ
from nightgate.vectors.prepared import PreparedData
from pathlib import Path
made = indexes._made
def made_until_the_second(*given, training=False):
    if not training:
        print("training is done", flush=True)
        os.kill(os.getpid(), 9)
    return made(*given, training=training)
indexes._made = made_until_the_second
data = PreparedData.model_validate_json(sys.argv[1])
indexes.build_index(IVFPQ, data, {"threads": 1, "rows_per_list": 128}, Cache(Path(sys.argv[2])))
"""
    data = PreparedData(**{name: getattr(prepared, name) for name in PreparedData.model_fields})
    done = subprocess.run(
        [sys.executable, "-c", builder, data.model_dump_json(), str(tmp_path)], stdout=subprocess.PIPE, check=False,
    )  # fmt: skip
    assert (done.returncode, done.stdout) == (-signal.SIGKILL, b"training is done\n")
    (trained,) = tmp_path.glob("ivfpq-trained/*/trained.faiss")
    before = trained.stat().st_mtime_ns
    found = build_index(IVFPQ, data, {"threads": 1, "rows_per_list": 128}, Cache(tmp_path))
    assert trained.stat().st_mtime_ns == before, "not trained again"
    assert found.facts["lists"] == 32
    assert len(np.load(found.folder / "list-of.npy")) == 4000


def test_a_target_out_of_reach_is_measured_and_the_verdict_says_by_how_much(settings, cache, tmp_path):
    update = {"rows": 3000, "hardness": 1.0, "recall_target": 0.999, "controls": (), "processes": 1, "load_seconds": 0}
    hard = settings.model_copy(update=update)
    (record,) = benchmark.measure(hard, "cpu", benchmark.prepare(hard, "cpu", cache), tmp_path / "s.npz")
    assert record.facts.tuning.reached is False
    record.looks = [Look(started_at="", metrics=record.metrics)]  # no breach is stated of one
    (objective,) = judge(record, {"recall_at_100": {"cpu": Limit(op=">=", limit=1.1)}}, gated=True)
    assert objective.verdict == "breach"
    best = max(point.recall for point in record.facts.tuning.curve)
    setting = named(record.facts.tuning.setting)
    assert (
        f"no setting reaches recall 0.999 with its margin: {setting} comes closest, with {best:.3f}" in objective.reason
    )


def test_an_index_that_is_gone_fails_its_variants_and_not_the_others(settings, prepared, tmp_path):
    gone = prepared.indexes["ivfpq"].model_copy(update={"folder": tmp_path})
    prepared = prepared.model_copy(update={"indexes": prepared.indexes | {"ivfpq": gone}})
    quick = settings.model_copy(update={"load_seconds": 0})
    found = {r.variant: r.status for r in benchmark.measure(quick, "cpu", prepared, tmp_path / "s.npz")}
    assert found == {"hybrid": "failed", "hnsw": "measured", "ivfpq_refine": "failed", "hybrid_seeded": "failed"}


def test_a_peer_that_is_not_installed_is_skipped_with_the_line_that_installs_it(settings, cache, tmp_path, monkeypatch):
    monkeypatch.setattr(strategies.on("cpu", "usearch"), "requires", ("no_such_package",))
    asked = settings.model_copy(update={"controls": ("usearch",), "processes": 1, "load_seconds": 0})
    found = benchmark.measure(asked, "cpu", benchmark.prepare(asked, "cpu", cache), tmp_path / "s.npz")
    assert [record.status for record in found] == ["measured", "skipped"]
    assert (
        found[1].reason
        == "usearch needs the package no_such_package. Next step: install it: pip install no_such_package"
    )


def test_without_a_device_the_gpu_is_unavailable(settings, cache, monkeypatch):
    monkeypatch.setattr(devices, "gpu", lambda: None)
    with pytest.raises(Unavailable, match="no NVIDIA device"):
        benchmark.prepare(settings, "gpu", cache)
