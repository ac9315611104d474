"""Each task calls one step, and says the step's errors in Airflow's words. Nothing is run: the steps are replaced."""

from __future__ import annotations

import os
import re
from datetime import timedelta
from types import SimpleNamespace

import pytest
from airflow.sdk.exceptions import AirflowSkipException, DownstreamTasksSkipped

from nightgate.errors import ArtifactError, InputError, Unavailable
from nightgate.orchestration import queues, tasks
from nightgate.orchestration.ending import EndedForGood
from nightgate.orchestration.params import trigger_params
from nightgate.record import Attempt, Host, Summary

STORE = "postgresql://someone@host/results"
PLAN = {"work": [["hybrid_ann", "cpu"]]}


@pytest.fixture
def call():
    return lambda task, *values: getattr(tasks, task).function(*values)


def planned(work=(), **facts):
    dumped = {**facts, "work": list(work), "unserved": {}}
    return SimpleNamespace(work=[tuple(pair) for pair in work], dumped=dumped, model_dump=lambda mode: dumped)


def context(monkeypatch, conf, run_type="manual", dag_id="nightly_benchmarks", suite=None, task_ids=(), **params):
    given = {key: param.value for key, param in trigger_params(suite).items()} | params
    run = SimpleNamespace(run_id="a-run", conf=conf, run_type=run_type)
    pushed = {}
    ti = SimpleNamespace(xcom_push=pushed.__setitem__)
    found = {"params": given, "dag_run": run, "dag": SimpleNamespace(dag_id=dag_id, task_ids=task_ids), "ti": ti}
    monkeypatch.setattr(tasks, "get_current_context", lambda: found)
    return pushed


@pytest.mark.parametrize(("run_type", "scheduled"), [("scheduled", True), ("manual", False), ("backfill", False)])
def test_preflight_hands_the_form_over(monkeypatch, call, calls, run_type, scheduled):
    calls.answers["preflight"] = planned(dumped="json")
    asked = {
        "scale": "smoke",
        "benchmarks": ["hybrid_ann"],
        "devices": ["gpu"],
        "require_gpu": True,
        "hybrid_ann.rows": 5000,
    }
    context(monkeypatch, asked, run_type, **asked)
    assert call("preflight") == {"dumped": "json", "work": [], "unserved": {}}
    assert calls.made == [
        ("preflight", "a-run", {
            "dag_id": "nightly_benchmarks", "suite_file": None, "scale": "smoke", "only": ["hybrid_ann"], "devices": ["gpu"],
            "overrides": {"hybrid_ann.rows": 5000}, "require_gpu": True, "scheduled": scheduled,
        }),
    ]  # fmt: skip


def test_what_is_not_planned_waits_in_no_queue(monkeypatch, call, calls):
    """With nobody on the queue gpu each of its tasks was queued for half an hour, one after the other, to be skipped then."""
    plan = planned([["hybrid_ann", "cpu"], ["transcription", "gpu"]])
    calls.answers["preflight"] = plan
    streets = [f"{name}.{device}" for name in ("hybrid_ann", "transcription") for device in ("cpu", "gpu")]
    task_ids = ["preflight", "report", *(f"{street}.{step}" for street in streets for step in ("prepare", "gate"))]
    pushed = context(monkeypatch, {}, task_ids=task_ids)
    with pytest.raises(DownstreamTasksSkipped) as skipped:
        call("preflight")
    assert skipped.value.tasks == [
        "hybrid_ann.gpu.prepare", "hybrid_ann.gpu.gate", "transcription.cpu.prepare", "transcription.cpu.gate",
    ]  # fmt: skip
    assert pushed == {"return_value": plan.dumped}


def test_what_no_worker_would_take_waits_in_no_queue_either(monkeypatch, call, calls):
    calls.answers["preflight"] = planned([["hybrid_ann", "cpu"], ["hybrid_ann", "gpu"]])
    monkeypatch.setattr(queues, "unserved", lambda asked: sorted(asked & {"gpu", "tpu"}))
    task_ids = [f"hybrid_ann.{device}.{step}" for device in ("cpu", "gpu") for step in ("prepare", "gate")]
    context(monkeypatch, {}, task_ids=task_ids)
    with pytest.raises(DownstreamTasksSkipped) as skipped:
        call("preflight")
    assert skipped.value.tasks == ["hybrid_ann.gpu.prepare", "hybrid_ann.gpu.gate"]
    assert calls.made[-1][-1] == {"gpu": "gpu"}


@pytest.mark.parametrize("conf", [None, {}])
def test_an_untouched_form_overrides_nothing(monkeypatch, call, calls, conf):
    calls.answers["preflight"] = planned()
    context(monkeypatch, conf)
    call("preflight")
    ((_, _, asked),) = calls.made
    assert (asked["overrides"], asked["scale"], asked["only"]) == (
        {},
        "smoke",
        ["transcription", "hybrid_ann", "pgvector_search"],
    )
    assert (asked["devices"], asked["require_gpu"]) == (["cpu", "gpu"], False)


@pytest.mark.parametrize(
    ("conf", "message"),
    [
        ({"scal": "smoke"}, r"has the key 'scal', which means nothing; did you mean 'scale'\?.*use scale, benchmarks"),
        (
            {"scale": "smoke", "benchmark": ["transcription"]},
            r"'benchmark', which means nothing; did you mean 'benchmarks'",
        ),
        ({"rows": 5000}, r"'rows', which means nothing.*a path of the suite such as hybrid_ann\.controls"),
        ({"": 1}, "has the key ''"),
    ],
)
def test_a_conf_that_means_nothing_is_refused_before_anything_starts(monkeypatch, call, calls, caplog, conf, message):
    context(monkeypatch, conf, **conf)
    with pytest.raises(EndedForGood) as ended:
        call("preflight")
    assert (calls.made, ended.value.code) == ([], 2)
    assert re.search(f"^bad input: .*{message}", caplog.messages[-1])


def test_a_further_nightly_has_a_suite_and_run_ids_of_its_own(monkeypatch, call, calls, tmp_path):
    """Airflow calls the scheduled runs of all DAGs of one hour the same."""
    calls.answers["preflight"] = planned()
    own = tmp_path / "own.yaml"
    own.write_text("schema_version: 1\nhybrid_ann: {variants: [hybrid], rows: 7000}\n")
    context(monkeypatch, {}, dag_id="own_benchmarks", suite=own, **{"hybrid_ann.rows": 8000})
    call("preflight", str(own))
    ((_, run_id, asked),) = calls.made
    assert run_id == "own_benchmarks.a-run"
    assert (asked["dag_id"], asked["suite_file"], asked["overrides"]) == (
        "own_benchmarks",
        own,
        {"hybrid_ann.rows": 8000},
    )


def test_a_form_that_preflight_refuses_fails_for_good(monkeypatch, call, calls, caplog):
    calls.answers["preflight"] = InputError("there is no scale 'tiny'")
    context(monkeypatch, {})
    with pytest.raises(EndedForGood):
        call("preflight")
    assert caplog.messages == ["bad input: there is no scale 'tiny'"]


@pytest.fixture
def pushed():
    return {}


@pytest.fixture
def tries(monkeypatch, pushed):
    """What the measurements of a run have pushed, by the id of their task."""
    found = {}
    ti = SimpleNamespace(xcom_pull=lambda task_ids, key: found.get((task_ids, key)), xcom_push=pushed.__setitem__)
    run = SimpleNamespace(dag_id="a_dag", run_id="a run")
    events = {tasks.RESULTS: SimpleNamespace(extra=None)}
    monkeypatch.setattr(tasks, "get_current_context", lambda: {"ti": ti, "dag_run": run, "outlet_events": events})
    pushed["event"] = events[tasks.RESULTS]
    return found


def summary(state):
    return Summary(
        run_id="a-run", dag_id="a_dag", suite="nightly", scale="smoke", state=state, started_at="", finished_at="", results=[],
        host=Host(fingerprint="abc", cpu="a cpu", cores=2, memory_bytes=2**34),
    )  # fmt: skip


def test_the_report_gives_the_state_and_is_skipped_without_a_plan(call, calls, caplog, tries, pushed):
    calls.answers["report"] = summary("inconclusive")
    assert call("report", PLAN) == "inconclusive"
    assert pushed["note"].splitlines()[0] == "0 objectives are undecided."
    assert pushed["event"].extra == {
        "run_id": "a-run",
        "dag_id": "a_dag",
        "suite": "nightly",
        "watch": PLAN.get("watch", {}),
    }
    assert "[All of it on the board](" in pushed["note"] and "/nightgate/runs/a%20run?dag=a_dag)" in pushed["note"]
    assert calls.made == [("report", ("typed", PLAN), STORE, {tuple(work): None for work in PLAN["work"]})]
    last = Attempt(id="a1", machine="m", number=2)
    tries["hybrid_ann.cpu.measure", "attempt"] = last.model_dump(mode="json")
    call("report", PLAN)
    assert calls.made[-1][-1]["hybrid_ann", "cpu"] == last
    for nothing in (None, {}):
        with pytest.raises(AirflowSkipException, match="preflight refused the run"):
            call("report", nothing)
    calls.answers["report"] = ArtifactError("a file is torn")
    with pytest.raises(EndedForGood):
        call("report", PLAN)
    assert caplog.messages == ["a file is torn"]


def test_the_report_knows_the_database_in_which_something_may_be_left(call, calls, connections, tries):
    connections["pgvector_default"] = "postgres://u@h/bench"
    calls.answers["report"] = summary("pass")
    with pytest.raises(AirflowSkipException, match="^preflight refused the run, so there is nothing to report$"):
        call("report", None)
    assert os.environ["PGVECTOR_URL"] == ""
    call("report", PLAN)
    assert os.environ["PGVECTOR_URL"] == "postgresql://u@h/bench"


@pytest.mark.parametrize("strict", [True, False])
@pytest.mark.parametrize("state", ["breach", "invalid", "inconclusive", ""])
def test_only_a_pass_is_green(call, caplog, state, strict):
    """What is undecided is skipped, which no run fails by, and which nobody takes for a pass."""
    amber = state == "inconclusive" and not strict
    with pytest.raises(AirflowSkipException if amber else EndedForGood) as ended:
        call("verdict", state, {**PLAN, "strict": strict})
    if amber:
        message = "this run is undecided: nothing is breached, and not of every objective is known that it holds; "
        assert str(ended.value).startswith(message)
    else:
        assert ended.value.code == (1 if state == "breach" else 3)
        assert caplog.messages == [f"the verdict of this run is {state}; its report and the log of its gates say why"]
    assert call("verdict", "pass", {**PLAN, "strict": strict}) is None


def test_without_a_verdict_a_run_is_not_green(call, caplog):
    with pytest.raises(EndedForGood) as ended:
        call("verdict", None, None)
    assert ended.value.code == 3
    assert caplog.messages == [
        "there is no verdict: the run was refused or ended before it had a plan, or its report failed"
    ]


def test_the_upload_is_told_its_run_and_skips_without_grafana(monkeypatch, call, calls):
    context(monkeypatch, {})
    calls.answers["upload"] = ["one line"]
    assert call("upload_dashboards") == ["one line"]
    assert calls.made == [("upload", "a-run")]
    calls.answers["upload"] = Unavailable("GRAFANA_URL not set")
    with pytest.raises(AirflowSkipException):
        call("upload_dashboards")


def test_the_other_tasks_are_short(nightly):
    for name, retries in (("preflight", 0), ("report", 7), ("verdict", 0), ("upload_dashboards", 1)):
        task = nightly.get_task(name)
        assert (task.execution_timeout, task.retries) == (timedelta(minutes=5), retries), name
