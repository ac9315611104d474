"""Each task calls one step, and says the step's errors in Airflow's words. Nothing is run: the steps are replaced."""

from __future__ import annotations

import os
from datetime import timedelta
from types import SimpleNamespace

import pytest
from airflow.sdk.exceptions import AirflowFailException, AirflowNotFoundException, AirflowSkipException

from nightgate import benchmarks, steps
from nightgate.errors import (
    ArtifactError,
    CacheFull,
    ChildError,
    InputError,
    NotMeasured,
    ObjectiveBreached,
    ServiceUnavailable,
    Unavailable,
)
from nightgate.orchestration import tasks
from nightgate.orchestration.params import trigger_params

STORE = "postgresql://someone@host/results"
PLAN = {"work": [("hybrid_ann", "cpu")], "settings": {"hybrid_ann": {}, "transcription": {}}}
STREET = ("prepare", "measure", "record", "gate")


@pytest.fixture
def connections(monkeypatch):
    """The Airflow connections there are: id → uri."""
    known = {"nightgate_results": "postgres://someone@host/results"}

    def get(name):
        if name not in known:
            raise AirflowNotFoundException(name)
        return SimpleNamespace(get_uri=lambda: known[name])

    monkeypatch.setattr(tasks, "Connection", SimpleNamespace(get=get))
    # set and then deleted, so that what a task puts there is gone after the test
    monkeypatch.setenv("PGVECTOR_URL", "")
    return known


@pytest.fixture
def calls(monkeypatch, connections):
    """The steps, replaced by what notes how they are called; `answers` is what they give or raise."""
    made, answers = [], {}

    def replaced(name):
        def step(*values, **named):
            made.append((name, *values, *([named] if named else [])))
            answer = answers.get(name)
            if isinstance(answer, BaseException):
                raise answer
            return answer

        return step

    for name in ("preflight", *STREET, "report", "upload"):
        monkeypatch.setattr(steps, name, replaced(name))
    monkeypatch.setattr(steps, "Plan", SimpleNamespace(model_validate=lambda plan: ("typed", plan)))
    return SimpleNamespace(made=made, answers=answers)


@pytest.fixture
def call(nightly):
    return lambda task, *values: nightly.get_task(task).python_callable(*values)


@pytest.mark.parametrize("error", [Unavailable("no device", "get one")])
def test_what_cannot_be_measured_here_is_skipped(error):
    with pytest.raises(AirflowSkipException, match="^no device. Next step: get one$"), tasks.translated():
        raise error


@pytest.mark.parametrize("kind", [InputError, ObjectiveBreached, ArtifactError, CacheFull])
def test_what_a_retry_cannot_mend_fails_for_good(kind):
    with pytest.raises(AirflowFailException, match="^it is so. Next step: mend it$"), tasks.translated():
        raise kind("it is so", "mend it")


@pytest.mark.parametrize("kind", [NotMeasured, ChildError, ServiceUnavailable, RuntimeError, KeyError])
def test_the_rest_is_raised_as_it_is_and_retried(kind):
    with pytest.raises(kind), tasks.translated():
        raise kind("once more")


def context(monkeypatch, conf, run_type="manual", **params):
    given = {key: param.value for key, param in trigger_params().items()} | params
    run = SimpleNamespace(run_id="a-run", conf=conf, run_type=run_type)
    found = {"params": given, "dag_run": run, "dag": SimpleNamespace(dag_id="nightly_benchmarks")}
    monkeypatch.setattr(tasks, "get_current_context", lambda: found)


@pytest.mark.parametrize(("run_type", "scheduled"), [("scheduled", True), ("manual", False), ("backfill", False)])
def test_preflight_hands_the_form_over(monkeypatch, call, calls, run_type, scheduled):
    calls.answers["preflight"] = SimpleNamespace(model_dump=lambda mode: {"dumped": mode})
    asked = {
        "scale": "smoke",
        "benchmarks": ["hybrid_ann"],
        "devices": ["gpu"],
        "require_gpu": True,
        "hybrid_ann.rows": 5000,
    }
    context(monkeypatch, asked, run_type, **asked)
    assert call("preflight") == {"dumped": "json"}
    assert calls.made == [
        ("preflight", "a-run", {
            "dag_id": "nightly_benchmarks", "scale": "smoke", "only": ["hybrid_ann"], "devices": ["gpu"],
            "overrides": {"hybrid_ann.rows": 5000}, "require_gpu": True, "scheduled": scheduled,
        }),
    ]  # fmt: skip


@pytest.mark.parametrize("conf", [None, {}])
def test_an_untouched_form_overrides_nothing(monkeypatch, call, calls, conf):
    calls.answers["preflight"] = SimpleNamespace(model_dump=lambda mode: {})
    context(monkeypatch, conf)
    call("preflight")
    ((_, _, asked),) = calls.made
    assert (asked["overrides"], asked["scale"], asked["only"]) == ({}, "full", list(benchmarks.SETTINGS))
    assert (asked["devices"], asked["require_gpu"]) == (["cpu", "gpu"], False)


@pytest.mark.parametrize(
    ("conf", "message"),
    [
        ({"scal": "smoke"}, r"has the key 'scal', which means nothing; did you mean 'scale'\?.*use scale, benchmarks"),
        (
            {"scale": "smoke", "benchmark": ["transcription"]},
            r"'benchmark', which means nothing; did you mean 'benchmarks'",
        ),
        ({"rows": 5000}, r"'rows', which means nothing.*a path of the suite such as hybrid_ann.rows"),
        ({"": 1}, "has the key ''"),
    ],
)
def test_a_conf_that_means_nothing_is_refused_before_anything_starts(monkeypatch, call, calls, conf, message):
    context(monkeypatch, conf, **conf)
    with pytest.raises(AirflowFailException, match=message):
        call("preflight")
    assert calls.made == []


def test_a_form_that_preflight_refuses_fails_for_good(monkeypatch, call, calls):
    calls.answers["preflight"] = InputError("there is no scale 'tiny'")
    context(monkeypatch, {})
    with pytest.raises(AirflowFailException, match="no scale 'tiny'"):
        call("preflight")


@pytest.mark.parametrize("step", STREET)
@pytest.mark.parametrize("where", ["hybrid_ann.gpu", "transcription.cpu", "pgvector_search.cpu"])
def test_what_is_not_in_the_plan_is_skipped(call, calls, step, where):
    values = (PLAN, {}) if step == "measure" else (PLAN,)
    with pytest.raises(AirflowSkipException, match=f"{where.replace('.', ' on ')} is not part of this run"):
        call(f"{where}.{step}", *values)
    assert calls.made == []


def test_each_task_of_the_street_calls_its_step(call, calls):
    calls.answers |= {"prepare": {"made": 1}, "measure": "/runs/a/file.json"}
    typed = ("typed", PLAN)
    assert call("hybrid_ann.cpu.prepare", PLAN) == {"made": 1}
    assert call("hybrid_ann.cpu.measure", PLAN, {"made": 1}) == "/runs/a/file.json"
    assert call("hybrid_ann.cpu.record", PLAN) is None
    assert call("hybrid_ann.cpu.gate", PLAN) is None
    here = ("hybrid_ann", "cpu")
    assert calls.made == [
        ("prepare", typed, *here), ("measure", typed, *here, {"made": 1}), ("record", typed, *here, STORE), ("gate", typed, *here, STORE),
    ]  # fmt: skip


def test_without_a_connection_there_is_no_store(call, calls, connections):
    connections.clear()
    call("hybrid_ann.cpu.record", PLAN)
    call("hybrid_ann.cpu.gate", PLAN)
    assert [made[-1] for made in calls.made] == [None, None]
    assert os.environ["PGVECTOR_URL"] == ""


@pytest.mark.parametrize(
    ("own", "expected"), [("", "postgresql://u@h/bench"), ("postgresql://mine", "postgresql://mine")]
)
def test_the_database_of_the_benchmark_comes_from_its_connection_unless_it_is_named(
    monkeypatch, call, calls, connections, own, expected
):
    connections["pgvector_default"] = "postgres://u@h/bench"
    monkeypatch.setenv("PGVECTOR_URL", own)
    call("hybrid_ann.cpu.prepare", PLAN)
    assert os.environ["PGVECTOR_URL"] == expected


@pytest.mark.parametrize(
    ("error", "raised"),
    [(ObjectiveBreached("too slow"), AirflowFailException), (NotMeasured("nobody knows"), NotMeasured)],
)
def test_a_gate_fails(call, calls, error, raised):
    calls.answers["gate"] = error
    with pytest.raises(raised, match=str(error)):
        call("hybrid_ann.cpu.gate", PLAN)


def test_the_report_gives_the_state_and_is_skipped_without_a_plan(call, calls):
    calls.answers["report"] = SimpleNamespace(state="inconclusive")
    assert call("report", PLAN) == "inconclusive"
    assert calls.made == [("report", ("typed", PLAN), STORE)]
    for nothing in (None, {}):
        with pytest.raises(AirflowSkipException, match="preflight refused the run"):
            call("report", nothing)
    calls.answers["report"] = ArtifactError("a file is torn")
    with pytest.raises(AirflowFailException, match="torn"):
        call("report", PLAN)


@pytest.mark.parametrize("state", ["breach", "invalid", "inconclusive"])
def test_only_a_pass_is_green(call, state):
    with pytest.raises(AirflowFailException, match=f"the verdict of this run is {state};"):
        call("verdict", state)
    assert call("verdict", "pass") is None


def test_without_a_verdict_a_run_is_not_green(call):
    with pytest.raises(AirflowFailException, match="there is no verdict"):
        call("verdict", None)


def test_the_upload_is_told_its_run_and_skips_without_grafana(monkeypatch, call, calls):
    context(monkeypatch, {})
    calls.answers["upload"] = ["one line"]
    assert call("upload_dashboards") == ["one line"]
    assert calls.made == [("upload", "a-run")]
    calls.answers["upload"] = Unavailable("GRAFANA_URL not set")
    with pytest.raises(AirflowSkipException):
        call("upload_dashboards")


@pytest.mark.parametrize(
    ("step", "slots", "priority", "retries", "minutes"),
    [("prepare", 1, 2, 1, 370), ("measure", "all", 1, 1, 370), ("record", 1, 3, 1, 5), ("gate", 1, 3, 0, 5)],
)
@pytest.mark.parametrize(("device", "whole"), [("cpu", 2), ("gpu", 1)])
def test_how_the_tasks_of_a_street_take_turns(nightly, step, slots, priority, retries, minutes, device, whole):
    """What is measured is stored and judged before the next measurement; preparing comes before measuring."""
    task = nightly.get_task(f"hybrid_ann.{device}.{step}")
    assert (task.pool, task.queue) == (device, device)
    assert "absolute" in repr(task.weight_rule).lower()
    assert (task.pool_slots, task.priority_weight, task.retries) == (
        whole if slots == "all" else slots,
        priority,
        retries,
    )
    assert task.execution_timeout == timedelta(minutes=minutes)
    assert task.retry_delay == timedelta(seconds=5) or not retries


def test_the_other_tasks_are_short(nightly):
    for name, retries in (("preflight", 0), ("report", 0), ("verdict", 0), ("upload_dashboards", 1)):
        task = nightly.get_task(name)
        assert (task.execution_timeout, task.retries) == (timedelta(minutes=5), retries), name
