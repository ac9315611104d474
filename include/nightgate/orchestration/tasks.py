"""The tasks of the nightly: each calls one step and translates Nightgate's errors into Airflow's.

Everything that runs on the measuring host goes through the pool of its device. A measurement takes all its slots,
so nothing of the same run works beside it; the other steps take one.
"""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import Asset, Connection, TaskGroup, TriggerRule, get_current_context, task
from airflow.sdk.bases.xcom import BaseXCom
from airflow.sdk.exceptions import AirflowNotFoundException, AirflowSkipException, DownstreamTasksSkipped

from nightgate import paths
from nightgate.errors import EXIT_BREACH, EXIT_NOT_MEASURED
from nightgate.measure.durations import STEP_SECONDS
from nightgate.orchestration.ending import FOR_GOOD, TWICE, EndedForGood, translated, when_quiet
from nightgate.orchestration.hosts import queue
from nightgate.orchestration.links import BoardLink, address
from nightgate.orchestration.noting import NOTE
from nightgate.record import DAG_ID, Attempt

log = logging.getLogger(__name__)

POOLS = {name: pool["slots"] for name, pool in json.loads(paths.pools_file().read_text()).items()}
_RETRY: dict[str, Any] = {"retries": 1, "retry_delay": timedelta(seconds=5), "retry_policy": FOR_GOOD}
# a database that is away for some minutes: 5, 10, 20, 40 s, then one minute each
OUTLAST: dict[str, Any] = {
    "retries": 7,
    "retry_delay": timedelta(seconds=5),
    "retry_exponential_backoff": 2.0,
    "max_retry_delay": timedelta(minutes=1),
    "retry_policy": FOR_GOOD,
}
WORK = {**OUTLAST, "retry_policy": TWICE}
# what is measured is stored, confirmed and judged before the next measurement starts; preparing comes before measuring
_CLOSE, _PREPARE, MEASURE = 3, 2, 1
_ATTEMPT = "attempt"
RESULTS = Asset("nightgate_results")
"""What every nightly renews when its report is written; its event says of which run."""
# the plan has a time-out of its own for each long step, which ends it before this one
SHORT, LONG = timedelta(minutes=5), timedelta(seconds=STEP_SECONDS, minutes=10)


@task(execution_timeout=SHORT)
def preflight(suite: str | None = None, host: str | None = None) -> dict[str, Any]:
    """Check the form, the devices and the room on this host, and decide the plan of the run.

    What is not part of the plan, or what no worker would take, is skipped here, so that it waits in no queue.

    Args:
        suite: the file; None for that of `paths.suite_file`.
        host: the name of the one that measures; None for any.
    """
    from nightgate import steps
    from nightgate.orchestration import queues
    from nightgate.orchestration.params import check_conf, overrides, scale_of

    context = get_current_context()
    params, run, dag_id = dict(context["params"]), context["dag_run"], context["dag"].dag_id
    file = Path(suite) if suite else None
    with translated():
        check_conf(run.conf or {})
        scale = scale_of(params, run.conf or {}, run.run_type)
        plan = steps.preflight(
            _run_id(dag_id, run.run_id),
            dag_id=dag_id,
            suite_file=file,
            scale=scale,
            only=params["benchmarks"],
            devices=params["devices"],
            overrides=overrides(params, file),
            require_gpu=params["require_gpu"],
            scheduled=run.run_type == "scheduled",
        )
        of_devices = {queue(device, host): device for _, device in plan.work}
        plan = steps.without(plan, {of_devices[name]: name for name in queues.unserved(set(of_devices))})
    made: dict[str, Any] = plan.model_dump(mode="json")
    work = [pair for pair in made["work"] if pair[1] not in made["unserved"]]
    if outside := _outside(context["dag"].task_ids, work):
        context["ti"].xcom_push(BaseXCom.XCOM_RETURN_KEY, made)
        raise DownstreamTasksSkipped(tasks=outside)  # type: ignore[no-untyped-call]
    return made


def _outside(task_ids: Sequence[str], work: Sequence[Sequence[str]]) -> list[str]:
    """The tasks of the benchmarks and devices that are not ``work``: "hybrid_ann.gpu.measure" and the like."""
    wanted = {tuple(pair) for pair in work}
    parts = {task_id: tuple(task_id.split(".")) for task_id in task_ids}
    return [task_id for task_id, names in parts.items() if len(names) == 3 and names[:2] not in wanted]


def _run_id(dag_id: str, of_airflow: str) -> str:
    """Airflow gives the scheduled runs of two DAGs one name; the results of a further nightly have its name before it."""
    return of_airflow if dag_id == DAG_ID else f"{dag_id}.{of_airflow}"


def measured(benchmark: str, devices: Sequence[str], plan: Any, host: str | None = None) -> list[Any]:
    """The task group of a benchmark with one group per device in it; returns the gates."""
    with TaskGroup(benchmark):
        return [_on_device(benchmark, device, plan, host) for device in devices]


def _on_device(benchmark: str, device: str, plan: Any, host: str | None) -> Any:
    place = queue(device, host)
    one: dict[str, Any] = {"pool": place, "pool_slots": 1, "queue": place, "weight_rule": "absolute"}
    whole: dict[str, Any] = {**one, "pool_slots": POOLS[device], "priority_weight": MEASURE}
    confirming: dict[str, Any] = {**whole, "priority_weight": _CLOSE}

    @task(execution_timeout=LONG, priority_weight=_PREPARE, **one, **WORK)
    def prepare(plan: dict[str, Any]) -> dict[str, Any]:
        """Build what the measurement needs, or find it in the cache: data, exact neighbours, indexes, models, tables."""
        with _step(plan, benchmark, device) as (steps, typed):
            prepared: dict[str, Any] = steps.prepare(typed, benchmark, device, store_url())
            return prepared

    @task(execution_timeout=LONG, **whole, **WORK)
    def measure(plan: dict[str, Any], prepared: dict[str, Any]) -> None:
        """Measure, with the host to itself; the records and raw samples go into the results database."""
        with _step(plan, benchmark, device) as (steps, typed):
            attempt = _begin()
            steps.measure(typed, benchmark, device, prepared, store_url(), attempt)

    @task(execution_timeout=SHORT, priority_weight=_CLOSE, **one, **OUTLAST)
    def record(plan: dict[str, Any]) -> None:
        """Judge what the last try has measured, in the light of the nights before it, and keep the verdicts."""
        with _step(plan, benchmark, device, final=True) as (steps, typed):
            steps.record(typed, benchmark, device, store_url(), _last_attempt(benchmark, device))

    # a host that was not quiet is tried again after a while, and one more try is left for what else may fail
    @task(execution_timeout=LONG, **{**confirming, **OUTLAST, "retry_policy": when_quiet()})
    def confirm(plan: dict[str, Any]) -> int:
        """Measure again, with new processes and where one is built a new index, what one look could not decide; otherwise it is skipped."""
        with _step(plan, benchmark, device) as (steps, typed):
            looks: int = steps.confirm(typed, benchmark, device, store_url(), _last_attempt(benchmark, device))
            return looks

    # it follows a confirm that had nothing to do, and not a record that had: so it must not hang on preflight itself
    @task(
        execution_timeout=SHORT,
        priority_weight=_CLOSE,
        trigger_rule=TriggerRule.NONE_FAILED_MIN_ONE_SUCCESS,
        **one,
        **OUTLAST,
    )
    def gate() -> None:
        """Fail when an objective is breached or nobody knows; skipped when one is undecided. Its log begins with the sentence."""
        plan = get_current_context()["ti"].xcom_pull(task_ids="preflight")
        run = get_current_context()["dag_run"]
        where = address(run.dag_id, run.run_id)
        with _step(plan, benchmark, device, final=True, where=where) as (steps, typed):
            steps.gate(typed, benchmark, device, store_url(), _last_attempt(benchmark, device))

    with TaskGroup(device):
        last: Any = gate()
        last.operator.operator_extra_links = (BoardLink(),)
        made: Any = prepare(plan)  # a reference to what the task will return
        recorded = record(plan)
        measure(plan, made) >> recorded >> confirm(plan) >> last
        recorded >> last
    return last


@task(execution_timeout=SHORT, outlets=[RESULTS], **OUTLAST)
def report(plan: dict[str, Any] | None) -> str:
    """Write ``summary.json`` and ``report.html``, whatever happened before."""
    from nightgate import steps
    from nightgate.publish.sentences import said_of

    if not plan:
        raise AirflowSkipException("preflight refused the run, so there is nothing to report")
    name_services()  # what a benchmark that was ended has left there is removed
    attempts = {(benchmark, device): _last_attempt(benchmark, device) for benchmark, device in plan["work"]}
    with translated(final=True):
        summary = steps.report(steps.Plan.model_validate(plan), store_url(), attempts)
        context = get_current_context()
        (first, *rest), run = said_of(summary), context["dag_run"]
        link = f"[All of it on the board]({address(run.dag_id, run.run_id)})"
        context["ti"].xcom_push(NOTE, "\n\n".join((first, link, *rest)))
        context["outlet_events"][RESULTS].extra = {  # the watch asks of which run, and what is wanted of it
            "run_id": summary.run_id,
            "dag_id": summary.dag_id,
            "suite": summary.suite,
            "watch": plan.get("watch") or {},
        }
        return summary.state


@task(execution_timeout=SHORT, retries=0)
def verdict(state: str | None, plan: dict[str, Any] | None) -> None:
    """Fail unless the run passed: this task alone is the state of the run in Airflow, whatever was marked by hand.

    A run that is undecided does not fail, unless its suite is strict, and is no success either: the task is skipped.

    Args:
        state: what `report` found; None when it found nothing, because it failed or preflight did.
    """
    if state is None:
        log.error("there is no verdict: the run was refused or ended before it had a plan, or its report failed")
        raise EndedForGood(EXIT_NOT_MEASURED)
    if state == "inconclusive" and not (plan and plan.get("strict")):
        raise AirflowSkipException(
            "this run is undecided: nothing is breached, and not of every objective is known that it holds; the gates that "
            "are skipped say of which, and the nights that follow decide it"
        )
    if state != "pass":
        log.error("the verdict of this run is %s; its report and the log of its gates say why", state)
        raise EndedForGood(EXIT_BREACH if state == "breach" else EXIT_NOT_MEASURED)


@task(execution_timeout=SHORT, **_RETRY)
def upload_dashboards() -> list[str]:
    """Upload the dashboards to Grafana; without GRAFANA_URL and GRAFANA_TOKEN it skips."""
    from nightgate import steps

    with translated():
        return steps.upload(get_current_context()["dag_run"].run_id)


@contextmanager
def _step(
    plan: dict[str, Any], benchmark: str, device: str, *, final: bool = False, where: str = ""
) -> Iterator[tuple[Any, Any]]:
    from nightgate import steps

    if [benchmark, device] not in plan["work"]:
        raise AirflowSkipException(f"{benchmark} on {device} is not part of this run")
    name_services()
    with translated(strict=plan.get("strict", False), final=final, where=where):
        yield steps, steps.Plan.model_validate(plan)


def _begin() -> Attempt:
    """A new try of the measurement whose task this is. The steps after it look for what this try found, and nothing else."""
    from nightgate.ledger import new_attempt

    ti = get_current_context()["ti"]
    attempt = new_attempt(ti.try_number)
    ti.xcom_push(_ATTEMPT, attempt.model_dump(mode="json"))
    return attempt


def _last_attempt(benchmark: str, device: str) -> Attempt | None:
    """The newest try of a measurement of this run; None where none began."""
    task_id = f"{benchmark}.{device}.measure"
    found = get_current_context()["ti"].xcom_pull(task_ids=task_id, key=_ATTEMPT)
    return Attempt.model_validate(found) if found else None


def name_services() -> None:
    """Airflow's connections name the servers that benchmarks need, where the environment does not."""
    from nightgate import registry

    for service in (service for known in registry.installed().values() for service in known.services):
        if not os.environ.get(service.variable) and (url := _connection_url(service.connection)):
            os.environ[service.variable] = url


def store_url() -> str | None:
    return _connection_url("nightgate_results")


def _connection_url(name: str) -> str | None:
    """The URL behind an Airflow connection, None when there is no such connection."""
    from nightgate.results.store import url_from_airflow

    try:
        return url_from_airflow(Connection.get(name).get_uri())
    except AirflowNotFoundException:
        return None
