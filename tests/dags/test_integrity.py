"""What must hold for every DAG file before it may be deployed."""

from __future__ import annotations

import json
import subprocess
import sys
from datetime import timedelta
from pathlib import Path

import pendulum
import pytest

ROOT = Path(__file__).resolve().parents[2]
POOLS = json.loads((ROOT / "include/pools.json").read_text())
HEAVY = (
    "torch",
    "faiss",
    "nmslib",
    "numpy",
    "whisper_cpp_python",
    "pywhispercpp",
    "cupy",
    "psycopg",
    "scipy",
    "matplotlib",
)

_PARSE = """
import sys, json
from airflow.dag_processing.dagbag import DagBag
before = set(sys.modules)
bag = DagBag(sys.argv[1])
print("RESULT", json.dumps({"errors": bag.import_errors, "new": sorted(set(sys.modules) - before)}))
"""


def test_every_file_imports_without_error_or_warning(bag):
    assert bag.import_errors == {}
    assert bag.captured_warnings == {}
    assert set(bag.dags) == {"nightly_benchmarks", "regression_watch"}


def test_parsing_imports_nothing_heavy():
    done = subprocess.run(
        [sys.executable, "-c", _PARSE, str(ROOT / "dags")], capture_output=True, text=True, check=True
    )
    found = json.loads(done.stdout.split("RESULT ", 1)[1])
    assert found["errors"] == {}
    assert [name for name in HEAVY if name in found["new"]] == []


def test_two_parses_serialise_alike(bag):
    from airflow.dag_processing.dagbag import DagBag
    from airflow.serialization.serialized_objects import DagSerialization

    again = DagBag(str(ROOT / "dags"))
    for dag_id, dag in bag.dags.items():
        first, second = (json.dumps(DagSerialization.to_dict(d), sort_keys=True) for d in (dag, again.dags[dag_id]))
        assert first == second


def test_every_task_names_a_pool_that_exists_and_fits(bag):
    pools = {**POOLS, "default_pool": {"slots": 128}}
    for dag in bag.dags.values():
        for task in dag.tasks:
            assert task.pool in pools, f"{task.task_id} names the unknown pool {task.pool}"
            assert task.pool_slots <= pools[task.pool]["slots"], f"{task.task_id} takes more slots than {task.pool} has"


def test_every_task_has_a_timeout(bag):
    for dag in bag.dags.values():
        assert [task.task_id for task in dag.tasks if task.execution_timeout is None] == []


def test_what_takes_long_is_ended_by_its_plan_before_airflow_ends_it(bag):
    dag = bag.dags["nightly_benchmarks"]
    for name, minutes in (("prepare", 370), ("measure", 370), ("record", 5), ("confirm", 370), ("gate", 5)):
        task = dag.get_task(f"hybrid_ann.cpu.{name}")
        assert task.execution_timeout.total_seconds() == minutes * 60, name
    assert dag.dagrun_timeout.total_seconds() == 20 * 3600


def test_every_param_has_a_default_a_title_and_a_description(bag):
    from airflow.sdk.definitions._internal.types import is_arg_set

    for dag in bag.dags.values():
        for key in dag.params:
            param = dag.params.get_param(key)
            assert is_arg_set(param.value), f"{key} has no default"
            assert param.schema.get("title") and param.description, (
                f"{key} explains itself with a title and a description"
            )
        dag.params.validate()


def test_the_form_is_in_the_dag_once_and_not_in_each_task(nightly):
    """Thirty copies of eighty fields: a serialised DAG of a megabyte, made anew at every parse."""
    assert len(nightly.params) > 50
    assert {task.task_id: dict(task.params) for task in nightly.tasks if task.params} == {}


def test_gpu_tasks_and_only_they_use_the_gpu_queue(nightly):
    for task in nightly.tasks:
        assert (task.pool == "gpu") == (task.queue == "gpu") == (".gpu." in task.task_id)


def test_the_schedule(nightly):
    assert nightly.timetable.expression == "0 2 * * *"
    assert nightly.catchup is False
    assert nightly.max_active_runs == 4, "what is refused says so behind a night that measures"
    assert nightly.is_paused_upon_creation is False
    assert nightly.start_date is None, "a start date would fire the latest missed night when the DAG is first seen"


@pytest.mark.parametrize(("hour", "minute"), [(2, 8), (13, 0)])
def test_a_dag_that_is_first_seen_waits_for_its_next_night(nightly, monkeypatch, hour, minute):
    """Airflow itself would begin with the last one for a tenth of the time between two, which is until 04:24."""
    from airflow.serialization.serialized_objects import DagSerialization
    from airflow.timetables import trigger
    from airflow.timetables.base import TimeRestriction

    kept = DagSerialization.from_dict(DagSerialization.to_dict(nightly))
    monkeypatch.setattr(trigger, "utcnow", lambda: pendulum.datetime(2026, 11, 27, hour, minute))
    nothing = TimeRestriction(earliest=None, latest=None, catchup=False)
    first = kept.timetable.next_dagrun_info_v2(last_dagrun_info=None, restriction=nothing)
    assert first.run_after == pendulum.datetime(2026, 11, 28, 2)


@pytest.mark.parametrize("benchmark", ["transcription", "hybrid_ann", "pgvector_search"])
def test_the_street_of_a_benchmark(nightly, benchmark):
    task = nightly.get_task
    prefix = f"{benchmark}.cpu"
    assert task(f"{prefix}.prepare").downstream_task_ids == {f"{prefix}.measure"}
    assert task(f"{prefix}.measure").downstream_task_ids == {f"{prefix}.record"}
    assert task(f"{prefix}.record").downstream_task_ids == {f"{prefix}.confirm", f"{prefix}.gate"}
    assert task(f"{prefix}.confirm").downstream_task_ids == {f"{prefix}.gate"}
    assert task(f"{prefix}.gate").downstream_task_ids == {"report", "verdict"}


def test_a_measurement_takes_its_whole_pool(nightly):
    for task in nightly.tasks:
        if task.task_id.endswith((".measure", ".confirm")):
            assert task.pool_slots == POOLS[task.pool]["slots"]


def test_the_verdict_and_nothing_else_decides_the_state_of_the_run(nightly):
    """Airflow's rule: leaves decide, and a teardown is no leaf unless it asks to be.

    A run that is ended by hand skips what is pending, gates too, and runs its teardowns: one of them must decide.
    """
    closing = {name: nightly.get_task(name) for name in ("report", "verdict", "upload_dashboards")}
    assert all(task.is_teardown for task in closing.values())
    assert [name for name, task in closing.items() if task.on_failure_fail_dagrun] == ["verdict"]

    def counts(task):
        return not task.is_teardown or task.on_failure_fail_dagrun

    def decides(task):
        return counts(task) and not any(counts(nightly.get_task(name)) for name in task.downstream_task_ids)

    assert [task.task_id for task in nightly.tasks if decides(task)] == ["verdict"]
    assert closing["verdict"].retries == 0
    assert closing["upload_dashboards"].upstream_task_ids == {"report"}


def test_what_only_reads_and_writes_results_outlasts_a_database_that_is_away_for_minutes(nightly):
    for task in nightly.tasks:
        if task.task_id.rpartition(".")[2] in ("record", "gate", "report"):
            delays = [min(5 * 2**number, 60) for number in range(task.retries)]
            assert (task.retry_exponential_backoff, task.max_retry_delay) == (2, timedelta(minutes=1))
            assert sum(delays) >= 180
