"""The real indexes on a few thousand vectors."""

from __future__ import annotations

import numpy as np
import pytest

from nightgate.artifacts import Cache
from nightgate.errors import Unavailable
from nightgate.hybrid_ann import benchmark
from nightgate.hybrid_ann.settings import Settings


@pytest.fixture(scope="module")
def settings():
    return Settings(variants=("hybrid",), controls=("hnsw", "ivfpq_refine"), rows=4000, dim=32, queries=100, passes=2)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return Cache(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def records(settings, cache, tmp_path_factory):
    samples = tmp_path_factory.mktemp("run") / "hybrid_ann-cpu.npz"
    found = benchmark.measure(settings, "cpu", benchmark.prepare(settings, "cpu", cache), samples)
    return {record.variant: record for record in found}, np.load(samples)


def test_every_strategy_is_measured(records):
    found, samples = records
    assert list(found) == ["hybrid", "hnsw", "ivfpq_refine"]
    for variant, record in found.items():
        assert (record.status, record.reason) == ("measured", None)
        assert record.metrics["recall_at_100"].value >= 0.92
        assert record.metrics["latency_p95"].n == 400, "two passes in each of two processes"
        low, high = record.metrics["latency_p95"].ci95
        assert 0 < low <= record.metrics["latency_p95"].value <= high
        assert samples[f"{variant}/durations_ns"].shape == (4, 100)
        assert samples[f"{variant}/recall"].shape == (100,)
        assert record.detail["tuning_reached_target"]


def test_the_stages_of_the_hybrid_are_reported(records):
    metrics = records[0]["hybrid"].metrics
    stages = sum(metrics[f"{stage}_seconds"].value for stage in ("route", "scan", "rerank"))
    assert stages > 0
    assert "route_seconds" not in records[0]["hnsw"].metrics


def test_a_second_prepare_builds_nothing(settings, cache, records, monkeypatch):
    monkeypatch.setattr(Cache, "_build", lambda *_: pytest.fail("built again"))
    assert set(benchmark.prepare(settings, "cpu", cache)["indexes"]) == {"hnsw", "ivfpq"}


def test_a_target_out_of_reach_is_measured_and_said(settings, cache, tmp_path):
    hard = settings.model_copy(update={"recall_target": 0.999, "refine": 1, "controls": (), "processes": 1})
    (record,) = benchmark.measure(hard, "cpu", benchmark.prepare(hard, "cpu", cache), tmp_path / "s.npz")
    assert record.detail["tuning_reached_target"] is False
    assert record.metrics["recall_at_100"].value < 0.999


def test_an_index_that_is_gone_fails_its_variant_and_not_the_others(settings, cache, tmp_path):
    prepared = benchmark.prepare(settings, "cpu", cache)
    prepared["indexes"]["ivfpq"] = prepared["indexes"]["ivfpq"] | {"folder": str(tmp_path)}
    found = {r.variant: r.status for r in benchmark.measure(settings, "cpu", prepared, tmp_path / "s.npz")}
    assert found == {"hybrid": "failed", "hnsw": "measured", "ivfpq_refine": "failed"}


def test_without_a_device_the_gpu_is_unavailable(settings, cache):
    with pytest.raises(Unavailable, match="NVIDIA|GPU"):
        benchmark.prepare(settings, "gpu", cache)
