"""Restart the embedded server, so that a query meets it cold: the stack that owns it starts it again."""

from __future__ import annotations

import os
import signal
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nightgate.errors import NightgateError, ServiceUnavailable
from nightgate.pgvector_search import server

if TYPE_CHECKING:
    from psycopg import Connection

_PATIENCE = 60.0
_STARTED = "SELECT pg_postmaster_start_time()::text"


def restart(connection: Connection[Any]) -> None:
    """Stop the server of ``connection`` in an orderly way and wait until it answers again; the session is over then.

    For the embedded server only (`address.embedded`): it runs on this host, as this user or one below it.

    Raises:
        ServiceUnavailable: it did not come back in time.
    """
    before = connection.execute(_STARTED).fetchone()
    data = connection.execute("SHOW data_directory").fetchone()[0]  # type: ignore[index]
    pid = int(Path(data, "postmaster.pid").read_text().split("\n", 1)[0])
    os.kill(pid, signal.SIGINT)  # its fast shutdown
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        time.sleep(0.1)
        with suppress(NightgateError), server.session("start again") as fresh:  # it may be about to go down
            if fresh.execute(_STARTED).fetchone() != before:
                return
    raise ServiceUnavailable(
        f"the embedded PostgreSQL server did not come back within {_PATIENCE:.0f} s", "see its log in NIGHTGATE_HOME"
    )
