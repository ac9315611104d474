"""The street, walked with a benchmark that measures nothing: what is left behind, and what is raised."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from nightgate import benchmarks, paths, steps
from nightgate.artifacts import Cache
from nightgate.errors import ArtifactError, InputError, NotMeasured, ObjectiveBreached, Unavailable
from nightgate.record import Record
from nightgate.results import files


@pytest.fixture
def plan(tmp_path, monkeypatch):
    monkeypatch.setenv("NIGHTGATE_RUNS", str(tmp_path / "runs"))
    monkeypatch.setenv("NIGHTGATE_HOME", str(tmp_path / "home"))
    controls = {"hybrid_ann.controls": ["hnsw", "ivfpq_refine"]}
    return steps.preflight(
        "a-run", dag_id="test", scale="smoke", only=["hybrid_ann"], devices=["cpu"], overrides=controls
    )


@pytest.fixture
def benchmark(monkeypatch):
    """A fake implementation of `hybrid_ann`; its parts can be replaced by a test."""

    def measure(settings, device, prepared, samples):
        np.savez(samples, x=np.zeros(3))
        return [measured(variant) for variant in (*settings.variants, *settings.controls)]

    fake = SimpleNamespace(prepare=lambda settings, device, cache: {"ready": True}, measure=measure)
    monkeypatch.setattr(benchmarks, "implementation", lambda name: fake)
    return fake


def measured(variant, latency=0.001, **facts):
    given = {"benchmark": "hybrid_ann", "device": "cpu", "status": "measured", "settings": {"variants": ["hybrid"]}}
    record = Record(**{**given, "variant": variant, **facts})
    if record.status == "measured":
        record.add("latency_p95", latency, 1000, (latency * 0.9, latency * 1.1))
        record.add("recall_at_100", 0.96, 200, (0.95, 0.97))
    return record


def walk(plan):
    steps.measure(plan, "hybrid_ann", "cpu", steps.prepare(plan, "hybrid_ann", "cpu"))
    steps.gate(plan, "hybrid_ann", "cpu", None)


def test_what_was_prepared_stays_until_it_is_measured(plan, benchmark):
    """The two steps are processes of their own under Airflow, and others may need room in between."""
    cache, seen = Cache(paths.cache_dir()), []

    def prepare(settings, device, cache):
        made = cache.get("kind", {}, lambda folder: (folder / "a").write_bytes(b"x") and None)
        made.release()  # as if the process had ended
        return {"vectors": {"folder": str(made.path)}}

    def measure(settings, device, prepared, samples):
        seen.append(cache.collect(0))
        np.savez(samples, x=np.zeros(3))
        return [measured("hybrid")]

    benchmark.prepare, benchmark.measure = prepare, measure
    prepared = steps.prepare(plan, "hybrid_ann", "cpu")
    assert cache.collect(0) == []
    steps.measure(plan, "hybrid_ann", "cpu", prepared)
    assert seen == [[]]
    assert len(cache.collect(0)) == 1, "and no longer"
    with pytest.raises(ArtifactError, match=r"gone from the cache.*Next step: prepare again"):
        steps.measure(plan, "hybrid_ann", "cpu", prepared)


def test_a_good_night(plan, benchmark):
    walk(plan)
    summary = steps.report(plan, None)
    assert summary.state == "pass"
    assert [r.variant for r in summary.results] == ["hybrid", "hnsw", "ivfpq_refine"], (
        "gated first, in the suite's order"
    )
    assert [len(r.objectives) for r in summary.results] == [2, 0, 0], "controls do not gate"
    assert all("canary_before" in r.detail["noise"] for r in summary.results)
    assert {p.name for p in paths.run_dir("a-run").iterdir()} == {
        "summary.json", "hybrid_ann-cpu.json", "hybrid_ann-cpu.npz", "report.html",
    }  # fmt: skip


def test_a_breach_is_recorded_before_it_fails(plan, benchmark):
    benchmark.measure = lambda *_: [measured("hybrid", latency=0.5), measured("hnsw"), measured("ivfpq_refine")]
    with pytest.raises(ObjectiveBreached, match=r"hybrid on cpu: latency_p95 is 0.5, the objective is < 0.02: breach"):
        walk(plan)
    assert steps.report(plan, None).state == "breach"


def test_a_variant_that_stands_in_for_a_gated_one_gates(plan, benchmark):
    instead = {"settings": {"variants": ["faiss_hnsw"]}}
    benchmark.measure = lambda *_: [
        measured("faiss_hnsw", latency=0.5, **instead), measured("hybrid", status="skipped", reason="not here", **instead),
    ]  # fmt: skip
    with pytest.raises(ObjectiveBreached, match="faiss_hnsw on cpu: latency_p95 is 0.5"):
        walk(plan)
    summary = steps.report(plan, None)
    assert [(r.variant, len(r.objectives)) for r in summary.results] == [("hybrid", 0), ("faiss_hnsw", 2)]


def test_a_slow_control_fails_nobody(plan, benchmark):
    benchmark.measure = lambda *_: [measured("hybrid"), measured("hnsw", latency=0.5), measured("ivfpq_refine")]
    walk(plan)
    assert steps.report(plan, None).state == "pass"


def test_a_variant_that_failed_raises_after_the_others_were_kept(plan, benchmark):
    benchmark.measure = lambda *_: [measured("hybrid", status="failed", reason="it crashed"), measured("hnsw")]
    with pytest.raises(NotMeasured, match="hybrid was not measured: it crashed"):
        walk(plan)
    assert {r.variant: r.status for r in files.read_records("a-run")} == {"hybrid": "failed", "hnsw": "measured"}
    assert steps.report(plan, None).state == "invalid"


def test_a_prepare_that_fails_leaves_a_failed_record_for_every_variant(plan, benchmark):
    def broken(*_):
        raise ArtifactError("the file is torn", "fetch it again")

    benchmark.prepare = broken
    with pytest.raises(ArtifactError):
        walk(plan)
    summary = steps.report(plan, None)
    assert summary.state == "invalid"
    assert {r.status for r in summary.results} == {"failed"}
    assert "the file is torn" in summary.results[0].reason


def test_a_task_that_was_killed_is_recorded_as_failed(plan, benchmark):
    summary = steps.report(plan, None)
    assert summary.state == "invalid"
    assert "it left no result" in summary.results[0].reason


def test_what_this_host_cannot_measure_is_skipped_unless_it_is_required(plan, benchmark):
    def absent(*_):
        raise Unavailable("no device")

    benchmark.prepare = absent
    with pytest.raises(Unavailable):
        walk(plan)
    assert {r.status for r in files.read_records("a-run")} == {"skipped"}
    assert steps.report(plan, None).state == "invalid", "a night that measured nothing is no pass"

    required = plan.model_copy(update={"require_gpu": True, "work": [("hybrid_ann", "gpu")]})
    with pytest.raises(NotMeasured, match="a GPU is required: no device"):
        steps.prepare(required, "hybrid_ann", "gpu")


def test_every_step_can_be_walked_again(plan, benchmark):
    walk(plan)
    first = steps.report(plan, None)
    walk(plan)
    again = steps.report(plan, None)

    def kept(summary):  # all but what times itself
        own = {"detail": True, "metrics": {"prepare_seconds", "measure_seconds"}}
        return [r.model_dump(exclude=own) for r in summary.results]

    assert kept(again) == kept(first)
    assert {"prepare_seconds", "measure_seconds"} <= set(again.results[0].metrics)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"only": ["hybrid"]}, "no benchmark 'hybrid'"),
        ({"devices": ["tpu"]}, "no device 'tpu'"),
        ({"only": ["pgvector_search"], "devices": ["gpu"]}, "does not run on gpu"),
        ({"run_id": "../elsewhere"}, "cannot name a folder"),
        ({"overrides": {"hybrid_ann.rows": 20_000_000, "hybrid_ann.dim": 4096}}, "GB free and this scale needs"),
    ],
)
def test_preflight_refuses_what_cannot_work(tmp_path, monkeypatch, changes, message):
    monkeypatch.setenv("NIGHTGATE_HOME", str(tmp_path))
    with pytest.raises(InputError, match=message):
        steps.preflight(**{"run_id": "x", "dag_id": "test", "scale": "smoke", **changes})


def test_a_home_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("NIGHTGATE_HOME", str(tmp_path / "file" / "home"))
    with pytest.raises(InputError, match="cannot be created.*set NIGHTGATE_HOME to a folder you can write to"):
        paths.home()


def test_without_grafana_the_upload_says_what_is_missing(monkeypatch):
    monkeypatch.setenv("GRAFANA_URL", "http://127.0.0.1:1")
    with pytest.raises(Unavailable, match="GRAFANA_TOKEN not set"):
        steps.upload("a-run")
