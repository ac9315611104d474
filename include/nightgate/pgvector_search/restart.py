"""Restart the embedded server, so that a query meets it cold: the stack that owns it starts it again."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tenacity import RetryError, Retrying, retry_if_exception_type, retry_if_result, stop_after_delay, wait_fixed

from nightgate.errors import NightgateError, ServiceUnavailable
from nightgate.pgvector_search import server
from nightgate.vector_search.store import Address

if TYPE_CHECKING:
    from psycopg import Connection

_PATIENCE = 60.0
_STARTED = "SELECT pg_postmaster_start_time()::text"


def restart(connection: Connection[Any], where: Address) -> None:
    """Stop the server of ``connection`` in an orderly way and wait until it answers again; the session is over then.

    For the embedded server only (`Address.ours`): it runs on this host, as this user or one below it.

    Raises:
        ServiceUnavailable: it did not come back in time.
    """
    before = connection.execute(_STARTED).fetchone()
    data = connection.execute("SHOW data_directory").fetchone()[0]  # type: ignore[index]
    pid = int(Path(data, "postmaster.pid").read_text().split("\n", 1)[0])
    os.kill(pid, signal.SIGINT)  # its fast shutdown

    def started() -> Any:
        with server.session(where, "start again") as fresh:  # it may be about to go down
            return fresh.execute(_STARTED).fetchone()

    again = retry_if_exception_type(NightgateError) | retry_if_result(lambda found: found == before)
    try:
        Retrying(retry=again, wait=wait_fixed(0.1), stop=stop_after_delay(_PATIENCE))(started)
    except RetryError:
        raise ServiceUnavailable(
            f"the embedded PostgreSQL server did not come back within {_PATIENCE:.0f} s",
            "see its log in NIGHTGATE_HOME",
        ) from None
