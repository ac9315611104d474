"""Which server is measured, and what it is called in messages."""

from __future__ import annotations

import os
import re

from nightgate.errors import InputError
from nightgate.paths import EMBEDDED_PGVECTOR

URL_VARIABLE = "PGVECTOR_URL"


def url() -> str:
    """The user's server (``PGVECTOR_URL``), else the embedded one of the stack that runs, else an empty text."""
    return os.environ.get(URL_VARIABLE, "").strip() or os.environ.get(EMBEDDED_PGVECTOR, "").strip()


def embedded() -> bool:
    """Whether the server is the embedded one, which is ours to restart and to keep tables on."""
    return bool(url()) and not os.environ.get(URL_VARIABLE, "").strip()


def name(url: str) -> str:
    """``host:port/database`` for messages.

    An unescaped @ or / in a password moves parts of it into the host, port or database, which libpq then shows in
    its messages, and its messages about a broken string quote it. So neither is ever let through.

    Raises:
        InputError: it is no connection string.
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
