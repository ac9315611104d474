"""A nightly as a DAG of your own Airflow: one call in a file of its DAG folder.

    from nightgate.airflow import nightly

    nightly(dag_id="search_benchmarks", suite="/srv/suites/search.yaml", schedule="0 3 * * *")

`watch` makes the DAG that follows the nights of all of them. Several live beside each other: their results, metrics and dashboards are told apart by the name of their suite.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

from airflow.configuration import conf
from airflow.sdk import CronTriggerTimetable, Param, dag
from airflow.sdk.definitions.param import ParamsDict

from nightgate import paths, registry
from nightgate.errors import InputError
from nightgate.measure.durations import NIGHT_SECONDS
from nightgate.orchestration.hosts import hosts_of, queue
from nightgate.orchestration.links import BoardLink
from nightgate.orchestration.params import trigger_params
from nightgate.orchestration.tasks import RESULTS, measured, preflight, report, upload_dashboards, verdict
from nightgate.orchestration.watch_tasks import alerting, confirming, look, telling_of
from nightgate.suite import load_suite

if TYPE_CHECKING:
    from airflow.sdk import DAG, BaseNotifier
    from airflow.sdk.definitions.dag import ScheduleArg

__all__ = ["nightlies", "nightly", "watch", "watches"]

_ABOUT = """### {title}

Measures what its suite asks for on this host, records every number, judges it against the objectives of {suite} with a
stated confidence, and fails when one does not hold.

`prepare` builds what is missing, `measure` has the host for itself, `record` stores the numbers, `confirm` measures once
more what they leave undecided or find breached (skipped when that is nothing), `gate` judges them. `report`, `verdict` and
`upload_dashboards` are teardowns: they run after a breach as well, and after somebody ended the run. `verdict` alone
decides the run's state: it fails unless everything was judged and holds. What stays undecided skips its gate and `verdict`,
and fails neither, unless the suite is strict.
"""


_ABOUT_WATCH = """### The watch over the nights

When a night has ended, the past of each of its series is replayed. What stands out is measured again in turns with a frozen
control, the environment of the first night of the series or of the baseline that was accepted last, and only what is slower or
worse than its control is told, with what changed since the night before. `look` says what stands out, `confirm` measures it
(skipped when that is nothing), `alert` tells people what they do not know yet.
"""


def nightlies(
    *,
    dag_id: str,
    suite: str | os.PathLike[str] | None = None,
    schedule: ScheduleArg = "0 2 * * *",
    notify: Sequence[BaseNotifier] = (),
) -> list[DAG]:
    """The nightlies of a suite: the one of `nightly` and, where the suite names hosts of a cluster of Celery workers, one for
    each of them, called ``dag_id.host``. Then only theirs have the schedule.

    Args and errors: those of `nightly`. `nightgate.orchestration.hosts` prints the pools of such a cluster.
    """
    file = _absolute(suite)
    hosts = hosts_of(load_suite(file or paths.suite_file(), registry.installed(), "full")) if _on_celery() else ()
    each = [
        nightly(dag_id=f"{dag_id}.{host}", suite=file, schedule=schedule, host=host, notify=notify) for host in hosts
    ]
    return [nightly(dag_id=dag_id, suite=file, schedule=None if hosts else schedule, notify=notify), *each]


def nightly(
    *,
    dag_id: str,
    suite: str | os.PathLike[str] | None = None,
    schedule: ScheduleArg = "0 2 * * *",
    host: str | None = None,
    notify: Sequence[BaseNotifier] = (),
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
        notify: who tells people of a breach, of its end, and of what stays undecided, besides the connections that
            `nightgate.orchestration.notifying` names.

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
        default_args={"owner": "nightgate"},
        tags=["benchmark", "slo"],
        doc_md=_ABOUT.format(
            title=dag_id.replace("_", " ").capitalize(),
            suite=f"`{file}`" if file else "its suite, `nightly.yaml` as shipped,",
        ),
    )
    def walked() -> None:
        _street(str(file) if file else None, host, notify)

    made: DAG = walked()
    # once the tasks are there: each would take a copy of the whole form along, into every parse and every serialised DAG
    made.params = ParamsDict(trigger_params(file))
    return made


def watches(
    *,
    dag_id: str = "regression_watch",
    suite: str | os.PathLike[str] | None = None,
    notify: Sequence[BaseNotifier] = (),
) -> list[DAG]:
    """The watches over the nights of a suite: the one of `watch` and, as `nightlies` does it, one for each host that it names."""
    file = _absolute(suite)
    hosts = hosts_of(load_suite(file or paths.suite_file(), registry.installed(), "full")) if _on_celery() else ()
    return [
        watch(dag_id=dag_id, notify=notify),
        *(watch(dag_id=f"{dag_id}.{host}", host=host, notify=notify) for host in hosts),
    ]


def watch(*, dag_id: str = "regression_watch", host: str | None = None, notify: Sequence[BaseNotifier] = ()) -> DAG:
    """Make the DAG that watches the nights of all suites for what becomes slower or worse inside its limits.

    Args:
        host: whose nights it watches, as of `nightly`; None for those of any host.
        notify: as of `nightly`.
    """

    @dag(
        dag_id=dag_id,
        schedule=[RESULTS],
        catchup=False,
        max_active_runs=1,
        is_paused_upon_creation=False,
        dagrun_timeout=timedelta(seconds=NIGHT_SECONDS),
        params={
            "run_id": Param(
                "", type="string", title="Night", description="Of which run; empty takes the one that triggered it."
            ),
            "alerts_a_year": Param(
                None,
                type=["null", "number"],
                exclusiveMinimum=0,
                title="Alerts a year",
                description="How many false ones are bearable; empty takes what the suite says.",
            ),
            "rounds": Param(
                None,
                type=["null", "integer"],
                minimum=3,
                maximum=20,
                title="Rounds",
                description="Beside the control; empty takes what the suite says.",
            ),
        },
        default_args={"owner": "nightgate"},
        tags=["benchmark", "regression"],
        doc_md=_ABOUT_WATCH,
    )
    def watched() -> None:
        asked: Any = look.override(queue=queue("cpu", host))(host) if host else look()
        devices = {name: known.devices for name, known in registry.installed().items()}
        confirming(devices, asked, host) >> alerting(notify)(asked)

    return watched()


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


def _street(suite: str | None, host: str | None, notify: Sequence[BaseNotifier]) -> None:
    """preflight → prepare → measure → record → confirm → gate → report → upload."""
    # it looks at the host it runs on; while a DAG is made, what a task gives stands for what it will give
    plan: Any = preflight.override(queue=queue("cpu", host))(suite, host) if host else preflight(suite)
    gates = [gate for name, known in registry.installed().items() for gate in measured(name, known.devices, plan, host)]
    closing: Any = report(plan).as_teardown()
    closing.operator.operator_extra_links = (BoardLink(),)
    # it must be a leaf of its own: what is pending when a run is ended by hand is skipped, and skipped gates fail nobody
    decided = verdict(closing, plan).as_teardown(on_failure_fail_dagrun=True)
    gates >> closing >> [decided, upload_dashboards().as_teardown(), telling_of(notify)(plan).as_teardown()]
    gates >> decided
