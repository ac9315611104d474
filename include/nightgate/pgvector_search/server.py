"""The PostgreSQL server under test: a session on it, what it can do, and what it is."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from functools import partial
from typing import TYPE_CHECKING, Any

from pydantic import JsonValue

from nightgate.errors import ServiceUnavailable
from nightgate.pgvector_search import address, connecting, faults, pinning
from nightgate.pgvector_search.variants import SINCE, Variant
from nightgate.vector_search.session import Facts
from nightgate.vector_search.store import Address

if TYPE_CHECKING:
    from psycopg import Connection

log = logging.getLogger(__name__)

_SETTINGS = (
    "shared_buffers",
    "effective_cache_size",
    "effective_io_concurrency",
    "work_mem",
    "maintenance_work_mem",
    "max_parallel_maintenance_workers",
    "max_parallel_workers_per_gather",
    "enable_seqscan",
    "jit",
    "wal_level",
    "fsync",
    "synchronous_commit",
    "huge_pages_status",
    "ivfflat.probes",
    "ivfflat.iterative_scan",
    "hnsw.ef_search",
    "hnsw.iterative_scan",
)
_CANCEL = 5.0  # seconds
_DECIDES_SPEED = r"^(Query Tuning|Resource Usage|Write-Ahead Log|Autovacuum|Vacuuming|Statistics|Client Connection Defaults / Statement)"
_MAY_HOLD_SECRETS = r"conninfo|command|passphrase|password"


@contextmanager
def session(where: Address, doing: str, *, required: bool = True) -> Iterator[Connection[Any]]:
    """An autocommit connection to the server; what PostgreSQL reports inside becomes one of our errors.

    What a role or database may bring along is pinned (`pinning`), and pgvector's names can be used wherever it is
    installed. The embedded server is waited for, since its stack brings it back when it ended. A statement that still
    runs when the block is left by an exception is cancelled, so that the server does not work on for nobody.

    Args:
        doing: completes "the server was lost while it should …" ("load the table").
        required: raise ServiceUnavailable, not Unavailable, when there is no server to begin with.

    Raises:
        Unavailable: nobody is there. InputError: the address is no connection string.
        ServiceUnavailable: the server refuses, went away later, takes no writes, lacks room or memory, or keeps no
            session for us (a pooler).
        NotMeasured: it refused a statement.
    """
    import psycopg

    name = address.name(where.url)
    connect = partial(connecting.connect, where, name)
    with closing(connect(required=required)) as connection:
        pooled = False
        try:
            pooled = pinning.prove(connection, partial(connect, required=True))
            if pooled:
                pinning.reset(connection)
            pinning.pin(connection)
            _require_writes(connection)
            _find_pgvector(connection)
            yield connection
        except psycopg.Error as error:
            raise faults.translated(error, connection, name, doing) from error
        finally:
            _end(connection, pooled)


def _end(connection: Connection[Any], pooled: bool) -> None:
    import psycopg
    from psycopg.pq import TransactionStatus

    with suppress(psycopg.Error):
        if connection.info.transaction_status == TransactionStatus.ACTIVE:
            connection.cancel_safe(timeout=_CANCEL)
        elif pooled:
            pinning.reset(connection)


def change(connection: Connection[Any], settings: dict[str, str]) -> dict[str, str]:
    """Change settings of this session; returns what was changed. One that the server refuses or lacks keeps its value."""
    from psycopg import DataError, ProgrammingError

    changed = {}
    for name, value in settings.items():
        try:
            connection.execute("SELECT set_config(%s, %s, false)", [name, value])
        except (DataError, ProgrammingError) as error:
            log.debug("the server refuses %s=%s (%s)", name, value, error.diag.message_primary)
        else:
            changed[name] = value
    return changed


def raise_to(connection: Connection[Any], name: str, size: str) -> dict[str, str]:
    """Raise an amount of memory to ``size`` for this session, or leave it if it is more already; as `change`."""
    less = "SELECT pg_size_bytes(current_setting(%s)) < pg_size_bytes(%s)"
    return change(connection, {name: size}) if _value(connection, less, name, size) else {}


def ensure_extension(connection: Connection[Any]) -> str:
    """Create the extension ``vector`` when it is not there; returns its version.

    Raises:
        ServiceUnavailable: the server does not have it, or this user may not create it.
    """
    from psycopg import errors

    if version := extension_version(connection):
        return version
    try:
        connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
    except (errors.UndefinedFile, errors.FeatureNotSupported) as error:
        step = "install pgvector there (Debian: postgresql-18-pgvector; container: pgvector/pgvector)"
        raise ServiceUnavailable("the PostgreSQL server has no pgvector", step) from error
    except errors.InsufficientPrivilege as error:
        step = f"let an administrator run CREATE EXTENSION vector in the database {connection.info.dbname}"
        raise ServiceUnavailable(f"{connection.info.user} may not create the extension vector", step) from error
    _find_pgvector(connection)
    version = extension_version(connection)
    assert version
    return version


def lacks(connection: Connection[Any], variant: Variant) -> str | None:
    """What the server's pgvector does not have of ``variant``, as a clause for a message; None when it has all."""
    if not _value(connection, "SELECT to_regtype(%s) IS NOT NULL", variant.column):
        missing = variant.column
    elif not _value(connection, "SELECT count(*) FROM pg_am WHERE amname = %s", variant.method):
        missing = variant.method
    else:
        return None
    since = f", which came with {SINCE[missing]}" if missing in SINCE else ""
    return f"pgvector {extension_version(connection)} has no {missing}{since}"


def versions(connection: Connection[Any]) -> dict[str, str]:
    """Of the server and, where it is created in this database, of the extension."""
    found = {"postgresql": str(_value(connection, "SHOW server_version"))}
    extension = extension_version(connection)
    return found | ({"pgvector": extension} if extension else {})


def facts(connection: Connection[Any]) -> Facts:
    """``settings`` that decide speed, and ``differences``: what else may decide it and is not at its default there. All as
    they hold in this session."""
    from psycopg.rows import tuple_row

    def pairs(query: str, *values: Any) -> dict[str, JsonValue]:
        return dict(connection.cursor(row_factory=tuple_row).execute(query, values).fetchall())

    shown = "SELECT name, current_setting(name) FROM pg_settings WHERE"
    return {
        "settings": pairs(f"{shown} name = ANY(%s) ORDER BY name", list(_SETTINGS)),
        "differences": pairs(
            f"{shown} source NOT IN ('default', 'override', 'client') AND category ~ %s AND name <> ALL(%s) "
            "AND name !~ %s ORDER BY name",
            _DECIDES_SPEED,
            [*_SETTINGS, *pinning.PINNED],
            _MAY_HOLD_SECRETS,
        ),
    }


def backend(connection: Connection[Any]) -> int:
    """The server's process that serves ``connection``; what libpq was told may be a pooler's invention."""
    answer: int = _value(connection, "SELECT pg_backend_pid()")
    return answer


def collect_notices(connection: Connection[Any]) -> list[str]:
    """A list that grows by every NOTICE and WARNING from now on; psycopg drops them otherwise."""
    notices: list[str] = []
    connection.add_notice_handler(lambda notice: notices.append(f"{notice.severity}: {notice.message_primary}"))
    return notices


def extension_version(connection: Connection[Any]) -> str | None:
    answer: str | None = _value(connection, "SELECT max(extversion) FROM pg_extension WHERE extname = 'vector'")
    return answer


def _require_writes(connection: Connection[Any]) -> None:
    standby = "SELECT pg_is_in_recovery()"
    if _value(connection, standby):
        what, step = "the PostgreSQL server is a standby, which takes no writes", "the primary server"
        raise ServiceUnavailable(what, f"point {address.URL_VARIABLE} at {step}")
    query = "SELECT source FROM pg_settings WHERE name = 'default_transaction_read_only' AND setting = 'on'"
    if source := _value(connection, query):
        raise ServiceUnavailable(
            f"the PostgreSQL server takes no writes: default_transaction_read_only is on (set by: {source})",
            "set it off for this user or database (some providers set it when the disk is full), or point "
            f"{address.URL_VARIABLE} at a primary server that takes writes",
        )


def _find_pgvector(connection: Connection[Any]) -> None:
    """Look up names where the extension is: managed servers often have a schema for extensions, off the search path."""
    row = connection.execute(
        "SELECT nspname, has_schema_privilege(n.oid, 'USAGE'), current_user "
        "FROM pg_extension e JOIN pg_namespace n ON n.oid = extnamespace WHERE extname = 'vector'"
    ).fetchone()
    if not row:
        return
    schema, usable, user = row
    if not usable:
        raise ServiceUnavailable(
            f"pgvector is in the schema {schema} of that database, which the user {user} may not use",
            f'let an administrator run GRANT USAGE ON SCHEMA "{schema}" TO "{user}"',
        )
    connection.execute("SELECT set_config('search_path', quote_ident(%s), false)", [schema])


def _value(connection: Connection[Any], query: str, *values: Any) -> Any:
    row = connection.execute(query, values or None).fetchone()
    return row[0] if row else None
