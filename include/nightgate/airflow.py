"""A nightly as a DAG of your own Airflow: one call in a file of its DAG folder.

    from nightgate.airflow import nightly

    nightly(dag_id="search_benchmarks", suite="/srv/suites/search.yaml", schedule="0 3 * * *")

Several live beside each other: their results, metrics and dashboards are told apart by the name of their suite.
"""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.configuration import conf
from airflow.sdk import CronTriggerTimetable, dag

from nightgate import paths, registry
from nightgate.errors import InputError
from nightgate.measure.durations import NIGHT_SECONDS
from nightgate.orchestration.hosts import hosts_of, queue
from nightgate.orchestration.links import BoardLink
from nightgate.orchestration.params import trigger_params
from nightgate.orchestration.tasks import measured, preflight, report, upload_dashboards, verdict
from nightgate.suite import load_suite

if TYPE_CHECKING:
    from airflow.sdk import DAG
    from airflow.sdk.definitions.dag import ScheduleArg

__all__ = ["nightlies", "nightly"]

_ABOUT = """### {title}

Measures what its suite asks for on this host, records every number, judges it against the objectives of {suite} with a
stated confidence, and fails when one does not hold.

`prepare` builds what is missing, `measure` has the host for itself, `record` stores the numbers, `confirm` measures once
more what they leave undecided or find breached (skipped when that is nothing), `gate` judges them. `report`, `verdict` and
`upload_dashboards` are teardowns: they run after a breach as well, and after somebody ended the run. `verdict` alone
decides the run's state: it fails unless everything was judged and holds. What stays undecided skips its gate and `verdict`,
and fails neither, unless the suite is strict.
"""


def nightlies(
    *, dag_id: str, suite: str | os.PathLike[str] | None = None, schedule: ScheduleArg = "0 2 * * *"
) -> list[DAG]:
    """The nightlies of a suite: the one of `nightly` and, where the suite names hosts of a cluster of Celery workers, one for
    each of them, called ``dag_id.host``. Then only theirs have the schedule.

    Args and errors: those of `nightly`. `nightgate.orchestration.hosts` prints the pools of such a cluster.
    """
    file = _absolute(suite)
    hosts = hosts_of(load_suite(file or paths.suite_file(), registry.installed(), "full")) if _on_celery() else ()
    each = [nightly(dag_id=f"{dag_id}.{host}", suite=file, schedule=schedule, host=host) for host in hosts]
    return [nightly(dag_id=dag_id, suite=file, schedule=None if hosts else schedule), *each]


def nightly(
    *,
    dag_id: str,
    suite: str | os.PathLike[str] | None = None,
    schedule: ScheduleArg = "0 2 * * *",
    host: str | None = None,
) -> DAG:
    """Make the DAG that measures and judges a suite. Airflow finds it, wherever in a DAG file this is called.

    Airflow needs the pools of the suite's devices: ``airflow pools import`` takes the file that
    ``nightgate.paths.pools_file()`` names.

    Args:
        dag_id: of the new DAG. Airflow looks only into files that hold the words "airflow" and "dag".
        suite: the absolute path of a suite file, on every host that runs its tasks. Without one it is the shipped suite,
            or the one that ``NIGHTGATE_SUITE`` names when a task runs.
        schedule: a cron expression in UTC, or what else Airflow takes; None for a DAG that is only triggered.
        host: the one that measures, by the name whose queues it serves (``cpu.host``, ``gpu.host``); None for any.

    Raises:
        InputError: the suite cannot be read, or is wrong; Airflow shows it as the import error of the file.
    """
    file = _absolute(suite)

    @dag(
        dag_id=dag_id,
        schedule=_from_now_on(schedule) if isinstance(schedule, str) else schedule,
        catchup=False,
        # a run that is refused says so at once, behind whatever is measured; the pools let one at a time measure
        max_active_runs=4,
        is_paused_upon_creation=False,
        dagrun_timeout=timedelta(seconds=NIGHT_SECONDS),
        params=trigger_params(file),
        default_args={"owner": "nightgate"},
        tags=["benchmark", "slo"],
        doc_md=_ABOUT.format(
            title=dag_id.replace("_", " ").capitalize(),
            suite=f"`{file}`" if file else "its suite, `nightly.yaml` as shipped,",
        ),
    )
    def walked() -> None:
        _street(str(file) if file else None, host)

    return walked()


def _absolute(suite: str | os.PathLike[str] | None) -> Path | None:
    file = Path(suite) if suite is not None else None
    if file and not file.is_absolute():
        raise InputError(
            f"suite={str(file)!r} is relative, and Airflow's processes work in other folders",
            f"write Path(__file__).with_name({file.name!r}) for a file beside the DAG",
        )
    return file


def _on_celery() -> bool:
    """Whether there can be more than one host."""
    return "CeleryExecutor" in conf.get("core", "executor")


def _from_now_on(schedule: str) -> ScheduleArg:
    """Airflow begins with a missed night where a tenth of the time between two has not passed yet: a first start by day
    shall not measure for hours."""
    if schedule in ("@once", "@continuous"):
        return schedule
    return CronTriggerTimetable(schedule, timezone="UTC", run_immediately=timedelta())


def _street(suite: str | None, host: str | None) -> None:
    """preflight → prepare → measure → record → confirm → gate → report → upload."""
    # it looks at the host it runs on; while a DAG is made, what a task gives stands for what it will give
    plan: Any = preflight.override(queue=queue("cpu", host))(suite, host) if host else preflight(suite)
    gates = [gate for name, known in registry.installed().items() for gate in measured(name, known.devices, plan, host)]
    closing: Any = report(plan).as_teardown()
    closing.operator.operator_extra_links = (BoardLink(),)
    # it must be a leaf of its own: what is pending when a run is ended by hand is skipped, and skipped gates fail nobody
    decided = verdict(closing, plan).as_teardown(on_failure_fail_dagrun=True)
    gates >> closing >> [decided, upload_dashboards().as_teardown()]
    gates >> decided
