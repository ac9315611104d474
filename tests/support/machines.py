"""The services of Compose files as processes of this machine: their commands, their environment, their probes, their order.

What a container would have of its own is made here: its files (a folder with links in the places of its mounts), its ports
(free ones of this machine, put where the files name a service and its port) and its host name. Nothing else is changed, so
what runs is what the files say.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Mapping
from contextlib import suppress
from functools import cached_property
from pathlib import Path

import psutil
from support import compose_file
from support.compose_file import Service
from support.programs import free_port, program

from nightgate.stack import postgres
from nightgate.stack.postgres import Cluster

BIN = Path(sys.executable).parent
_OWN_ADDRESS = re.compile(r"\b(localhost|127\.0\.0\.1):(\d+)")
_OF_AIRFLOW = ("bash", "python", "airflow")
# what a process has to be told that has no network of its own; a value or, of a command, words
_LISTENING = {
    "airflow-apiserver": {"AIRFLOW__API__HOST": "127.0.0.1", "AIRFLOW__API__PORT": 8080},
    "airflow-scheduler": {"AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_SERVER_PORT": 8974},
    "airflow-triggerer": {"AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT": 8794},
}
_PATIENCE = 120.0
_FIRST_PAUSE, _LONGEST_PAUSE = 0.1, 60.0  # before a service that has ended is started again, as Docker has it


class Machine:
    """One machine: the services of one Compose file, with volumes, ports and a copy of the mounted files of its own.

    Args:
        name: of the machine; worker processes have it in their names.
        file: the Compose file.
        folder: for everything it writes.
        variables: what its ``.env`` says.
        left_out: services of which no program is to be had here.
    """

    def __init__(
        self, name: str, file: Path, folder: Path, variables: Mapping[str, str], left_out: Iterable[str] = ()
    ) -> None:
        self.name, self.folder, self._file, self._variables = name, folder, file, variables
        profiles = set(variables.get("COMPOSE_PROFILES", "").split(","))
        self._every = compose_file.read(file, variables)
        self._left_out = set(left_out)
        self.services = {
            one.name: one
            for one in self._every.values()
            if one.name not in self._left_out and (not one.profiles or one.profiles & profiles)
        }
        self._ports: dict[tuple[str, int], int] = {}
        for one in self.services.values():
            for _, published, own in one.ports:
                self._ports[one.name, own] = published
        self._running: dict[str, _Process] = {}
        self._again: dict[str, tuple[float, float]] = {}

    def port(self, service: str, own: int) -> int:
        """Where ``own`` of a service is here."""
        return self._ports.setdefault((service, own), free_port())

    def up(self) -> None:
        """Start every service, each after those it waits for, and wait until its probe is content."""
        waiting = dict(self.services)
        while waiting:
            ready = [one for one in waiting.values() if not (one.after.keys() - self._left_out) & waiting.keys()]
            assert ready, f"{sorted(waiting)} wait for each other"
            for one in ready:
                self.start(one.name)
            for one in ready:
                self.wait(one.name)
                del waiting[one.name]

    def start(self, name: str) -> None:
        service = self.services[name]
        kind = _Postgres if service.image.startswith(("postgres:", "pgvector/")) else _Process
        self._running[name] = kind(self, service)
        self._running[name].start()

    def wait(self, name: str, seconds: float = _PATIENCE) -> None:
        """Until it is healthy, or, where it ends by itself, has ended well."""
        process, deadline = self._running[name], time.monotonic() + seconds
        ends = any(one.after.get(name) == "service_completed_successfully" for one in self.services.values())
        while not (process.ended() == 0 if ends else process.healthy()):
            over = process.ended() not in (None, 0) or (process.ended() == 0 and not ends)
            assert not over and time.monotonic() < deadline, f"{name} on {self.name}:\n{process.said()}"
            time.sleep(0.3)

    def revive(self) -> None:
        """Start what has ended and says ``restart: unless-stopped``, each time after twice the pause."""
        now = time.monotonic()
        for name, process in list(self._running.items()):
            not_before, pause = self._again.get(name, (now, _FIRST_PAUSE))
            if self.services[name].restarts and process.ended() is not None and now >= not_before:
                self.start(name)
                self._again[name] = now + pause, min(2 * pause, _LONGEST_PAUSE)

    def kill(self, name: str) -> None:
        """As when the machine loses its power: the service and all it started, at once."""
        self._running.pop(name).kill()

    def stop(self, name: str) -> None:
        """As `docker compose stop`."""
        self._running.pop(name).stop()

    def down(self) -> None:
        """Stop everything, the last one first."""
        for name in reversed(list(self._running)):
            self.stop(name)

    def said(self, name: str) -> str:
        return (self.folder / f"{name}.log").read_text(errors="replace")

    def place(self, service: str, path: str) -> Path:
        """Where a path of the service's container is."""
        return self.folder / "containers" / service / path.lstrip("/")

    def volume(self, name: str) -> Path:
        return self.folder / "volumes" / name

    @cached_property
    def checkout(self) -> Path:
        """A copy of the files that are mounted, since every machine has one."""
        made = self.folder / "checkout"
        for service in self.services.values():
            for source, _ in service.mounts:
                to = made / source
                if source.startswith("./") and not to.exists():
                    _copy(self._file.parent / source, to)
        return made

    def here(self, service: Service, text: str) -> str:
        """``text`` of a service with the places and ports of this machine in it."""
        places = "|".join(sorted(map(re.escape, self._places(service)), key=len, reverse=True))
        text = re.sub(rf"(?<![\w./-])({places})(?![\w-])", lambda at: str(self.place(service.name, at[1])), text)
        others = "|".join(sorted(map(re.escape, self._every), key=len, reverse=True))
        text = re.sub(rf"\b({others}):(\d+)", lambda at: f"127.0.0.1:{self.port(at[1], int(at[2]))}", text)
        own = {port for name, port in self._ports if name == service.name}
        return _OWN_ADDRESS.sub(
            lambda at: f"127.0.0.1:{self._ports[service.name, int(at[2])]}" if int(at[2]) in own else at[0], text
        )

    def prepare(self, service: Service) -> None:
        """The files of its container."""
        self.place(service.name, "/tmp").mkdir(parents=True, exist_ok=True)
        for source, target in service.mounts:
            place = self.place(service.name, target)
            place.parent.mkdir(parents=True, exist_ok=True)
            of = self.checkout / source if source.startswith("./") else self.volume(source)
            if not of.is_file():
                of.mkdir(parents=True, exist_ok=True)
            if not place.is_symlink():
                place.symlink_to(of.resolve())

    def _places(self, service: Service) -> list[str]:
        found = [target for _, target in service.mounts]
        return [*found, "/tmp", "/run/secrets", *(["/opt/airflow"] if service.image.startswith("nightgate-") else [])]

    def environment(self, service: Service) -> dict[str, str]:
        path = f"{BIN}{os.pathsep}{postgres.programs()}{os.pathsep}{os.environ['PATH']}"
        home = self.place(service.name, "/home")
        home.mkdir(parents=True, exist_ok=True)
        made = {
            "PATH": path,
            "HOME": str(home),
            "LANG": "C.UTF-8",
            "HOSTNAME": f"{service.name}.{self.name}",
            "PYTHONUNBUFFERED": "1",
        }
        made |= {"PYTHONPATH": given} if (given := os.environ.get("PYTHONPATH")) else {}
        if service.image.startswith("nightgate-"):
            made["AIRFLOW_HOME"] = str(self.place(service.name, "/opt/airflow"))
        for key, value in _LISTENING.get(service.name, {}).items():
            made[key] = str(self.port(service.name, value) if isinstance(value, int) else value)
        made |= {key: self.here(service, value) for key, value in service.environment.items()}
        for key, value in service.environment.items():
            if value in self._every:  # a host and its port in two variables
                port = key.removesuffix("HOST") + "PORT"
                made |= {key: "127.0.0.1", port: str(self.port(value, int(service.environment[port])))}
        if "celery" in service.command:
            made["AIRFLOW__LOGGING__WORKER_LOG_SERVER_PORT"] = str(self.port(service.name, 8793))
        return made

    def words(self, service: Service) -> list[str]:
        """The command of a service, after what its image begins with."""
        words = [self.here(service, word) for word in service.command]
        name = service.image.split(":")[0].rpartition("/")[2]
        if name.startswith("nightgate-"):
            if words[0] not in _OF_AIRFLOW:
                words.insert(0, "airflow")
            return [*words, "--celery-hostname", f"{service.name}.{self.name}"] if "celery" in words else words
        if name == "redis":
            return [
                program(words[0]),
                *words[1:],
                "--bind",
                "127.0.0.1",
                "--port",
                str(self.port(service.name, 6379)),
                "--dir",
                str(self.place(service.name, "/data")),
            ]
        if name == "redis_exporter":
            of = self.environment(service)
            return [
                program("prometheus-redis-exporter"),
                *words,
                f"--web.listen-address=127.0.0.1:{self.port(service.name, 9121)}",
                f"--redis.addr={of['REDIS_ADDR']}",
            ]
        assert name == "prometheus", f"nobody knows how {service.image} begins"
        return [program("prometheus"), *words, f"--web.listen-address=127.0.0.1:{self.port(service.name, 9090)}"]

    def probe(self, service: Service) -> list[str]:
        words = [self.here(service, word) for word in service.health]
        if service.image.startswith("redis:"):
            return [word.replace("redis-cli ", f"redis-cli -p {self.port(service.name, 6379)} ") for word in words]
        if words[0] == "pg_isready":
            return [*words, f"--port={self.port(service.name, 5432)}"]
        return ["curl", "--fail", "--silent", "--output", "/dev/null", words[-1]] if words[0] == "wget" else words

    def secret(self, name: str) -> str:
        return self._variables[compose_file.secret_variables(self._file)[name]]


class _Process:
    """A service at work, with all it starts."""

    def __init__(self, machine: Machine, service: Service) -> None:
        self.machine, self.service = machine, service
        self.log = machine.folder / f"{service.name}.log"
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        machine, service = self.machine, self.service
        machine.prepare(service)
        for name in service.secrets:
            file = machine.place(service.name, f"/run/secrets/{name}")
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(machine.secret(name))
        self._localize()
        with open(self.log, "ab") as log:
            self._process = subprocess.Popen(
                # it ends with the tests, however these end
                ["setpriv", "--pdeathsig", "TERM", *machine.words(service)], env=machine.environment(service), cwd=machine.place(service.name, "/"),
                stdin=subprocess.DEVNULL, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
            )  # fmt: skip

    def healthy(self) -> bool:
        probe = self.machine.probe(self.service)
        environment = self.machine.environment(self.service)
        with suppress(subprocess.TimeoutExpired):
            return subprocess.run(probe, env=environment, capture_output=True, timeout=30, check=False).returncode == 0
        return False

    def ended(self) -> int | None:
        return self._process.poll() if self._process else None

    def said(self) -> str:
        return self.log.read_text(errors="replace")[-3000:]

    def kill(self) -> None:
        for one in self._tree():
            with suppress(psutil.NoSuchProcess):
                one.kill()
        self._process.wait()

    def stop(self) -> None:
        tree = self._tree()
        if self.ended() is None:
            self._process.send_signal(signal.SIGTERM)
            with suppress(subprocess.TimeoutExpired):
                self._process.wait(20)
        for one in tree:
            with suppress(psutil.NoSuchProcess):
                one.kill()
        self._process.wait()

    def _tree(self) -> list[psutil.Process]:
        with suppress(psutil.NoSuchProcess):
            top = psutil.Process(self._process.pid)
            return [*top.children(recursive=True), top]
        return []

    def _localize(self) -> None:
        """Configuration files that name services: a copy in the place of the link."""
        machine, service = self.machine, self.service
        for source, target in service.mounts:
            place = machine.place(service.name, target)
            if source.startswith("./") and place.suffix in (".yml", ".yaml") and place.is_symlink() and place.is_file():
                text = machine.here(service, place.read_text())
                place.unlink()
                place.write_text(text)


class _Postgres(_Process):
    """A PostgreSQL server with what its image does at its first start."""

    def start(self) -> None:
        machine, service = self.machine, self.service
        machine.prepare(service)
        settings = dict(word.split("=", 1) for word in service.command if "=" in word)
        settings |= {"listen_addresses": "127.0.0.1", "port": str(machine.port(service.name, 5432))}
        if shutil.disk_usage("/dev/shm").total < 3 * 2**30:
            settings["dynamic_shared_memory_type"] = "mmap"
        first = not (machine.volume(service.name) / "data").exists()
        self._cluster = Cluster(machine.volume(service.name), settings)
        self._cluster.start()
        self.log = self._cluster.log_file
        if first:
            self._initialize()

    def _initialize(self) -> None:
        import psycopg

        of = self.service.environment
        with psycopg.connect(self._cluster.url(), autocommit=True) as connection:
            connection.execute(
                f"CREATE ROLE {of['POSTGRES_USER']} SUPERUSER LOGIN PASSWORD '{of['POSTGRES_PASSWORD']}'"
            )
            connection.execute(f"CREATE DATABASE {of['POSTGRES_DB']} OWNER {of['POSTGRES_USER']}")
        files = sorted(self.machine.place(self.service.name, "/docker-entrypoint-initdb.d").iterdir())
        with psycopg.connect(self._cluster.url(of["POSTGRES_DB"]), autocommit=True) as connection:
            for file in files:
                for statement in file.read_text().split(";"):
                    if statement.strip():
                        connection.execute(statement)

    def ended(self) -> int | None:
        return None if self._cluster.alive else 1

    def kill(self) -> None:
        self._cluster._server.send_signal(signal.SIGQUIT)
        self._cluster._server.wait()

    def stop(self) -> None:
        self._cluster.stop()


def _copy(source: Path, to: Path) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    if source.is_file():
        shutil.copy2(source, to)
    elif source.name == "benchmarks":
        to.mkdir()  # results are written there, and nothing of it is read
    else:
        shutil.copytree(source, to, ignore=shutil.ignore_patterns("__pycache__"))
