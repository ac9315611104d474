"""Build the index of a table, and say how far it is."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from nightgate.errors import NightgateError
from nightgate.pgvector_search import faults, server
from nightgate.vector_search.store import Address

if TYPE_CHECKING:
    from psycopg import Connection
    from psycopg.sql import Composed, Identifier

log = logging.getLogger(__name__)

_LOG_EVERY = 5.0
_STILL_THERE = "5s"
_PROGRESS = "SELECT phase, tuples_done, tuples_total FROM pg_stat_progress_create_index WHERE pid = %s"


def build_index(
    connection: Connection[Any],
    where: Address,
    target: Identifier,
    index: str,
    method: str,
    operators: str,
    lists: int | None,
    name: str,
) -> float:
    """Create ``index`` over ``target``.vec; returns the seconds it took, see `_build`.

    Args:
        where: the server of ``connection``, which is asked how far it is.
        method: an access method of pgvector; ``lists`` is None for hnsw, which is built by its own defaults.
        operators: the operator class, which decides by what it compares.
        name: what the log calls it.
    """
    from psycopg.sql import SQL, Identifier, Literal

    options = SQL(" WITH (lists = {})").format(Literal(lists)) if lists else SQL("").format()
    statement = SQL("CREATE INDEX {} ON {} USING {} (vec {})").format(
        Identifier(index), target, Identifier(method), Identifier(operators)
    )
    return _build(connection, where, statement + options, name)


def rebuild_index(connection: Connection[Any], where: Address, index: Identifier, name: str) -> float:
    """Build ``index`` anew from the rows that are there; until it is done, or if it fails, the old one stands. As
    `build_index`."""
    from psycopg.sql import SQL

    return _build(connection, where, SQL("REINDEX INDEX {}").format(index), name)


def _build(connection: Connection[Any], where: Address, statement: Composed, name: str) -> float:
    """Run ``statement``; the seconds it took.

    Where the server has no shared memory for parallel workers (a container's /dev/shm often holds 64 MB), it is built
    without them. The server looks now and then whether we are still there, so that it ends a build for nobody.
    """
    from psycopg.errors import DiskFull

    log.info("%s: building the index", name)
    server.change(connection, {"client_connection_check_interval": _STILL_THERE})
    start = time.perf_counter()
    with _watched(where, server.backend(connection), name):
        try:
            with connection.transaction():  # so that one around it outlives a failure
                connection.execute(statement)
        except DiskFull as error:
            if not faults.no_shared_memory(error):
                raise
            log.warning("%s: building without parallel workers (%s)", name, faults.reason(error))
            server.change(connection, {"max_parallel_maintenance_workers": "0"})
            start = time.perf_counter()
            connection.execute(statement)
    seconds = time.perf_counter() - start
    log.info("%s: the index took %.1f s", name, seconds)
    return seconds


@contextmanager
def _watched(where: Address, pid: int, name: str) -> Iterator[None]:
    """Log the phase and the share of the tuples that the backend ``pid`` has done, every few seconds."""
    over = threading.Event()
    watcher = threading.Thread(target=_watch, args=(where, pid, name, over), daemon=True)
    watcher.start()
    try:
        yield
    finally:
        over.set()
        watcher.join()


def _watch(where: Address, pid: int, name: str, over: threading.Event) -> None:
    phase_began, last_phase = time.monotonic(), ""
    if over.wait(_LOG_EVERY):  # a short build needs no second connection
        return
    try:
        with server.session(where, "tell how far the index is") as connection:
            while not over.is_set():
                row = connection.execute(_PROGRESS, [pid]).fetchone()
                phase, done, total = row or ("", 0, 0)
                spent = time.monotonic() - phase_began
                if phase != last_phase:
                    phase_began, last_phase = time.monotonic(), phase
                    log.info("%s: %s", name, phase)
                elif done and total:  # not every build counts
                    left = max(0.0, spent * total / done - spent)
                    log.info("%s: %s, %.0f of %.0f rows, %.0f s of it left", name, phase, done, total, left)
                over.wait(_LOG_EVERY)
    except NightgateError as error:
        log.info("%s: how far the index is cannot be told (%s)", name, error)
