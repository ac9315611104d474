"""The schema of the results store: one numbered file for each change, applied once and in order.

Which ones a database has stands in ``nightgate.versions``. Tables of before there were numbers are told by their columns.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import psycopg

_FOLDER = Path(__file__).with_name("schema")
FILES = {int(file.name.partition("_")[0]): file for file in _FOLDER.glob("[0-9]*_*.sql")}
NEWEST = max(FILES)
"""The version that this Nightgate reads and writes."""

_VERSIONS = """
CREATE TABLE IF NOT EXISTS nightgate.versions (
    version    integer PRIMARY KEY,
    applied_at timestamptz NOT NULL DEFAULT now()
)
"""
# from the catalogue, as it is now: what a name means (to_regclass) is remembered from before the lock was waited for
_TABLES = """
SELECT relname FROM pg_catalog.pg_class JOIN pg_catalog.pg_namespace ON pg_namespace.oid = relnamespace
WHERE nspname = 'nightgate' AND relname IN ('versions', 'results') AND relkind = 'r'
"""
_COLUMNS = "SELECT attname FROM pg_attribute WHERE attrelid = 'nightgate.results'::regclass AND NOT attisdropped"


def version(connection: psycopg.Connection) -> int:
    """That of the database; 0 where there are no tables."""
    tables = {name for (name,) in connection.execute(_TABLES)}
    if "versions" in tables:
        found = connection.execute("SELECT max(version) FROM nightgate.versions").fetchone()
        return (found and found[0]) or 0
    return _by_columns(connection) if "results" in tables else 0


def migrate(connection: psycopg.Connection) -> None:
    """Bring the tables to `NEWEST`, in a transaction of ``connection`` that has done nothing yet; those that are newer stay as they are.

    Several processes may do so at once: whoever comes first holds the lock, and the others find nothing left to do.
    """
    connection.execute("SELECT pg_advisory_xact_lock(hashtextextended('nightgate.schema', 0))")
    before = version(connection)
    if before >= NEWEST:
        return
    for number in sorted(number for number in FILES if number > before):
        connection.execute(FILES[number].read_bytes())
    connection.execute(_VERSIONS)
    with connection.cursor() as cursor:
        insert = "INSERT INTO nightgate.versions (version) VALUES (%s) ON CONFLICT DO NOTHING"
        cursor.executemany(insert, [(number,) for number in sorted(FILES)])


def _by_columns(connection: psycopg.Connection) -> int:
    columns = {name for (name,) in connection.execute(_COLUMNS)}
    return 3 if "suite" in columns else 2 if "standing" in columns else 1
