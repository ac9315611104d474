"""The DAG of the watch: what starts it, what it asks of, and what its tasks do with the answers."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
from airflow.sdk import TriggerRule
from airflow.sdk.exceptions import AirflowSkipException, DownstreamTasksSkipped

from nightgate import watching
from nightgate.orchestration import tasks, watch_tasks
from nightgate.orchestration.ending import EndedForGood
from nightgate.results.beside import SeriesKey

NIGHTS = [{"run_id": "night-7", "alerts_a_year": 1.0, "rounds": 3, "pairs": [["hybrid_ann", "cpu"]]}]


@pytest.fixture
def dag(bag):
    return bag.dags["regression_watch"]


@pytest.fixture
def context(monkeypatch, dag, connections):
    """What a task is given; ``events`` are those of the asset, ``params`` those of the form."""
    pushed = {}
    ti = SimpleNamespace(xcom_push=pushed.__setitem__)
    found = {
        "params": {"run_id": "", "alerts_a_year": None, "rounds": None},
        "dag": dag,
        "ti": ti,
        "triggering_asset_events": {},
    }
    monkeypatch.setattr(watch_tasks, "get_current_context", lambda: found)
    found["pushed"] = pushed
    return found


def event(run_id, at, suite="nightly", dag_id="nightly_benchmarks", **watch):
    return SimpleNamespace(extra={"run_id": run_id, "dag_id": dag_id, "suite": suite, "watch": watch}, timestamp=at)


def test_every_nightly_starts_it(bag, dag):
    (report,) = [task for task in bag.dags["nightly_benchmarks"].tasks if task.task_id == "report"]
    assert report.outlets == [tasks.RESULTS]
    assert list(dag.timetable.asset_condition.objects) == [tasks.RESULTS]
    assert dag.max_active_runs == 1


def test_what_measures_has_the_device_to_itself(dag):
    task = dag.get_task("confirm.hybrid_ann.cpu")
    assert (task.pool, task.pool_slots, task.queue) == ("cpu", tasks.POOLS["cpu"], "cpu")
    assert task.upstream_task_ids == {"look"}
    assert dag.get_task("alert").upstream_task_ids >= {"confirm.hybrid_ann.cpu", "look"}
    assert dag.get_task("alert").trigger_rule == TriggerRule.ALL_DONE
    assert {"confirm.hybrid_ann.gpu", "confirm.pgvector_search.cpu", "confirm.transcription.cpu"} <= set(dag.task_ids)


def looked(*keys):
    candidate = SimpleNamespace(shift=0.1)
    found = [SimpleNamespace(key=key, answer=None, candidate=candidate) for key in keys]
    courses = {key: SimpleNamespace(usual=lambda _: None) for key in keys}
    return SimpleNamespace(
        followed=dict.fromkeys(keys),
        run=SimpleNamespace(run_id="a-run"),
        replayed=SimpleNamespace(nights=9, alerts=1, better=2, suite=SimpleNamespace(courses=courses), tonight=found),
    )


@pytest.fixture
def look(monkeypatch, dag):
    """Calls the task `look`, which finds ``keys``; notes of what it asked."""
    asked = []

    def called(*keys, host=None):
        def replayed(store, run_id, wish):
            asked.append((run_id, wish.alerts_a_year, wish.rounds))
            return looked(*keys)

        monkeypatch.setattr(watching, "look", replayed)
        monkeypatch.setattr(watching, "candidates", lambda of: of.replayed.tonight)
        monkeypatch.setattr(watching, "powers", lambda of, rounds: {})
        return dag.get_task("look").python_callable(host)

    called.asked = asked
    return called


def test_the_newest_night_is_looked_at_as_its_suite_wishes(look, context):
    events = [event("night-6", 1), event("night-8", 3, alerts_a_year=4.0, rounds=5), event("night-7", 2)]
    context["triggering_asset_events"] = {tasks.RESULTS: events}
    with pytest.raises(DownstreamTasksSkipped):
        look()
    assert look.asked == [("night-8", 4.0, 5)]


def test_every_suite_has_its_night_and_every_host_its_watch(look, context, monkeypatch):
    monkeypatch.setenv("NIGHTGATE_HOSTS", "east,west")
    events = [
        event("night-8", 3), event("search-4", 1, "search"), event("east-2", 4, "search", "search.east"), event("west-9", 5, "own", "own.west"),
    ]  # fmt: skip
    context["triggering_asset_events"] = {tasks.RESULTS: events}
    with pytest.raises(DownstreamTasksSkipped):
        look()
    assert [run_id for run_id, *_ in look.asked] == ["search-4", "night-8"]
    look.asked.clear()
    with pytest.raises(DownstreamTasksSkipped):
        look(host="east")
    assert [run_id for run_id, *_ in look.asked] == ["east-2"]


def test_what_no_worker_would_take_waits_in_no_queue(look, context, monkeypatch, caplog):
    monkeypatch.setattr(watch_tasks.queues, "unserved", lambda asked: sorted(asked & {"gpu"}))
    context["params"]["run_id"] = "night-7"
    keys = [SeriesKey("hybrid_ann", "hybrid", device, "latency_p50_fast") for device in ("cpu", "gpu")]
    with pytest.raises(DownstreamTasksSkipped) as skipped:
        look(*keys)
    assert "confirm.hybrid_ann.gpu" in skipped.value.tasks and "confirm.hybrid_ann.cpu" not in skipped.value.tasks
    assert "no worker serves gpu" in caplog.text


def test_the_form_comes_before_what_triggered_it(look, context):
    context["triggering_asset_events"] = {tasks.RESULTS: [event("night-8", 3, rounds=5)]}
    context["params"] |= {"run_id": "night-2", "alerts_a_year": 9.5}
    with pytest.raises(DownstreamTasksSkipped):
        look()
    assert look.asked == [("night-2", 9.5, 3)]


def test_without_a_night_it_is_bad_input(look, context):
    with pytest.raises(EndedForGood):
        look()


def test_what_does_not_stand_out_is_skipped(look, context):
    context["params"]["run_id"] = "night-7"
    key = SeriesKey("hybrid_ann", "hybrid", "cpu", "latency_p50_fast")
    with pytest.raises(DownstreamTasksSkipped) as skipped:
        look(key, key._replace(metric="latency_p95_fast"))
    assert "confirm.hybrid_ann.cpu" not in skipped.value.tasks
    assert {"confirm.hybrid_ann.gpu", "confirm.transcription.cpu", "confirm.pgvector_search.cpu"} <= set(
        skipped.value.tasks
    )
    assert context["pushed"]["return_value"][0]["pairs"] == [["hybrid_ann", "cpu"]]


def test_a_confirm_asks_for_its_own(monkeypatch, dag, context):
    made = []
    monkeypatch.setattr(watching, "confirm", lambda store, *of: made.append((of[0], of[1].rounds, *of[2:])) or 2)
    assert dag.get_task("confirm.hybrid_ann.cpu").python_callable(NIGHTS) == 2
    assert made == [("night-7", 3, "hybrid_ann", "cpu")]
    with pytest.raises(AirflowSkipException, match="nothing of transcription on cpu stands out"):
        dag.get_task("confirm.transcription.cpu").python_callable(NIGHTS)


def test_without_a_night_nobody_is_alarmed(dag, context):
    with pytest.raises(AirflowSkipException):
        dag.get_task("alert").python_callable(None)
