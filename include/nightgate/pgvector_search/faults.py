"""What PostgreSQL reports, as one of our errors: the cause, and what to do about it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nightgate.errors import NightgateError, NotMeasured, ServiceUnavailable, Unavailable
from nightgate.pgvector_search.address import URL_VARIABLE

if TYPE_CHECKING:
    from psycopg import Connection, Error


def not_connected(error: Error, url: str, name: str, *, required: bool) -> NightgateError:
    """No connection came about: `Unavailable` (a skip) where nobody answers, unless the server is ``required``.

    A server that answers and refuses (a wrong password, no connection left) is there, so that is never a skip.
    """
    from psycopg import pq

    why = reason(error)
    answer = pq.PGconn.ping(url.encode())  # needs neither user nor password
    if answer in (pq.Ping.OK, pq.Ping.REJECT):
        what = f"the PostgreSQL server at {name} refuses the connection ({why})"
        return ServiceUnavailable(what, f"mend user, password or database in {URL_VARIABLE}, or what the server lacks")
    step = f"start it, or point {URL_VARIABLE} at a PostgreSQL server with pgvector"
    absent = ServiceUnavailable if required else Unavailable
    return absent(f"the PostgreSQL server at {name} cannot be reached ({why})", step)


def translated(error: Error, connection: Connection[Any], name: str, doing: str) -> NightgateError:
    """An error inside a session. ``doing`` completes "the server was lost while it should …"."""
    from psycopg import OperationalError, errors

    why = reason(error)
    if connection.closed:
        what = f"the PostgreSQL server at {name} was lost while it should {doing} ({why})"
        return ServiceUnavailable(what, "see its log, start it, and try again")
    what = f"the PostgreSQL server at {name} could not {doing}: {why}"
    database, user = connection.info.dbname, connection.info.user
    steps: list[tuple[type[Error] | tuple[type[Error], ...], str]] = [
        (errors.InsufficientPrivilege, f'let an administrator run GRANT CREATE ON DATABASE "{database}" TO "{user}"'),
        (errors.ReadOnlySqlTransaction, "it is read-only: point the connection at the primary server"),
        (errors.LockNotAvailable, "another run uses the tables for very long: see pg_stat_activity, then try again"),
        (errors.DiskFull, "free some space there, or lower rows"),
        (errors.ProgramLimitExceeded, "raise maintenance_work_mem there, or lower lists"),
        (errors.QueryCanceled, "somebody there cancelled it: see its log, then try again"),
        (OperationalError, "give the server what it lacks, or lower rows or lists"),  # memory, files, …
    ]
    for kind, step in steps:
        if isinstance(error, kind):
            return ServiceUnavailable(what, step)
    return NotMeasured(what)


def reason(error: Error) -> str:
    return error.diag.message_primary or " ".join(str(error).split())
