"""One start and one stop for everything: two PostgreSQL clusters and the Airflow processes."""

from __future__ import annotations

import logging
import os
import socket
import subprocess
import time
from collections.abc import Callable
from datetime import UTC, datetime
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path

from nightgate.errors import InputError, StackError
from nightgate.files import write_text
from nightgate.measure import host
from nightgate.paths import EMBEDDED_PGVECTOR, dags_dir, pools_file, suite_file
from nightgate.stack import airflow
from nightgate.stack.client import AirflowClient
from nightgate.stack.guard import Guard, end_sessions
from nightgate.stack.keeper import Keeper
from nightgate.stack.lock import Purpose, StackLock
from nightgate.stack.postgres import Cluster, tuned_for_airflow, tuned_for_vectors

log = logging.getLogger(__name__)

_START_TIMEOUT = 180.0
_RESULTS = "nightgate"  # the database


class Stack:
    """A context manager: started on enter, stopped on exit, whatever happened in between.

    Args:
        purpose: "run" (one run, no schedule), "up" (schedule on), "measure" (the benchmark cluster only) or "results" (only that
            of the results, with its database).
        port: of the API server; None: the one that `up` had before, or a free one.
        say: called with one line for each phase.
    """

    def __init__(
        self, home: Path, purpose: Purpose, *, port: int | None = None, say: Callable[[str], None] = log.info
    ) -> None:
        self.home, self.purpose, self.say = home, purpose, say
        self.lock = StackLock(home)
        self._port = port
        self._meta = Cluster(home / "postgres" / "airflow", tuned_for_airflow())
        self._bench = Cluster(home / "postgres" / "bench", tuned_for_vectors(host.describe().memory_bytes))
        self._processes: dict[str, subprocess.Popen[bytes]] = {}
        self._guard: Guard | None = None
        self.client: AirflowClient | None = None
        self._keeper: Keeper | None = None
        self.bench_url = ""
        self.results_url = ""

    @property
    def has_results(self) -> bool:
        """Whether a run of this home has made a database for results."""
        return (self._meta.data / "PG_VERSION").exists()

    def __enter__(self) -> Stack:
        self.lock.acquire(self.purpose)
        try:
            self._start()
        except BaseException:
            self._stop()
            raise
        return self

    def __exit__(self, *error: object) -> None:
        self._stop()

    def _stop(self) -> None:
        try:
            self._stop_processes()
            self._meta.stop()
            if self._keeper:
                self._keeper.stop()
            self._bench.stop()
        finally:
            os.environ.pop(EMBEDDED_PGVECTOR, None)
            self.lock.release()

    def check(self) -> None:
        """Raise StackError when a part of the stack has died."""
        for name, process in self._processes.items():
            if process.poll() is not None:
                raise StackError(f"the Airflow {name} ended with code {process.returncode}: {self._tail(name)}")
        if not self._meta.alive:
            raise StackError(f"the results database stopped; its log is {self._meta.log_file}")

    def _start(self) -> None:
        if self._port:
            _check_port(self._port)
        if self.purpose == "results":
            self._meta.start()
            self._meta.create_database(_RESULTS)
            self.results_url = self._meta.url(_RESULTS)
            return
        if not os.environ.get("PGVECTOR_URL"):
            self.say("starting PostgreSQL with pgvector")
            self._bench.start()
            self._keeper = Keeper(self._bench)
            self.bench_url = os.environ[EMBEDDED_PGVECTOR] = self._bench.url()
        if self.purpose == "measure":
            return
        self._meta.start()
        for name in ("airflow", _RESULTS):
            self._meta.create_database(name)
        self.results_url = self._meta.url(_RESULTS)
        port = self._port or (_kept_port(self.home) if self.purpose == "up" else _free_port())
        url = f"http://127.0.0.1:{port}"
        environment = airflow.environment(
            self.home,
            port=port,
            metadata_url=self._meta.url("airflow", "postgresql+psycopg2"),
            results_url=self.results_url,
            scheduled=self.purpose == "up",
        )
        self.client = AirflowClient(url, airflow.ADMIN, airflow.password(self.home))
        self._bootstrap(environment)
        if self.purpose == "run":
            self._forget_interrupted_runs()
        self.say("starting Airflow")
        since = datetime.now(UTC)
        self._spawn("api-server", environment)
        self._spawn("dag-processor", environment)
        self._await("the API server", self.client.healthy)
        # after the API server: a task handed out before it answers would fail
        self._spawn("scheduler", environment)
        self._spawn("triggerer", environment)
        self._await("the DAG", lambda: self._parsed_since(since))
        self.lock.publish(
            ready=True,
            url=url,
            user=airflow.ADMIN,
            bench_url=self.bench_url,
            results_url=self.results_url,
            suite=str(suite_file()),
        )

    def _bootstrap(self, environment: dict[str, str]) -> None:
        """Migrate and import the pools when Airflow, the pools or the DAG are not those of the last start."""
        pools = pools_file()
        facts = f"{version('apache-airflow')} {pools.read_text()} {dags_dir()}"
        wanted = sha256(facts.encode()).hexdigest()
        marker = self._meta.folder / "bootstrapped"
        if marker.exists() and marker.read_text() == wanted:
            return
        self.say("preparing Airflow's database (first start)")
        log_file = self._log("bootstrap")
        with open(log_file, "wb") as out:
            command = [*airflow.command()[:1], "-m", "nightgate.stack.bootstrap", str(pools)]
            done = subprocess.run(command, env=environment, stdout=out, stderr=subprocess.STDOUT, check=False)
        if done.returncode:
            raise StackError(f"Airflow's database could not be prepared: {self._tail('bootstrap')}")
        marker.write_text(wanted)

    def _forget_interrupted_runs(self) -> None:
        """A run that a crash cut off must not go on beside the one that starts now."""
        import psycopg

        with psycopg.connect(self._meta.url("airflow")) as connection:
            for table in ("task_instance", "dag_run"):
                connection.execute(
                    f"UPDATE {table} SET state = 'failed', end_date = now() "
                    "WHERE state IN ('running', 'queued', 'scheduled', 'restarting', 'up_for_retry', 'deferred')"
                )

    def _spawn(self, name: str, environment: dict[str, str]) -> None:
        self._guard = self._guard or Guard()
        with open(self._log(name), "wb") as out:
            # sessions of their own: Ctrl-C in the terminal is ours to handle
            self._processes[name] = subprocess.Popen(
                airflow.command(*airflow.COMPONENTS[name]),
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._guard.watch(self._processes[name].pid)

    def _await(self, what: str, ready: Callable[[], bool]) -> None:
        deadline = time.monotonic() + _START_TIMEOUT
        while not ready():
            self.check()
            if time.monotonic() > deadline:
                raise StackError(f"{what} was not ready within {_START_TIMEOUT:.0f} s", f"read {self.home / 'logs'}")
            time.sleep(0.2)

    def _parsed_since(self, since: datetime) -> bool:
        assert self.client
        parsed = self.client.parsed_at()
        if parsed and datetime.fromisoformat(parsed.replace("Z", "+00:00")) >= since:
            return True
        if errors := self.client.import_errors():
            raise StackError(f"a DAG file cannot be imported: {'; '.join(errors)}")
        return False

    def _stop_processes(self) -> None:
        # whole sessions, not only their leaders: the scheduler would wait for its running tasks to end by themselves
        end_sessions(process.pid for process in self._processes.values())
        for process in self._processes.values():
            process.wait()
        self._processes.clear()
        if self._guard:
            self._guard.dismiss()

    def _log(self, name: str) -> Path:
        folder = self.home / "logs"
        folder.mkdir(exist_ok=True)
        return folder / f"{name}.log"

    def _tail(self, name: str) -> str:
        lines = self._log(name).read_text(errors="replace").strip().splitlines()
        return f"{' | '.join(lines[-3:])} (all of it: {self._log(name)})"


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _kept_port(home: Path) -> int:
    """That of the last time, so that addresses stay right, or a free one where it is taken or there was none."""
    file = home / "airflow" / "port"
    try:
        port = int(file.read_text())
        _check_port(port)
    except (OSError, ValueError, OverflowError, InputError):
        port = _free_port()
        file.parent.mkdir(parents=True, exist_ok=True)
        write_text(file, str(port))
    return port


def _check_port(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError as error:
            raise InputError(
                f"port {port} is taken ({error.strerror})", "choose another with --port, or leave it out"
            ) from error
