"""The advisory lock of our schema: one run loads at a time, and nobody while one is timed."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from nightgate.pgvector_search.faults import SCHEMA
from nightgate.pgvector_search.pinning import PINNED

if TYPE_CHECKING:
    from psycopg import Connection

log = logging.getLogger(__name__)

_LOCK = 0x6E67_7462  # an arbitrary constant


def wait(connection: Connection[Any], *, shared: bool) -> None:
    """Wait for our schema until this session ends: one loads at a time (not ``shared``), and nobody while one is timed."""
    suffix = "_shared" if shared else ""
    if not connection.execute(f"SELECT pg_try_advisory_lock{suffix}({_LOCK})").fetchone()[0]:  # type: ignore[index]
        log.info("another run uses the tables in %s (%s); waiting for it to end", SCHEMA, _holders(connection))
        connection.execute(f"SELECT pg_advisory_lock{suffix}({_LOCK})")


def take(connection: Connection[Any], patience: str = "5s") -> bool:
    """Take the exclusive lock if nobody holds it for longer than ``patience``: a session of ours that has just ended
    takes the server a moment to clear away."""
    from psycopg import errors

    connection.execute("SELECT set_config('lock_timeout', %s, false)", [patience])
    try:
        connection.execute(f"SELECT pg_advisory_lock({_LOCK})")
    except errors.LockNotAvailable:
        return False
    finally:
        connection.execute("SELECT set_config('lock_timeout', %s, false)", [PINNED["lock_timeout"]])
    return True


def share(connection: Connection[Any]) -> None:
    """Hold the lock with others; one that this session holds alone becomes such, without a moment in which it holds none."""
    wait(connection, shared=True)
    connection.execute(f"SELECT pg_advisory_unlock({_LOCK})")


def _holders(connection: Connection[Any]) -> str:
    query = f"""
        SELECT string_agg(format('process %s of %s, user %s', l.pid, coalesce(application_name, '?'), usename), '; ')
        FROM pg_locks l LEFT JOIN pg_stat_activity a USING (pid)
        WHERE locktype = 'advisory' AND granted AND classid = 0 AND objid = {_LOCK} AND objsubid = 1
            AND l.database = (SELECT oid FROM pg_database WHERE datname = current_database())
        """
    row = connection.execute(query).fetchone()
    return (row and row[0]) or "it has just ended"
