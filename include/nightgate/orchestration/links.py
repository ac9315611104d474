"""The way from a task in Airflow to what Nightgate shows of its run."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import quote

from airflow.configuration import conf
from airflow.sdk import BaseOperatorLink

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator
    from airflow.sdk.types import TaskInstanceKey


class BoardLink(BaseOperatorLink):
    """A button of a task that leads to the board's page of the run."""

    name = "Nightgate"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        return address(ti_key.dag_id, ti_key.run_id)


def address(dag_id: str, run_id: str) -> str:
    """Where the board shows a run of Airflow."""
    base = conf.get("api", "base_url", fallback="").rstrip("/")
    return f"{base}/nightgate/runs/{quote(run_id, safe='')}?dag={quote(dag_id, safe='')}"
