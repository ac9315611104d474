"""A NIGHTGATE_HOME whose Airflow stays up, with a strategy that can be made slower, a mail server and a webhook."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests
import yaml
from support.listeners import mail_server, webhook
from support.slow_package import Versions
from support.small_home import Home

from nightgate.stack.client import AirflowClient

_PATIENCE = 600.0
_TRIES = 5


@dataclass
class Nights:
    """Nights one after the other, each with the watch over it."""

    home: Home
    versions: Versions
    client: AirflowClient
    mails: list[Any]
    posts: list[Any]
    count: int = 0
    last: str = ""
    seen: set[str] = field(default_factory=set)

    def night(self) -> dict[str, Any]:
        """One more: the summary of its run, and the log lines of what the watch said of it."""
        self.count += 1
        self.last = f"night-{self.count:03d}"
        self.client.trigger(self.last, {"scale": "smoke"})
        self._wait("nightly_benchmarks", self.last)
        watch = self._watch_of_this_night()
        summary = json.loads((self.home.runs / self.last / "summary.json").read_text())
        return {"summary": summary, "said": self.log(watch, "alert"), "watch": watch}

    def quiet_night(self) -> dict[str, Any]:
        """As `night`, until one was measured while the host was at full speed: any other says nothing of the series."""
        for _ in range(_TRIES):
            found = self.night()
            if (found["summary"]["results"][0]["metrics"].get("latency_p50_fast")) is not None:
                return found
        raise AssertionError(f"this host was not at full speed in {_TRIES} nights")

    def log(self, run_id: str, task: str) -> str:
        folder = (
            self.home.path / "airflow" / "logs" / "dag_id=regression_watch" / f"run_id={run_id}" / f"task_id={task}"
        )
        return "\n".join(file.read_text() for file in sorted(folder.glob("attempt=*.log")))

    def _watch_of_this_night(self) -> str:
        end = time.monotonic() + _PATIENCE
        while time.monotonic() < end:
            runs = self.client._call("GET", "/dags/regression_watch/dagRuns?limit=200")["dag_runs"]
            new = [run["dag_run_id"] for run in runs if run["dag_run_id"] not in self.seen]
            if new:
                self.seen |= set(new)
                self._wait("regression_watch", new[0])
                return str(new[0])
            time.sleep(1)
        raise AssertionError("the watch was never started")

    def _wait(self, dag_id: str, run_id: str) -> None:
        end = time.monotonic() + _PATIENCE
        while time.monotonic() < end:
            state = self.client._call("GET", f"/dags/{dag_id}/dagRuns/{requests.utils.quote(run_id, safe='')}")["state"]
            if state not in ("queued", "running"):
                return
            time.sleep(1)
        raise AssertionError(f"{dag_id} {run_id} did not end")


@pytest.fixture(scope="module")
def nights(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Nights]:
    folder: Path = tmp_path_factory.mktemp("nights")
    versions = Versions(folder / "versions")
    versions.install("1.0")
    home = Home(folder / "home")
    home.path.mkdir()
    home.suite(only=["hybrid_ann"], recall_at_100=">= 0.8", latency_p95="< 0.5")
    suite = Path(home.env["NIGHTGATE_SUITE"])
    written = yaml.safe_load(suite.read_text())
    written["hybrid_ann"]["variants"] = ["slow"]
    # so many passes that each query has its turn at the host's full speed, also where that is rare
    written["scales"]["smoke"]["hybrid_ann"] |= {"rows": 20_000, "queries": 200, "most_passes": 200}
    written["watch"] = {"rounds": 5}
    suite.write_text(yaml.safe_dump(written, sort_keys=False))
    with mail_server() as (mail, mails), webhook() as (hook, posts):
        home.env |= versions.environment() | {
            "AIRFLOW_CONN_NIGHTGATE_ALERTS_MAIL": json.dumps({
                "conn_type": "smtp", "host": "127.0.0.1", "port": mail,
                "extra": {"from_email": "nightgate@here", "to": "team@there", "disable_ssl": True, "disable_tls": True},
            }),
            "AIRFLOW_CONN_NIGHTGATE_ALERTS_WEBHOOK": json.dumps({"conn_type": "http", "host": f"http://127.0.0.1:{hook}/"}),
        }  # fmt: skip
        done = home.nightgate("up")
        assert done.returncode == 0, done.stderr
        try:
            state = json.loads((home.path / "stack.json").read_text())
            password = json.loads((home.path / "airflow" / "passwords.json").read_text())["admin"]
            yield Nights(home, versions, AirflowClient(state["url"], "admin", password), mails, posts)
        finally:
            home.nightgate("down")
