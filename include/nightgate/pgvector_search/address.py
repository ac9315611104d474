"""Which server is measured, and what it is called in messages."""

from __future__ import annotations

import re
from urllib.parse import parse_qsl

from nightgate.errors import InputError, closest

URL_VARIABLE = "PGVECTOR_URL"

_FORM = "write postgresql://user:password@host:5432/database, special characters in it percent-encoded"
_OTHERS_NAMES = {  # what other drivers call it → what to do here
    "ssl": "write sslmode=require, or sslmode=verify-full with sslrootcert",
    "sslaccept": "write sslmode=require, or sslmode=verify-full with sslrootcert",
    "schema": "leave it out: the benchmark works in a schema of its own",
    "currentschema": "leave it out: the benchmark works in a schema of its own",
    "search_path": "leave it out: the benchmark works in a schema of its own",
    "charset": "leave it out: the benchmark sets client_encoding itself",
    "encoding": "leave it out: the benchmark sets client_encoding itself",
    "timeout": "write connect_timeout, in seconds",
    "statement_timeout": "leave it out: the benchmark lifts time limits in its own sessions",
    "pgbouncer": "leave it out, and name a pooler in session mode or the server itself",
    "database": "write dbname, or put it after the host",
    "username": "write user, or put it before the host",
}
_NOWHERE = "/nonexistent/nightgate"  # a socket that libpq looks for only when it likes every other option

VARIABLES = ("PG[!V]*",)
"""Of the environment, what libpq reads (PGPASSFILE, PGSSLROOTCERT); the address itself is handed on."""


def name(url: str) -> str:
    """``host:port/database`` for messages.

    An unescaped @ or / in a password moves parts of it into the host, port or database, which libpq then shows in
    its messages, and its messages about a broken string quote it. So neither is ever let through.

    Raises:
        InputError: it is no connection string, or libpq does not know one of its options or of their values.
    """
    import psycopg
    from psycopg.conninfo import conninfo_to_dict

    try:
        parts = {key: str(value) for key, value in conninfo_to_dict(url).items()}
    except psycopg.ProgrammingError:
        raise _refused(url) from None
    host, port, database = parts.get("host", "localhost"), parts.get("port", ""), parts.get("dbname", "")
    broken = InputError(f"{URL_VARIABLE} is not a PostgreSQL connection string", _FORM)
    if not re.fullmatch(r"[\d,]*", port) or "@" in host[1:] + database:
        raise broken
    if wrong := _wrong_value(parts):
        if "@" in wrong:
            raise broken
        raise InputError(f"{URL_VARIABLE}: {wrong}", "correct it, or leave it out")
    return f"{host}{port and ':'}{port}/{database}"


def _refused(url: str) -> InputError:
    """Why libpq cannot read ``url``, where that can be said without quoting a password that is not escaped."""
    from psycopg import pq

    scheme = re.match(r"(jdbc:)?(postgres(?:ql)?)(\+\w+)?://", url)
    if scheme and (scheme[1] or scheme[3]):
        what = f"{URL_VARIABLE} is not a PostgreSQL connection string as libpq reads it: it begins with {scheme[0]}"
        return InputError(what, "write postgresql:// in its place")
    known = [option.keyword.decode() for option in pq.Conninfo.get_defaults()]
    query = url.partition("?")[2]
    given = [key for key, _ in parse_qsl(query, keep_blank_values=True)] if scheme and "@" not in query else []
    for option in given:
        if option not in known and re.fullmatch(r"\w[\w.-]*", option):
            near = closest(option.lower(), known, 0.75)
            step = f"write {near}" if near else "leave it out; libpq's documentation lists what there is"
            step = _OTHERS_NAMES.get(option.lower(), step)
            return InputError(f"{URL_VARIABLE} has the parameter {option!r}, which libpq does not know", step)
    return InputError(f"{URL_VARIABLE} is not a PostgreSQL connection string", _FORM)


def _wrong_value(parts: dict[str, str]) -> str | None:
    """What libpq says of a value that it does not take (``sslmode=on``), found out without asking any host."""
    from psycopg import pq
    from psycopg.conninfo import make_conninfo

    for option in ("connect_timeout", "keepalives_idle", "keepalives_interval", "keepalives_count"):
        if not re.fullmatch(r"-?\d+", parts.get(option, "0").strip()):
            return f'invalid integer value "{parts[option]}" for connection option "{option}"'
    for port in filter(None, parts.get("port", "").split(",")):
        if not 0 < int(port) < 65536:
            return f'invalid port number: "{port}"'
    ours = {key: value for key, value in parts.items() if key not in ("host", "hostaddr", "port")}
    tried = pq.PGconn.connect_start(make_conninfo(**ours, host=_NOWHERE, port="5432").encode())
    said = tried.get_error_message().strip()
    tried.finish()
    return None if said.startswith("connection to server on socket") else said.removeprefix("connection is bad: ")
