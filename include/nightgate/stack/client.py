"""Airflow's REST API, as far as Nightgate uses it."""

from __future__ import annotations

from typing import Any, TypedDict

import requests
from pydantic import JsonValue

from nightgate.errors import InputError, StackError
from nightgate.record import DAG_ID

JsonObject = dict[str, JsonValue]
_TIMEOUT = (3.05, 30)


class TaskInstance(TypedDict):
    """One task of a run, as Airflow tells of it. Times are ISO 8601."""

    task_id: str
    state: str | None
    start_date: str | None
    end_date: str | None
    try_number: int


class AirflowClient:
    """Talks to the API server at ``url`` as one user.

    Raises (every method):
        StackError: the server does not answer or refuses the call.
    """

    def __init__(self, url: str, user: str, password: str) -> None:
        self.url = url
        self._login = {"username": user, "password": password}
        self._session = requests.Session()
        self._session.trust_env = False  # a proxy of the environment has no business on loopback

    def healthy(self) -> bool:
        try:
            return self._session.get(f"{self.url}/api/v2/monitor/health", timeout=_TIMEOUT).status_code == 200
        except requests.RequestException:
            return False

    def parsed_at(self) -> str | None:
        """When the DAG was last parsed (ISO 8601), None while Airflow does not know it."""
        parsed: str | None = self._call("GET", f"/dags/{DAG_ID}", allow=(404,)).get("last_parsed_time")
        return parsed

    def import_errors(self) -> list[str]:
        answer = self._call("GET", "/importErrors")
        return [f"{e['filename']}: {e['stack_trace'].strip().splitlines()[-1]}" for e in answer["import_errors"]]

    def trigger(self, run_id: str, conf: JsonObject) -> None:
        """Queue one run. Airflow checks ``conf`` against the DAG's params first.

        Raises:
            InputError: a param was refused.
        """
        body: JsonObject = {"dag_run_id": run_id, "logical_date": None, "conf": conf}
        answer = self._call("POST", f"/dags/{DAG_ID}/dagRuns", json=body, allow=(400, 422))
        if "dag_run_id" not in answer:
            raise InputError(f"Airflow refused the run: {answer.get('detail', answer)}")

    def run_state(self, run_id: str) -> str:
        state: str = self._call("GET", f"/dags/{DAG_ID}/dagRuns/{run_id}")["state"]
        return state

    def tasks(self, run_id: str) -> list[TaskInstance]:
        """The task instances of a run."""
        path = f"/dags/{DAG_ID}/dagRuns/{run_id}/taskInstances?limit=200"
        tasks: list[TaskInstance] = self._call("GET", path)["task_instances"]
        return tasks

    def fail_run(self, run_id: str) -> None:
        """End a run as failed; its running tasks are told to stop."""
        self._call("PATCH", f"/dags/{DAG_ID}/dagRuns/{run_id}", json={"state": "failed"})

    def _call(
        self, method: str, path: str, *, allow: tuple[int, ...] = (), json: JsonObject | None = None
    ) -> dict[str, Any]:
        """What the server says, a JSON object. ``allow``: the error statuses whose answer is wanted all the same."""

        try:
            if "Authorization" not in self._session.headers:
                token = self._session.post(f"{self.url}/auth/token", json=self._login, timeout=_TIMEOUT)
                token.raise_for_status()
                self._session.headers["Authorization"] = f"Bearer {token.json()['access_token']}"
            answer = self._session.request(method, f"{self.url}/api/v2{path}", timeout=_TIMEOUT, json=json)
        except requests.RequestException as error:
            raise StackError(
                f"the Airflow API server at {self.url} does not answer ({type(error).__name__})"
            ) from error
        if answer.status_code >= 400 and answer.status_code not in allow:
            raise StackError(f"Airflow answered {method} {path} with {answer.status_code}: {answer.text[:300]}")
        document: dict[str, Any] = answer.json()
        return document
