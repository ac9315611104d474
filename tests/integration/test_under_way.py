"""What the store knows of the steps at work, and that a step says it and takes it back."""

from __future__ import annotations

import logging

import pytest
from support.nights import record, summary

from nightgate import following, progress
from nightgate.errors import ServiceUnavailable
from nightgate.following import followed_step
from nightgate.ledger import Ledger
from nightgate.measure.durations import Steps
from nightgate.measure.glancing import glance
from nightgate.planning import Plan
from nightgate.progress import Progress
from nightgate.results import under_way
from nightgate.results.store import Store

log = logging.getLogger("nightgate.some.room")


def plan(**more):
    return Plan(
        run_id="a-run", dag_id="nightly_benchmarks", scale="smoke", started_at="2026-03-01T02:00:00.000Z", settings={}, objectives={},
        require_gpu=False, scheduled=True, work=[("hybrid_ann", "cpu"), ("transcription", "cpu"), ("transcription", "gpu")],
        estimate_seconds={"hybrid_ann": {"cpu": Steps(30, 50)}, "transcription": {"cpu": Steps(20, 70), "gpu": Steps(1, 2)}},
        unserved={"gpu": "nobody serves it"}, **more,
    )  # fmt: skip


@pytest.fixture
def ledger(own_database):
    return Ledger(plan(), own_database)


def at_work(store):
    return under_way.of_runs(store, ["a-run", "another"]).get("a-run", [])


def test_a_step_is_seen_while_it_works_and_gone_when_it_ends(ledger, monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(progress, "EVERY", 0.0)
    store = ledger.store
    with followed_step(ledger, "hybrid_ann", "cpu", "measure"):
        (one,) = at_work(store)
        assert (one.task_id, one.progress.stage, one.progress.expected) == ("hybrid_ann.cpu.measure", "", 50.0)
        log.info("process 1 of 2")
        glance()
        (one,) = at_work(store)
        assert one.progress.stage == "process 1 of 2"
        assert one.silent < 5
        assert one.night == [["hybrid_ann", "cpu", 30.0, 50.0], ["transcription", "cpu", 20.0, 70.0]]
        (run,) = store.runs()
        assert (run.run_id, run.state, run.standing, run.suite, run.overrides) == (
            "a-run",
            None,
            "night",
            "nightly",
            {},
        )
    assert at_work(store) == []
    assert len(store.runs()) == 1


def test_what_measures_comes_before_what_prepares_and_a_step_that_fails_is_gone_too(ledger):
    store = ledger.store
    with pytest.raises(RuntimeError), followed_step(ledger, "hybrid_ann", "cpu", "prepare"):
        with followed_step(ledger, "transcription", "cpu", "confirm"):
            assert [one.step for one in at_work(store)] == ["confirm", "prepare"]
            assert at_work(store)[0].progress.expected is None
        raise RuntimeError
    assert at_work(store) == []


def test_the_run_that_was_seen_becomes_the_one_that_is_judged(ledger):
    told = following._Told(ledger, "hybrid_ann", "cpu", "measure")  # its process is killed: nobody takes it back
    told.tell(Progress("", 0.0, None))
    assert len(at_work(ledger.store)) == 1
    judged = summary(1, record(1)).model_copy(update={"run_id": "a-run"})
    ledger.store.save_summary(judged)
    (run,) = ledger.store.runs()
    assert (run.run_id, run.state) == ("a-run", "pass")
    assert at_work(ledger.store) == []


def test_a_store_that_is_away_hinders_nothing_and_is_asked_once(monkeypatch, caplog, tmp_path):
    monkeypatch.setattr(progress, "EVERY", 0.0)
    away = Ledger(plan(), f"postgresql://someone@/results?host={tmp_path}")
    with followed_step(away, "hybrid_ann", "cpu", "measure"):
        glance()
        glance()
    assert len([line for line in caplog.messages if "nobody sees how far this step is" in line]) == 1
    with pytest.raises(ServiceUnavailable):
        away.store.runs()


def test_without_a_store_only_the_log_says_it(monkeypatch, caplog):
    caplog.set_level(logging.INFO)
    monkeypatch.setattr(progress, "EVERY", 0.0)
    with followed_step(Ledger(plan(), None), "hybrid_ann", "cpu", "measure"):
        glance()
    assert caplog.messages[-1].startswith("hybrid_ann on cpu, measure: about ")


def test_a_database_without_tables_has_nothing_at_work(own_database):
    assert under_way.of_runs(Store(own_database), ["a-run"]) == {}
