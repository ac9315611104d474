"""What PostgreSQL reports inside a session, as one of our errors: the cause, and what to do about it."""

from __future__ import annotations

from contextlib import suppress
from typing import TYPE_CHECKING, Any

from nightgate.errors import NightgateError, NotMeasured, ServiceUnavailable

if TYPE_CHECKING:
    from psycopg import Connection, Error

SCHEMA = "nightgate_bench"
"""The schema of our tables."""

_RIGHTS = """
    SELECT current_database(), current_user, has_database_privilege(current_database(), 'CREATE'),
        to_regnamespace(%s) IS NOT NULL AND NOT has_schema_privilege(%s, 'USAGE, CREATE'),
        (SELECT string_agg(DISTINCT pg_get_userbyid(relowner), ', ') FROM pg_class
         WHERE relnamespace = to_regnamespace(%s) AND NOT pg_has_role(relowner, 'USAGE'))
    """


def translated(error: Error, connection: Connection[Any], name: str, doing: str) -> NightgateError:
    """An error inside a session. ``doing`` completes "the server was lost while it should …"."""
    why = reason(error)
    if connection.closed:
        what = f"the PostgreSQL server at {name} was lost while it should {doing} ({why})"
        return ServiceUnavailable(what, "see its log, start it, and try again")
    what = f"the PostgreSQL server at {name} could not {doing}: {why}"
    step = _step(error, connection)
    return ServiceUnavailable(what, step) if step else NotMeasured(what)


def reason(error: Error) -> str:
    return error.diag.message_primary or " ".join(str(error).split())


def no_shared_memory(error: Error) -> bool:
    """Whether the server found no room for memory that its parallel workers share; only the segment's name is the same
    in every language."""
    return '"/PostgreSQL.' in reason(error)


def _step(error: Error, connection: Connection[Any]) -> str | None:
    """What to do about ``error``, None where a statement of ours was simply refused."""
    from psycopg import OperationalError, errors

    if isinstance(error, errors.InsufficientPrivilege):
        return _missing_right(connection)
    if no_shared_memory(error):
        return (
            "give the server more shared memory (in a container /dev/shm often has 64 MB: docker run --shm-size=1g), or "
            "lower its maintenance_work_mem or max_parallel_maintenance_workers"
        )
    if isinstance(error, errors.QueryCanceled) and "timeout" in reason(error):
        return "give statements more time: raise statement_timeout for this user or database, or in the URL's options"
    steps: list[tuple[type[Error], str]] = [
        (errors.ReadOnlySqlTransaction, "it takes no writes now: point the connection at the primary server"),
        (errors.LockNotAvailable, "another run uses the tables for very long: see pg_stat_activity, then try again"),
        (errors.DiskFull, "free some space there, or lower rows"),
        (errors.ConfigurationLimitExceeded, "let an administrator raise the limit that it names, or lower rows"),
        (errors.ProgramLimitExceeded, "raise maintenance_work_mem there, or lower lists"),
        (errors.OutOfMemory, "give it more memory, lower maintenance_work_mem there, or lower rows or lists"),
        (errors.TooManyConnections, "end other connections there, or raise the limit"),
        (errors.QueryCanceled, "somebody there cancelled it: see its log, then try again"),
        (
            errors.InvalidSchemaName,
            "let its search_path name a schema that is there: ALTER ROLE … SET search_path = public",
        ),
        (errors.SerializationFailure, "another session changed the same thing: try again"),
        (errors.DeadlockDetected, "another session wanted the same tables: try again"),
        (errors.UndefinedFile, "pgvector is not whole there: install its package again"),
        (OperationalError, "see its log"),
    ]
    for kind, step in steps:
        if isinstance(error, kind):
            return "raise maintenance_work_mem there, or lower lists" if _names_memory(error) else step
    return None


def _names_memory(error: Error) -> bool:
    return "maintenance_work_mem" in reason(error)


def _missing_right(connection: Connection[Any]) -> str:
    """What an administrator must grant, looked up: the server's message names one object and not what was wanted."""
    from psycopg import Error
    from psycopg.rows import tuple_row

    row = None
    with suppress(Error):  # the session may be in a state in which nothing can be asked
        row = connection.cursor(row_factory=tuple_row).execute(_RIGHTS, [SCHEMA] * 3).fetchone()
    if row is None:
        return "let an administrator grant what it names"
    database, user, may_create, no_schema, owners = row
    if no_schema:
        return f'let an administrator run GRANT USAGE, CREATE ON SCHEMA {SCHEMA} TO "{user}", or drop that schema'
    if owners:
        return f"tables in {SCHEMA} belong to {owners}: measure as that user, or let it drop them"
    if not may_create:
        return f'let an administrator run GRANT CREATE ON DATABASE "{database}" TO "{user}"'
    return f'let an administrator grant what it names to "{user}"'
