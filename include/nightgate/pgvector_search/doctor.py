"""What `nightgate doctor` says of the server."""

from __future__ import annotations

from nightgate.errors import NightgateError
from nightgate.pgvector_search import address, server


def finding() -> tuple[bool, str]:
    """Whether the server can be measured, and what it is."""
    if not address.url():
        return True, f"PostgreSQL: the embedded one, since {address.URL_VARIABLE} is not set"
    try:
        with server.session("say what it is") as connection:
            versions = server.facts(connection)["versions"]
    except NightgateError as error:
        return False, f"PostgreSQL: {error}"
    pgvector = versions["pgvector"] or "not created in this database yet"
    return True, f"PostgreSQL: {versions['postgresql']} of {address.URL_VARIABLE}, pgvector {pgvector}"
