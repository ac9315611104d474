"""A real PgBouncer before a cluster."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import psycopg
from support.programs import free_port, program

from nightgate.stack.postgres import Cluster, _as_server_user


@contextmanager
def pgbouncer(folder: Path, cluster: Cluster, mode: str, user: str = "postgres", **settings: object) -> Iterator[str]:
    """Start one in the pool ``mode`` whose clients all come to the server as ``user``; gives its URL."""
    found = program("pgbouncer")
    folder.mkdir()
    folder.chmod(0o777)
    port = free_port()
    socket = parse_qs(urlsplit(cluster.url()).query)["host"][0]
    lines = {"listen_addr": "127.0.0.1", "listen_port": port, "auth_type": "any", "pool_mode": mode, "unix_socket_dir": "",
             "logfile": folder / "log", "admin_users": "postgres"} | settings  # fmt: skip
    file = folder / "pgbouncer.ini"
    file.write_text(
        f"[databases]\n* = host={socket} user={user}\n[pgbouncer]\n" + "".join(f"{k} = {v}\n" for k, v in lines.items())
    )
    file.chmod(0o644)
    server = subprocess.Popen(
        [*_as_server_user(), found, str(file)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    url = f"postgresql://{user}@127.0.0.1:{port}/postgres"
    try:
        _await(url, server)
        yield url
    finally:
        server.terminate()
        server.wait(10)


def _await(url: str, server: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 20
    while True:
        try:
            psycopg.connect(url, connect_timeout=2).close()
            return
        except psycopg.OperationalError:
            assert server.poll() is None and time.monotonic() < deadline, "pgbouncer did not start"
            time.sleep(0.05)
