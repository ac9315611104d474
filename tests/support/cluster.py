"""The Compose files at work: the main machine and further workers, which share Redis, PostgreSQL and the artefact store."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import yaml
from celery import Celery
from support.machines import Machine
from support.programs import free_port

from nightgate.results.store import Store
from nightgate.stack.client import AirflowClient

ROOT = Path(__file__).resolve().parents[2]
HERE = ROOT / "tests" / "cluster"
WITHOUT = ("statsd-exporter", "grafana")
"""Debian has no package of them."""
LETTERS = "ABCD"
NAMES = ("main", "second", "third", "fourth")


@dataclass
class Cluster:
    """Machines by their letters: A is the main one."""

    machines: tuple[Machine, ...]
    folder: Path

    @property
    def main(self) -> Machine:
        return self.machines[0]

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.main.port('airflow-apiserver', 8080)}"

    def client(self) -> AirflowClient:
        password = self.main.environment(self.main.services["airflow-apiserver"])["AIRFLOW_ADMIN_PASSWORD"]
        return AirflowClient(self.url, "admin", password)

    @property
    def store(self) -> Store:
        worker = self.main.services["airflow-worker-cpu"]
        return Store(self.main.environment(worker)["AIRFLOW_CONN_NIGHTGATE_RESULTS"])

    def runs(self, letter: str) -> Path:
        """The results folder of a machine."""
        return self.machines[LETTERS.index(letter)].checkout / "benchmarks" / "runs"

    def logs(self, letter: str, run_id: str) -> set[str]:
        """The tasks of a run that a machine ran."""
        folder = self.machines[LETTERS.index(letter)].volume("airflow-logs")
        return {log.parent.name.removeprefix("task_id=") for log in folder.glob(f"*/run_id={run_id}/*/*.log")}

    def serve(self, letter: str, queue: str) -> None:
        """Let the worker of a machine take tasks from one more queue."""
        machine = self.machines[LETTERS.index(letter)]
        environment = machine.environment(machine.services["airflow-worker-cpu"])
        with Celery(broker=environment["AIRFLOW__CELERY__BROKER_URL"]) as app:
            (answer,) = app.control.add_consumer(
                queue, destination=[f"celery@{environment['HOSTNAME']}"], reply=True, timeout=10
            )
            assert "ok" in next(iter(answer.values())), answer

    def parsed(self, seconds: float = 60) -> None:
        """Wait until Airflow knows the DAGs."""
        deadline, wanted = time.monotonic() + seconds, {"nightly_benchmarks", "many", f"each.{NAMES[0]}"}
        while wanted - (found := {one["dag_id"] for one in self.client()._call("GET", "/dags?limit=100")["dags"]}):
            assert time.monotonic() < deadline, found
            time.sleep(0.5)

    def trigger(self, run_id: str, dag_id: str = "nightly_benchmarks", **conf: object) -> None:
        self.client()._call(
            "POST", f"/dags/{dag_id}/dagRuns", json={"dag_run_id": run_id, "logical_date": None, "conf": conf}
        )

    def ended(
        self, run_id: str, dag_id: str = "nightly_benchmarks", seconds: float = 300
    ) -> tuple[str, dict[str, str | None]]:
        """The state of a run that has ended, and those of its tasks."""
        client, deadline = self.client(), time.monotonic() + seconds
        path = f"/dags/{dag_id}/dagRuns/{run_id}"
        while (state := client._call("GET", path)["state"]) not in ("success", "failed"):
            assert time.monotonic() < deadline, self.tasks(run_id, dag_id)
            self.let_pass(1)
        return state, self.tasks(run_id, dag_id)

    def let_pass(self, seconds: float) -> None:
        """Wait, while what ends is started again where the Compose files say so."""
        deadline = time.monotonic() + seconds
        while (left := deadline - time.monotonic()) > 0:
            for machine in self.machines:
                machine.revive()
            time.sleep(min(left, 0.5))

    def times(self, run_id: str, dag_id: str, task_id: str) -> tuple[str, str]:
        """When a task started and ended."""
        found = self.client()._call("GET", f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}")
        return found["start_date"], found["end_date"]

    def tasks(self, run_id: str, dag_id: str = "nightly_benchmarks") -> dict[str, str | None]:
        found = self.client()._call("GET", f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances?limit=200")
        return {one["task_id"]: one["state"] for one in found["task_instances"]}


@contextmanager
def started(folder: Path, count: int = 2) -> Iterator[Cluster]:
    """A cluster of so many machines, up and healthy."""
    made = subprocess.check_output(["sh", str(ROOT / "include/compose/new-env.sh")], text=True).splitlines()
    secrets = dict(line.split("=", 1) for line in made if line and not line.startswith("#"))
    names = ("AIRFLOW_PORT", "POSTGRES_PORT", "REDIS_PORT", "PROMETHEUS_PORT", "GRAFANA_PORT")
    common = secrets | {name: str(free_port()) for name in names} | {
        "NIGHTGATE_CACHE_URL": (folder / "shared").as_uri(), "PGVECTOR_SHARED_BUFFERS": "256MB",
        "NIGHTGATE_HOSTS": ",".join(NAMES[:count]),
    }  # fmt: skip
    machines = [Machine(NAMES[0], ROOT / "docker-compose.airflow.yaml", folder / NAMES[0], common, WITHOUT)]
    for name in NAMES[1:count]:
        own = {"MAIN_ADDRESS": "127.0.0.1", "PRIVATE_ADDRESS": "127.0.0.1", "HOST_NAME": name, "LOG_PORT": str(free_port()),
               "COMPOSE_PROFILES": "cpu"}  # fmt: skip
        machines.append(Machine(name, ROOT / "docker-compose.worker.yaml", folder / name, common | own))
    for machine in machines:
        _small(machine.checkout / "include/suites/nightly.yaml")
        for dag in ("many.py", "each.py"):
            (machine.checkout / "dags" / dag).write_bytes((HERE / dag).read_bytes())
    for service in ("airflow-scheduler", "airflow-apiserver"):  # either makes tasks
        policy = machines[0].place(service, "/opt/airflow/config/airflow_local_settings.py")
        policy.parent.mkdir(parents=True)
        policy.write_bytes((HERE / "airflow_local_settings.py").read_bytes())
    try:
        for machine in machines:
            machine.up()
        made = Cluster(tuple(machines), folder)
        made.parsed()
        yield made
    finally:
        for machine in reversed(machines):
            machine.down()


def _small(file: Path) -> None:
    """The suite of a machine becomes one of test size, whose objectives are about what no busy machine changes. Speech takes
    minutes and would show nothing of a cluster that vectors do not."""
    suite = yaml.safe_load(file.read_text())
    small = {
        "hybrid_ann": {"rows": 4000, "queries": 100, "controls": []},
        "pgvector_search": {"rows": 4000, "queries": 100, "controls": [], "lists": 20},
    }
    del suite["transcription"]
    suite["scales"] = {
        scale: {name: {**of[name], **small[name]} for name in small} for scale, of in suite["scales"].items()
    }
    suite["objectives"] = {"hybrid_ann": {"recall_at_100": ">= 0.5"}, "pgvector_search": {"recall_at_5": ">= 0.5"}}
    file.write_text(yaml.safe_dump(suite, sort_keys=False))
    file.with_name("each.yaml").write_text(yaml.safe_dump(suite | {"name": "each", "hosts": "all"}, sort_keys=False))
