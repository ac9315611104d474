"""What a session must have whatever its role, its database or the server's files set, and the proof that it keeps it.

A pooler that hands each transaction to another of its server's sessions (PgBouncer's ``pool_mode = transaction``)
would give our settings and our advisory lock to whoever comes next. So before anything is set or locked it is proven
that this connection has a session of the server to itself.
"""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

from nightgate.errors import ServiceUnavailable
from nightgate.pgvector_search.address import URL_VARIABLE

if TYPE_CHECKING:
    from psycopg import Connection

PINNED = {
    # limits would end a load or an index build half way, or the session that holds the lock while others are timed
    "statement_timeout": "0",
    "transaction_timeout": "0",
    "idle_in_transaction_session_timeout": "0",
    "idle_session_timeout": "0",
    "lock_timeout": "30min",
    # every statement is a short transaction that sees what is committed, waits for no snapshot, and is not filtered
    "default_transaction_isolation": "read committed",
    "default_transaction_deferrable": "off",
    "row_security": "off",
    "exit_on_error": "off",
    # the tables are PostgreSQL's own, the plan is read by the names in it, and the notices about an index are kept
    "default_table_access_method": "heap",
    "quote_all_identifiers": "off",
    "client_min_messages": "notice",
    # what else than the cost would keep the planner from the index, or plan a prepared statement anew each time
    "enable_indexscan": "on",
    "enable_seqscan": "on",
    "enable_sort": "on",
    "debug_parallel_query": "off",
    "plan_cache_mode": "auto",
}
"""Settings of every session of ours; one that the server does not have is left out."""

_ROUNDS = 3
_PATIENCE = 10.0  # seconds in which a pooler must give a second session
_SET = """
    SELECT name, set_config(name, wanted, false) FROM unnest(%s::text[], %s::text[]) AS pinned(name, wanted)
    JOIN pg_settings USING (name)
    """
_STEP = f"point {URL_VARIABLE} at the server itself, or at a pooler that gives each client a session (PgBouncer: pool_mode=session)"


def prove(connection: Connection[Any], connect: Callable[[], Connection[Any]]) -> bool:
    """Make sure that ``connection`` keeps one session of the server; nothing is set or locked before.

    The server tells each client which process serves it. Where that is not who answers, something stands between, and
    it must show that its sessions are not shared: a second client, made by ``connect``, gets another one while it holds
    it in a transaction, and the first keeps its own.

    Returns:
        whether there is a pooler in between, which gives each client a session.

    Raises:
        ServiceUnavailable: transactions of one client get different sessions, or no second session is to be had.
    """
    from psycopg import Error

    own = _backend(connection)
    if own == connection.info.backend_pid:
        return False
    for _ in range(_ROUNDS):
        with closing(connect()) as second:
            try:
                with _cut_off(second):
                    second.execute("BEGIN")
                    other = _backend(second)
            except Error as error:
                if "statement pooling" in str(error):
                    raise _shared() from error
                what = (
                    f"the pooler before the PostgreSQL server serves no second client ({' '.join(str(error).split())})"
                )
                raise ServiceUnavailable(what, f"raise its pool_size, or {_STEP}") from error
            if other == own or _backend(connection) != own:
                raise _shared()
            second.execute("ROLLBACK")
    return True


def pin(connection: Connection[Any]) -> None:
    """Set `PINNED`, and look in the next transaction that it holds.

    Raises:
        ServiceUnavailable: it does not.
    """
    rows = connection.execute(_SET, [list(PINNED), list(PINNED.values())]).fetchall()
    names, values = [row[0] for row in rows], [row[1] for row in rows]
    query = "SELECT array_agg(current_setting(name) ORDER BY place) FROM unnest(%s::text[]) WITH ORDINALITY AS pinned(name, place)"
    row = connection.execute(query, [names]).fetchone()
    if row is None or row[0] != values:
        raise _shared()


def reset(connection: Connection[Any]) -> None:
    """Make a pooler's session as new, before us and after us: not every pooler does it, and not every client lives to."""
    connection.execute("DISCARD ALL")


def _backend(connection: Connection[Any]) -> int:
    answer: int = connection.execute("SELECT pg_backend_pid()").fetchone()[0]  # type: ignore[index]
    return answer


def _shared() -> ServiceUnavailable:
    what = (
        "the connection goes through a pooler that shares sessions between clients (transaction or statement pooling), "
        "where neither settings nor locks hold"
    )
    return ServiceUnavailable(what, _STEP)


@contextmanager
def _cut_off(connection: Connection[Any]) -> Iterator[None]:
    """End a wait that is longer than a pooler may take; PgBouncer alone would let it wait for minutes."""
    timer = threading.Timer(_PATIENCE, _shut, [connection.fileno()])
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _shut(number: int) -> None:
    with socket.socket(fileno=socket.dup(number)) as connection:
        connection.shutdown(socket.SHUT_RDWR)
