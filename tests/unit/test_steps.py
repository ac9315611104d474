"""The street, walked with a benchmark that measures nothing: what is left behind, and what is raised."""

from __future__ import annotations

import socket
from contextlib import nullcontext
from types import SimpleNamespace

import numpy as np
import pytest
from support.memory_store import MemoryStore
from support.specs import add
from support.stand_in import stand_in

from nightgate import judged, ledger, paths, steps
from nightgate.artifacts import Cache
from nightgate.environments import lock
from nightgate.errors import (
    ArtifactError,
    NotMeasured,
    ObjectiveBreached,
    ServiceUnavailable,
    Unavailable,
    Undecided,
)
from nightgate.facts import Canary, Noise
from nightgate.measure import host
from nightgate.record import Look, Record
from nightgate.results import files

STORE = "postgresql://store"


@pytest.fixture(autouse=True)
def quick(monkeypatch):
    """The canary and the charts take most of the time, and are of no interest here."""
    monkeypatch.setattr(steps, "render_report", lambda summary, folder: f"{summary.state} in {folder.name}")


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
    stand_in(monkeypatch, fake)
    return fake


def measured(variant, latency=0.001, looks=1, **facts):
    given = {"benchmark": "hybrid_ann", "device": "cpu", "status": "measured", "settings": {"variants": ["hybrid"]}}
    record = Record(**{**given, "variant": variant, **facts})
    if record.status == "measured":
        add(record, "latency_p95", latency, 1000, (latency * 0.9, latency * 1.1))
        add(record, "recall_at_100", 0.96, 200, (0.95, 0.97))
        record.looks = [Look(started_at="later", metrics=record.metrics) for _ in range(looks)]
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
    steps.measure(plan, "hybrid_ann", "cpu", prepared)
    assert seen == [[], []], "what is gone is prepared once more"


def test_a_good_night(plan, benchmark):
    walk(plan)
    summary = steps.report(plan, None)
    assert summary.state == "pass"
    assert [r.variant for r in summary.results] == ["hybrid", "hnsw", "ivfpq_refine"], (
        "gated first, in the suite's order"
    )
    assert [len(r.objectives) for r in summary.results] == [2, 0, 0], "controls do not gate"
    assert all(r.facts.noise.canary_before for r in summary.results)
    assert {p.name for p in paths.run_dir("a-run").iterdir()} == {
        "summary.json", "hybrid_ann-cpu.json", "hybrid_ann-cpu.npz", "report.html", "summary.md",
    }  # fmt: skip
    assert files.report_path("a-run").read_text() == "pass in a-run"


def test_a_breach_is_recorded_before_it_fails(plan, benchmark):
    benchmark.measure = lambda *_: [measured("hybrid", latency=0.5), measured("hnsw"), measured("ivfpq_refine")]
    with pytest.raises(
        ObjectiveBreached, match=r"hybrid on cpu: P95 latency is 500 ms .*, the limit < 20 ms, 2,400 % past it\."
    ):
        walk(plan)
    assert steps.report(plan, None).state == "breach"


def test_a_variant_that_stands_in_for_a_gated_one_gates(plan, benchmark):
    instead = {"settings": {"variants": ["faiss_hnsw"]}}
    benchmark.measure = lambda *_: [
        measured("faiss_hnsw", latency=0.5, **instead), measured("hybrid", status="skipped", reason="not here", **instead),
    ]  # fmt: skip
    with pytest.raises(ObjectiveBreached, match="faiss_hnsw on cpu: P95 latency is 500 ms"):
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


def test_what_this_host_cannot_measure_is_skipped_unless_it_is_required(plan, benchmark):
    def absent(*_):
        raise Unavailable("no device")

    benchmark.prepare = absent
    with pytest.raises(Unavailable):
        walk(plan)
    assert {r.status for r in files.read_records("a-run")} == {"skipped"}
    assert steps.report(plan, None).state == "invalid", "a night that measured nothing is no pass"

    with pytest.raises(Unavailable):
        steps.prepare(plan.model_copy(update={"require_gpu": True}), "hybrid_ann", "cpu")


def absent(*_):
    raise Unavailable("no device", "get one")


def test_a_gpu_that_is_required_fails_and_is_judged(plan, benchmark, without_gpu):
    benchmark.prepare = absent
    required = plan.model_copy(update={"require_gpu": True, "work": [("hybrid_ann", "gpu")]})
    with pytest.raises(NotMeasured, match=r"^a GPU is required: no device. Next step: get one$"):
        steps.prepare(required, "hybrid_ann", "gpu")
    with pytest.raises(NotMeasured, match=r"hybrid on gpu: no Recall@100\. A GPU is required: no device"):
        steps.gate(required, "hybrid_ann", "gpu", None)
    summary = steps.report(required, None)
    assert summary.state == "invalid"
    assert [(r.variant, r.device, r.status, r.reason, len(r.objectives)) for r in summary.results] == [
        (variant, "gpu", "failed", "a GPU is required: no device. Next step: get one", objectives)
        for variant, objectives in (("hybrid", 2), ("hnsw", 0), ("ivfpq_refine", 0))
    ]


@pytest.fixture
def without_gpu(monkeypatch):
    described = host.describe().model_copy(update={"gpu": None})
    monkeypatch.setattr(host, "describe", lambda: described)


@pytest.fixture
def both(plan):
    """The same plan, on both devices."""
    return plan.model_copy(update={"work": [("hybrid_ann", "cpu"), ("hybrid_ann", "gpu")]})


def test_a_stopped_run_is_no_verdict_about_a_device_the_host_has_not(both, benchmark, without_gpu):
    """One such run left "invalid" on the GPU's gauge for thirty days, on a host without one."""
    walk(both)
    for _ in range(2):  # whoever ended it and the task `report` may both close it
        summary = steps.report(both, None)
        assert summary.state == "invalid", "what was asked for and not looked at is no pass"
        found = {(r.variant, r.device): (r.status, [o.verdict for o in r.objectives]) for r in summary.results}
        assert found["hybrid", "cpu"] == ("measured", ["pass", "pass"])
        assert found["hybrid", "gpu"] == ("failed", [])


@pytest.mark.parametrize(("seen", "what"), [("gpu", "NVIDIA H100"), ("gpu_fault", "the driver does not work")])
def test_a_stopped_run_is_a_verdict_about_a_device_the_host_has(both, benchmark, without_gpu, monkeypatch, seen, what):
    described = host.describe().model_copy(update={seen: what})
    monkeypatch.setattr(host, "describe", lambda: described)
    walk(both)
    (gated, *_) = [r for r in steps.report(both, None).results if r.device == "gpu"]
    assert [o.verdict for o in gated.objectives] == ["invalid", "invalid"]


def test_a_night_whose_gpu_is_skipped_passes(both, benchmark):
    walk(both)
    benchmark.prepare = absent
    with pytest.raises(Unavailable):
        steps.prepare(both, "hybrid_ann", "gpu")
    summary = steps.report(both, None)
    assert summary.state == "pass"
    assert {r.reason for r in summary.results if r.device == "gpu"} == {"no device. Next step: get one"}


def test_a_gated_variant_that_is_skipped_beside_measured_ones_does_not_pass(plan, benchmark):
    benchmark.measure = lambda *_: [
        measured("hybrid", status="skipped", reason="not installed"), measured("hnsw"), measured("ivfpq_refine"),
    ]  # fmt: skip
    with pytest.raises(NotMeasured, match="hybrid was not measured: not installed"):
        steps.measure(plan, "hybrid_ann", "cpu", steps.prepare(plan, "hybrid_ann", "cpu"))
    with pytest.raises(NotMeasured, match=r"no Recall@100\. Not installed\."):
        steps.gate(plan, "hybrid_ann", "cpu", None)
    assert steps.report(plan, None).state == "invalid"


def test_a_gate_does_not_let_an_undecided_objective_pass(plan, benchmark):
    benchmark.measure = lambda *_: [measured("hybrid", latency=0.0195)]
    with pytest.raises(
        NotMeasured, match=r"is 19.5 ms .*, the limit < 20 ms\. Not known\. .*; it was to be measured once more: "
    ):
        walk(plan)
    assert steps.report(plan, None).state == "invalid", "it was not confirmed, so nobody has looked well enough"
    benchmark.measure = lambda *_: [measured("hybrid", latency=0.0195, looks=3)]
    with pytest.raises(Undecided, match="P95 latency is 19.5 ms .*, the limit < 20 ms. Undecided."):
        walk(plan)
    assert steps.report(plan, None).state == "inconclusive"


def test_a_gate_without_anything_to_judge_does_not_pass(plan, benchmark):
    benchmark.measure = lambda *_: [measured("hybrid", gated=False)]
    with pytest.raises(NotMeasured, match="^hybrid_ann on cpu was not measured$"):
        walk(plan)


def test_a_gate_judges_its_own_measurement_only(both, benchmark):
    walk(both)
    files.write_records("a-run", "hybrid_ann", "gpu", [measured("hybrid", latency=0.5, device="gpu")])
    steps.gate(both, "hybrid_ann", "cpu", None)
    with pytest.raises(ObjectiveBreached, match="hybrid on gpu"):
        steps.gate(both, "hybrid_ann", "gpu", None)


def test_a_measurement_that_breaks_leaves_a_failed_record_of_every_variant(plan, benchmark):
    def broken(*_):
        raise ValueError("it broke")

    benchmark.measure = broken
    with pytest.raises(ValueError, match="it broke"):
        walk(plan)
    found = files.read_records("a-run")
    assert [(r.variant, r.status, r.reason) for r in found] == [
        (variant, "failed", "measure failed: it broke") for variant in ("hnsw", "hybrid", "ivfpq_refine")
    ]
    assert all(r.host and r.started_at == r.finished_at and r.settings == plan.settings["hybrid_ann"] for r in found)


def test_how_long_the_stages_took_is_in_every_record_that_was_measured(plan, benchmark, monkeypatch):
    ticks = iter([10.0, 12.5, 20.0, 26.0])
    monkeypatch.setattr(steps, "time", SimpleNamespace(monotonic=lambda: next(ticks)))
    benchmark.measure = lambda *_: [measured("hybrid"), measured("hnsw", status="failed", reason="it crashed")]
    prepared = steps.prepare(plan, "hybrid_ann", "cpu")
    assert prepared == {
        "ready": True, "prepare_seconds": 2.5, "prepared_at": f"{socket.gethostname()}:{paths.cache_dir()}",
    }  # fmt: skip
    monkeypatch.setattr(
        steps.host, "quiet", lambda home, servers: nullcontext(Noise(canary_before=Canary(seconds=0.02, spread=0.1)))
    )
    steps.measure(plan, "hybrid_ann", "cpu", prepared)
    failed, good = files.read_records("a-run")
    assert {name: good.metrics[name].value for name in ("prepare_seconds", "measure_seconds")} == {
        "prepare_seconds": 2.5, "measure_seconds": 6.0,
    }  # fmt: skip
    assert failed.metrics == {}
    assert good.facts.noise == failed.facts.noise == Noise(canary_before=Canary(seconds=0.02, spread=0.1))


@pytest.fixture
def store(monkeypatch):
    monkeypatch.setattr(ledger, "Store", MemoryStore)
    monkeypatch.setattr(ledger.restore, "fetch", lambda store, run_id: [])
    monkeypatch.setattr(judged, "pasts_of", lambda *_, **__: {})
    for name, value in (("made", []), ("kept", {}), ("away", None), ("level", "night")):
        monkeypatch.setattr(MemoryStore, name, value)
    return MemoryStore


@pytest.fixture
def sent(monkeypatch):
    found = []
    monkeypatch.setattr(steps.statsd, "send", lambda records: found.append([r.variant for r in records]))
    return found


def test_records_and_summary_are_told_by_their_suite(plan, benchmark):
    """Also those that are left for what was never measured."""
    benchmark.measure = lambda *_: [measured("hybrid")]
    own = plan.model_copy(update={"suite": "own", "work": [("hybrid_ann", "cpu"), ("hybrid_ann", "gpu")]})
    steps.measure(own, "hybrid_ann", "cpu", steps.prepare(own, "hybrid_ann", "cpu"))
    summary = steps.report(own, None)
    assert {(record.device, record.suite) for record in summary.results} == {("cpu", "own"), ("gpu", "own")}
    assert (summary.suite, files.read_summary("a-run").suite) == ("own", "own")


def test_what_is_stored_and_when(plan, benchmark, store, sent):
    benchmark.measure = lambda settings, device, prepared, samples: (
        np.savez(samples, x=np.zeros(3)) or [measured("hybrid")]
    )
    steps.measure(plan, "hybrid_ann", "cpu", steps.prepare(plan, "hybrid_ann", "cpu", STORE), STORE)
    where = ("records", "a-run", "test", "smoke", ["hybrid"])
    named = {"suite": "nightly", "standing": "ad-hoc", "overrides": plan.overrides}
    first = {**named, "environment": lock.here()}
    assert store.made == [(*where, [0], ["hybrid_ann-cpu.npz"], True, first)], "as soon as it is measured"
    store.made.clear()
    steps.record(plan, "hybrid_ann", "cpu", STORE)
    assert store.made == []
    steps.gate(plan, "hybrid_ann", "cpu", STORE)
    assert store.made == [(*where, [2], [], False, {**named, "environment": None})]
    store.made.clear()
    steps.report(plan, STORE)
    assert store.made == [("summary", "a-run", "pass", ["report.html", "summary.md"])]


def test_what_is_measured_while_the_store_is_away_is_stored_by_the_next_step(plan, benchmark, store, sent, caplog):
    benchmark.measure = lambda *_: [measured("hybrid")]
    store.away = ServiceUnavailable("the results database is away")
    attempt = steps.measure(plan, "hybrid_ann", "cpu", steps.prepare(plan, "hybrid_ann", "cpu", STORE), STORE)
    assert "the results database is away; what was measured is in " in caplog.text
    with pytest.raises(ServiceUnavailable, match="away"):
        steps.record(plan, "hybrid_ann", "cpu", STORE, attempt)
    store.away = None
    steps.record(plan, "hybrid_ann", "cpu", STORE, attempt)
    assert [made[:2] for made in store.made] == [("records", "a-run")]
    assert sent == []


def test_without_a_store_the_results_stay_in_the_files(plan, benchmark, store, sent, caplog):
    walk(plan)
    steps.record(plan, "hybrid_ann", "cpu", None)
    assert store.made == []
    assert "there is no Airflow connection nightgate_results" in caplog.text


@pytest.mark.parametrize(
    ("scheduled", "overrides", "level", "counts"),
    [
        (True, {}, "night", True), (False, {}, "night", False), (False, {}, "stand-in", True), (True, {"a": 1}, "night", False),
        (False, {"a": 1}, "stand-in", False), (True, {}, None, True), (False, {}, None, True), (False, {"a": 1}, None, False),
    ],
)  # fmt: skip
def test_only_what_counts_reaches_the_gauges_of_statsd(
    plan, benchmark, store, sent, monkeypatch, scheduled, overrides, level, counts
):
    monkeypatch.setattr(store, "level", level)
    walk(plan)
    ours = plan.model_copy(update={"scheduled": scheduled, "overrides": overrides})
    steps.record(ours, "hybrid_ann", "cpu", STORE if level else None)
    assert sent == ([["hnsw", "hybrid", "ivfpq_refine"]] if counts else [])


def test_a_breach_is_stored_before_it_fails(plan, benchmark, store):
    benchmark.measure = lambda *_: [measured("hybrid", latency=0.5)]
    steps.measure(plan, "hybrid_ann", "cpu", steps.prepare(plan, "hybrid_ann", "cpu"))
    with pytest.raises(ObjectiveBreached):
        steps.gate(plan, "hybrid_ann", "cpu", STORE)
    assert store.made[-1][0] == "records"
    assert [o.verdict for o in files.read_records("a-run")[0].objectives] == ["pass", "breach"]
    assert [o.verdict for o in store.kept["a-run", "hybrid_ann", "cpu"][0].objectives] == ["pass", "breach"]


def test_what_a_run_counts_for_is_in_its_summary(plan, benchmark):
    walk(plan)
    summary = steps.report(plan.model_copy(update={"scheduled": True}), None)
    assert (summary.scheduled, summary.overrides) == (True, plan.overrides)
    assert plan.overrides == {
        "benchmarks": ["hybrid_ann"], "devices": ["cpu"], "hybrid_ann.controls": ["hnsw", "ivfpq_refine"],
    }  # fmt: skip
    assert summary.standing == "ad-hoc"
    assert (summary.started_at, summary.dag_id, summary.scale) == (plan.started_at, "test", "smoke")
    assert files.read_summary("a-run") == summary


def test_every_step_can_be_walked_again(plan, benchmark):
    walk(plan)
    first = steps.report(plan, None)
    walk(plan)
    again = steps.report(plan, None)

    def kept(summary):  # all but what times itself
        own = {
            "detail": True, "attempt": True, "finished_at": True, "metrics": {"prepare_seconds", "measure_seconds"}, "facts": {"noise"},
        }  # fmt: skip
        return [r.model_dump(exclude=own) for r in summary.results]

    assert kept(again) == kept(first)
    assert {"prepare_seconds", "measure_seconds"} <= set(again.results[0].metrics)
