"""The note of a run in Airflow says how it ended: the scheduler puts there what the task `report` of a nightly found, or `alert` of
the watch."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.listeners import hookimpl

if TYPE_CHECKING:
    from airflow.models.dagrun import DagRun

NOTE = "note"
"""The XCom of these tasks that holds it."""

LONGEST = 1000
"""Characters that Airflow takes."""


@hookimpl
def on_dag_run_success(dag_run: DagRun, msg: str) -> None:
    _note(dag_run)


@hookimpl
def on_dag_run_failed(dag_run: DagRun, msg: str) -> None:
    _note(dag_run)


def _note(dag_run: DagRun) -> None:
    """Nothing where a person has written a note, or where neither task has: runs of other DAGs pass here too."""
    from airflow.models.xcom import XComModel
    from sqlalchemy.orm import object_session

    session = object_session(dag_run)
    if session is None or dag_run.note:
        return
    wanted = XComModel.get_many(
        run_id=dag_run.run_id, dag_ids=dag_run.dag_id, task_ids=["report", "alert"], key=NOTE, limit=1
    )
    if found := session.scalars(wanted).first():
        dag_run.note = str(XComModel.deserialize_value(found))[:LONGEST]
