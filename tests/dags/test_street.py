"""The tasks of one benchmark on its devices: what each calls, what it is part of, and how they take turns."""

from __future__ import annotations

import os
import socket
from datetime import timedelta
from types import SimpleNamespace

import pytest
from airflow.sdk import DAG, RetryAction
from airflow.sdk.exceptions import AirflowSkipException

from nightgate.errors import (
    Disturbed,
    InputError,
    NotMeasured,
    ObjectiveBreached,
    ServiceUnavailable,
    Unavailable,
    Undecided,
)
from nightgate.orchestration import tasks
from nightgate.orchestration.ending import Ended, EndedForGood, EndedForNow

STORE = "postgresql://someone@host/results"
PLAN = {"work": [["hybrid_ann", "cpu"]]}  # as it comes from JSON
STREET = ("prepare", "measure", "record", "confirm", "gate")


@pytest.fixture
def street():
    """Made anew for each test, and of one benchmark only."""
    with DAG("street", schedule=None) as made:
        made.gates = tasks.measured("hybrid_ann", ("cpu", "gpu"), tasks.preflight())
    return made


@pytest.fixture
def call(street, monkeypatch):
    """``call("cpu.measure", plan, …)``. The gate fetches the plan by itself."""

    pushed = {}

    def called(task, plan, *values):
        def pull(task_ids, key=None):
            if key is None:
                assert task_ids == "preflight"
                return plan
            return pushed.get((task_ids, key))

        def push(key, value):
            pushed[f"hybrid_ann.{task}", key] = value

        ti = SimpleNamespace(xcom_pull=pull, xcom_push=push, try_number=3)
        monkeypatch.setattr(
            tasks,
            "get_current_context",
            lambda: {"ti": ti, "dag_run": SimpleNamespace(dag_id="street", run_id="a run")},
        )
        given = () if task.endswith(".gate") else (plan, *values)
        return street.get_task(f"hybrid_ann.{task}").python_callable(*given)

    return called


@pytest.mark.parametrize("step", STREET)
@pytest.mark.parametrize(("device", "other"), [("cpu", "gpu"), ("gpu", "cpu")])
@pytest.mark.parametrize("plan", [["hybrid_ann"], ["transcription"], []])
def test_what_is_not_in_the_plan_is_skipped(call, calls, connections, step, device, other, plan):
    connections["pgvector_default"] = "postgres://u@h/bench"
    work = {"work": [[name, other if name == "hybrid_ann" else device] for name in plan]}
    with pytest.raises(AirflowSkipException, match=f"^hybrid_ann on {device} is not part of this run$"):
        call(f"{device}.{step}", work, *([{}] if step == "measure" else []))
    assert calls.made == []
    assert os.environ["PGVECTOR_URL"] == ""


@pytest.mark.parametrize("device", ["cpu", "gpu"])
def test_each_task_calls_its_step(call, calls, device):
    calls.answers |= {"prepare": {"made": 1}, "confirm": 2}
    plan = {"work": [["transcription", "cpu"], ["hybrid_ann", device]]}
    here = (("typed", plan), "hybrid_ann", device)
    assert call(f"{device}.prepare", plan) == {"made": 1}
    assert call(f"{device}.measure", plan, {"made": 1}) is None
    *_, attempt = calls.made[-1]
    assert (attempt.number, attempt.machine) == (3, socket.gethostname())
    assert call(f"{device}.record", plan) is None
    assert call(f"{device}.confirm", plan) == 2
    assert call(f"{device}.gate", plan) is None
    assert calls.made == [
        ("prepare", *here, STORE), ("measure", *here, {"made": 1}, STORE, attempt), ("record", *here, STORE, attempt),
        ("confirm", *here, STORE, attempt), ("gate", *here, STORE, attempt),
    ]  # fmt: skip


def test_every_try_of_a_measurement_is_another_and_the_last_one_counts(call, calls):
    call("cpu.measure", PLAN, {})
    call("cpu.measure", PLAN, {})
    call("cpu.gate", PLAN)
    first, second, judged = (made[-1] for made in calls.made)
    assert first.id != second.id
    assert judged == second


def test_what_never_began_is_judged_by_whatever_is_there(call, calls):
    call("cpu.gate", PLAN)
    assert calls.made[-1][-1] is None


@pytest.mark.parametrize("step", STREET)
def test_each_task_says_the_errors_of_its_step_in_airflows_words(call, calls, caplog, step):
    given = (PLAN, {}) if step == "measure" else (PLAN,)
    for error, raised in (
        (Unavailable("no device"), AirflowSkipException), (InputError("no such thing"), EndedForGood),
        (ObjectiveBreached("too slow"), EndedForGood), (NotMeasured("nobody knows"), Ended),
        (Undecided("near the limit"), AirflowSkipException), (Disturbed("a busy host"), EndedForNow),
        (ServiceUnavailable("a database is away"), Ended), (KeyError("a fault"), KeyError),
    ):  # fmt: skip
        if step in ("record", "gate") and type(error) in (NotMeasured, Disturbed):
            raised = EndedForGood  # measured again it is not by trying these again
        calls.answers[step] = error
        caplog.clear()
        with pytest.raises(raised) as caught:
            call(f"cpu.{step}", *given)
        assert caught.type is raised
        if issubclass(raised, Ended):
            assert caught.value.code == error.exit_code
            assert caplog.messages[0].endswith(str(error))


def test_the_log_of_a_gate_begins_with_the_sentence_and_the_address_and_shows_no_code(call, calls, caplog):
    calls.answers["gate"] = ObjectiveBreached("P95 is 31 ms, the limit < 30 ms.\nAnd recall is 0.8.")
    with pytest.raises(EndedForGood):
        call("cpu.gate", PLAN)
    first, second, third = caplog.records
    assert [first.levelname, first.message] == ["ERROR", "P95 is 31 ms, the limit < 30 ms."]
    assert second.message == "And recall is 0.8."
    assert third.message.endswith("/nightgate/runs/a%20run?dag=street")
    assert not any(record.exc_info for record in caplog.records)


@pytest.mark.parametrize(("strict", "raised"), [(True, EndedForGood), (False, AirflowSkipException)])
def test_an_undecided_objective_fails_its_gate_only_where_the_suite_is_strict(call, calls, caplog, strict, raised):
    calls.answers["gate"] = Undecided("P95 latency is 19.9 ms, the limit < 20 ms. Undecided for 3 nights.")
    with pytest.raises(raised):
        call("cpu.gate", {**PLAN, "strict": strict})
    assert caplog.records[0].message.endswith("for 3 nights.")
    assert caplog.records[0].levelname == ("ERROR" if strict else "WARNING")


def test_without_a_connection_there_is_no_store(call, calls, connections):
    connections.clear()
    call("cpu.record", PLAN)
    call("cpu.gate", PLAN)
    assert [made[-2] for made in calls.made] == [None, None]
    assert os.environ["PGVECTOR_URL"] == ""


@pytest.mark.parametrize(
    ("own", "expected"), [("", "postgresql://u@h/bench"), ("postgresql://mine", "postgresql://mine")]
)
def test_the_database_of_the_benchmark_comes_from_its_connection_unless_it_is_named(
    monkeypatch, call, calls, connections, own, expected
):
    connections["pgvector_default"] = "postgres://u@h/bench"
    monkeypatch.setenv("PGVECTOR_URL", own)
    call("cpu.prepare", PLAN)
    assert os.environ["PGVECTOR_URL"] == expected


@pytest.mark.parametrize(
    ("step", "slots", "priority", "retries", "minutes"),
    [
        ("prepare", 1, 2, 7, 370), ("measure", "all", 1, 7, 370), ("record", 1, 3, 7, 5), ("confirm", "all", 3, 7, 370),
        ("gate", 1, 3, 7, 5),
    ],
)  # fmt: skip
@pytest.mark.parametrize(("device", "whole"), [("cpu", 2), ("gpu", 1)])
def test_how_the_tasks_of_a_street_take_turns(street, step, slots, priority, retries, minutes, device, whole):
    """What is measured is stored, confirmed and judged before the next measurement; preparing comes before measuring."""
    task = street.get_task(f"hybrid_ann.{device}.{step}")
    assert (task.pool, task.queue) == (device, device)
    assert task.weight_rule == "absolute", "the priority is its own, not that of what follows"
    assert (task.pool_slots, task.priority_weight, task.retries) == (
        whole if slots == "all" else slots,
        priority,
        retries,
    )
    assert task.execution_timeout == timedelta(minutes=minutes)
    assert task.retry_delay == timedelta(seconds=5)


def test_the_street_in_its_order_and_what_is_handed_on(street):
    found = {task.task_id: (task.upstream_task_ids, inputs(task)) for task in street.tasks if "." in task.task_id}
    assert found == {
        f"hybrid_ann.{device}.{step}": ({f"{here}.{name}" if name != "preflight" else name for name in before}, given)
        for device in ("cpu", "gpu")
        for here in [f"hybrid_ann.{device}"]
        for step, before, given in (
            ("prepare", ["preflight"], ["preflight"]), ("measure", ["preflight", "prepare"], ["preflight", f"{here}.prepare"]),
            ("record", ["preflight", "measure"], ["preflight"]), ("confirm", ["preflight", "record"], ["preflight"]),
            ("gate", ["record", "confirm"], []),
        )
    }  # fmt: skip
    assert [gate.operator.task_id for gate in street.gates] == ["hybrid_ann.cpu.gate", "hybrid_ann.gpu.gate"]


def inputs(task):
    """Of which tasks the results are handed to this one, in the order of its parameters."""
    return [argument.operator.task_id for argument in task.op_args]


def test_a_busy_host_is_tried_again_after_the_time_that_is_asked_for(monkeypatch):
    monkeypatch.setenv("NIGHTGATE_AGAIN_AFTER", "77")
    with DAG("street", schedule=None) as made:
        tasks.measured("hybrid_ann", ("cpu",), tasks.preflight())
    task = made.get_task("hybrid_ann.cpu.confirm")
    busy = task.retry_policy.evaluate(EndedForNow(3), 1, 3)
    assert (busy.action, busy.retry_delay) == (RetryAction.RETRY, timedelta(seconds=77))
    lost = task.retry_policy.evaluate(Ended(3), 1, 3)
    assert (lost.action, lost.retry_delay) == (RetryAction.DEFAULT, None), (
        "one that no worker got waits for no quiet host"
    )
    assert task.retry_policy.evaluate(EndedForGood(1), 1, 3).action is RetryAction.FAIL


def test_a_gate_follows_a_confirm_that_had_nothing_to_do_and_no_record_that_was_skipped(street):
    """One success and no failure among what comes before it: preflight, a success always, must not be of these."""
    gate = street.get_task("hybrid_ann.cpu.gate")
    assert gate.trigger_rule == "none_failed_min_one_success"
    assert gate.upstream_task_ids == {"hybrid_ann.cpu.record", "hybrid_ann.cpu.confirm"}
    others = {task.trigger_rule for task in street.tasks if not task.task_id.endswith(".gate")}
    assert others == {"all_success"}
