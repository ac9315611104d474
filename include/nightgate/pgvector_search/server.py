"""The PostgreSQL server under test: a session on it, what it is, and errors that never show a password."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

from nightgate.errors import InputError, NightgateError, NotMeasured, ServiceUnavailable, Unavailable

if TYPE_CHECKING:
    from psycopg import Connection, Error

URL_VARIABLE = "PGVECTOR_URL"

_PATIENCE = {"connect_timeout": 10, "keepalives_idle": 30, "keepalives_interval": 10, "keepalives_count": 3}
_SETTINGS = (
    "shared_buffers", "effective_cache_size", "effective_io_concurrency", "work_mem", "maintenance_work_mem",
    "max_parallel_maintenance_workers", "max_parallel_workers_per_gather", "enable_seqscan", "jit", "wal_level",
    "fsync", "synchronous_commit", "huge_pages_status", "ivfflat.probes", "ivfflat.iterative_scan",
)  # fmt: skip


@contextmanager
def session(doing: str, *, required: bool = True) -> Iterator[Connection[Any]]:
    """An autocommit connection to ``PGVECTOR_URL``; whatever PostgreSQL reports inside becomes one of our errors.

    Args:
        doing: completes "the server was lost while it should …" ("load the table").
        required: raise ServiceUnavailable, not Unavailable, when there is no server to begin with.

    Raises:
        Unavailable: the variable is not set, or nobody answers there. InputError: it is no connection string.
        ServiceUnavailable: the server went away later, or lacks room or memory. NotMeasured: it refused a statement.
    """
    import psycopg

    absent = ServiceUnavailable if required else Unavailable
    url = os.environ.get(URL_VARIABLE, "").strip()
    if not url:
        raise absent(f"{URL_VARIABLE} is not set", f"set {URL_VARIABLE} to a PostgreSQL server with pgvector")
    name = _name(url)
    try:
        connection = psycopg.connect(url, autocommit=True, **_PATIENCE)
    except psycopg.Error as error:
        step = f"start it, or point {URL_VARIABLE} at a PostgreSQL server with pgvector"
        raise absent(f"the PostgreSQL server at {name} cannot be reached ({_reason(error)})", step) from error
    with closing(connection):
        try:
            yield connection
        except psycopg.Error as error:
            raise _translated(error, connection, name, doing) from error


def ensure_extension(connection: Connection[Any]) -> str:
    """Create the extension ``vector`` when it is not there; returns its version.

    Raises:
        ServiceUnavailable: the server does not have it, or this user may not create it.
    """
    from psycopg import errors

    if version := _extension_version(connection):
        return version
    try:
        connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
    except (errors.UndefinedFile, errors.FeatureNotSupported) as error:
        step = "install pgvector there (Debian: postgresql-18-pgvector; container: pgvector/pgvector)"
        raise ServiceUnavailable("the PostgreSQL server has no pgvector", step) from error
    except errors.InsufficientPrivilege as error:
        step = f"let an administrator run CREATE EXTENSION vector in the database {connection.info.dbname}"
        raise ServiceUnavailable(f"{connection.info.user} may not create the extension vector", step) from error
    version = _extension_version(connection)
    assert version
    return version


def has_halfvec(connection: Connection[Any]) -> bool:
    """Whether pgvector has the type ``halfvec`` (since 0.7)."""
    return _value(connection, "SELECT to_regtype('halfvec') IS NOT NULL")


def versions(connection: Connection[Any]) -> dict[str, str | None]:
    """``postgresql`` and ``pgvector`` as they run there."""
    return {"postgresql": _value(connection, "SHOW server_version"), "pgvector": _extension_version(connection)}


def settings(connection: Connection[Any]) -> dict[str, str]:
    """The server settings that decide speed, as they hold in this session."""
    asked = "SELECT name, current_setting(name) FROM pg_settings WHERE name = ANY(%s) ORDER BY name"
    return dict(connection.execute(asked, [list(_SETTINGS)]).fetchall())


def collect_notices(connection: Connection[Any]) -> list[str]:
    """A list that grows by every NOTICE and WARNING from now on; psycopg drops them otherwise."""
    notices: list[str] = []
    connection.add_notice_handler(lambda notice: notices.append(f"{notice.severity}: {notice.message_primary}"))
    return notices


def _extension_version(connection: Connection[Any]) -> str | None:
    return _value(connection, "SELECT max(extversion) FROM pg_extension WHERE extname = 'vector'")


def _value(connection: Connection[Any], query: str) -> Any:
    row = connection.execute(query).fetchone()
    return row[0] if row else None


def _name(url: str) -> str:
    """``host:port/database`` for messages.

    An unescaped @ or / in a password moves parts of it into the host, port or database, which libpq then shows in
    its messages, and its messages about a broken string quote it. So neither is ever let through.
    """
    import psycopg
    from psycopg.conninfo import conninfo_to_dict

    try:
        parts = {key: str(value) for key, value in conninfo_to_dict(url).items()}
    except psycopg.ProgrammingError:
        parts = {"port": "none"}
    host, port, database = parts.get("host", "localhost"), parts.get("port", ""), parts.get("dbname", "")
    if not re.fullmatch(r"[\d,]*", port) or "@" in host[1:] + database:
        step = "write postgresql://user:password@host:5432/database, special characters in it percent-encoded"
        raise InputError(f"{URL_VARIABLE} is not a PostgreSQL connection string", step)
    return f"{host}{port and ':'}{port}/{database}"


def _translated(error: Error, connection: Connection[Any], name: str, doing: str) -> NightgateError:
    from psycopg import OperationalError, errors

    reason = _reason(error)
    if connection.closed:
        what = f"the PostgreSQL server at {name} was lost while it should {doing} ({reason})"
        return ServiceUnavailable(what, "see its log, start it, and try again")
    what = f"the PostgreSQL server at {name} could not {doing}: {reason}"
    if isinstance(error, errors.InsufficientPrivilege):
        database, user = connection.info.dbname, connection.info.user
        return ServiceUnavailable(what, f'let an administrator run GRANT CREATE ON DATABASE "{database}" TO "{user}"')
    if isinstance(error, OperationalError):  # no room, no memory, too many connections, cancelled
        return ServiceUnavailable(what, "give the server what it lacks, or lower rows or lists")
    return NotMeasured(what)


def _reason(error: Error) -> str:
    return error.diag.message_primary or " ".join(str(error).split())
