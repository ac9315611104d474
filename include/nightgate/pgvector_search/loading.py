"""Tables of the benchmark: loaded by binary COPY, indexed, and kept for the next night.

They live in a schema of our own, named by what they hold. A table is loaded under a temporary name; it gets its own
name, and with it a comment with the facts of its build, in one transaction at the very end. So whatever carries the
comment is complete, and whatever an interrupted load left behind is dropped by the next one.
"""

from __future__ import annotations

import json
import logging
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nightgate.pgvector_search.server import collect_notices, ensure_extension
from nightgate.record import utc_now

if TYPE_CHECKING:
    import numpy as np
    from psycopg import Connection
    from psycopg.sql import Composed, Identifier

log = logging.getLogger(__name__)

SCHEMA = "nightgate_bench"
FORMAT = 1  # raise it when the same name would stand for another table

_TYPES = {"ivfflat": ("vector", ">f4"), "ivfflat_halfvec": ("halfvec", ">f2")}
_LOCK = 0x6E67_7462  # an arbitrary constant: the advisory lock of our schema
_BLOCK = 10_000
_LOG_EVERY = 3.0
_COPY_HEADER = b"PGCOPY\n\xff\r\n\0" + bytes(8)  # signature, no flags, no header extension
_COPY_TRAILER = b"\xff\xff"


@dataclass(frozen=True)
class Table:
    """The table of one variant over one data set (``digest``, hexadecimal) with one number of lists."""

    variant: str
    digest: str
    lists: int

    @property
    def name(self) -> str:
        return f"{self.variant}_{self.digest}_{self.lists}"

    @property
    def index(self) -> str:
        return f"{self.name}_vec"

    @property
    def vector_type(self) -> str:
        """``vector`` or ``halfvec``."""
        return _TYPES[self.variant][0]

    def identifier(self) -> Identifier:
        from psycopg.sql import Identifier

        return Identifier(SCHEMA, self.name)


def lock(connection: Connection[Any], *, shared: bool) -> None:
    """Wait for our schema until this session ends: one loads at a time (not ``shared``), and nobody while one is timed."""
    suffix = "_shared" if shared else ""
    if not connection.execute(f"SELECT pg_try_advisory_lock{suffix}({_LOCK})").fetchone()[0]:  # type: ignore[index]
        log.info("another run uses the tables in %s; waiting for it to end", SCHEMA)
        connection.execute(f"SELECT pg_advisory_lock{suffix}({_LOCK})")


def ensure(connection: Connection[Any], table: Table, base: np.ndarray) -> dict[str, Any]:
    """Load and index ``base`` (rows, dim), float32, as ``table``, unless it is there already.

    The caller holds the exclusive `lock`. Tables of other data sets or numbers of lists are dropped.

    Returns:
        the facts of the build: ``load_seconds`` (COPY and its commit), ``rows_per_second``, ``build_seconds`` (the
        index), ``index_bytes``, ``table_bytes``, ``notices``, ``built_at``, ``pgvector``, ``reused``.
    """
    made_for = {"format": FORMAT, "rows": len(base), "dim": base.shape[1], "pgvector": ensure_extension(connection)}
    kept = _clear(connection, table, made_for)
    if kept:
        log.info("%s: the table of %s is reused", table.variant, kept["built_at"])
        return kept | {"reused": True}
    notices = collect_notices(connection)
    start = time.perf_counter()
    draft = _load(connection, table, base)
    load_seconds = time.perf_counter() - start
    build_seconds = _build_index(connection, table, draft)
    facts = made_for | {
        "load_seconds": load_seconds,
        "rows_per_second": len(base) / load_seconds,
        "build_seconds": build_seconds,
        "index_bytes": _size(connection, "pg_relation_size", table.index),
        "table_bytes": _size(connection, "pg_table_size", draft),
        "notices": list(notices),
        "built_at": utc_now(),
    }
    _finish(connection, table, draft, facts)
    return facts | {"reused": False}


def encode_rows(first_id: int, vectors: np.ndarray, element: str) -> bytes:
    """The rows of ``COPY … (FORMAT binary)`` for consecutive ids, a whole block at once.

    Args:
        vectors: shape (n, dim).
        element: ``">f4"`` for the type vector, ``">f2"`` for halfvec; both send int16 dim, int16 unused, elements.
    """
    import numpy as np

    count, dim = vectors.shape
    row = np.dtype([
        ("fields", ">i2"),
        ("id_size", ">i4"), ("id", ">i4"),
        ("vec_size", ">i4"), ("dim", ">i2"), ("unused", ">i2"), ("vec", element, (dim,)),
    ])  # fmt: skip
    rows = np.zeros(count, dtype=row)
    rows["fields"], rows["id_size"], rows["dim"] = 2, 4, dim
    rows["id"] = np.arange(first_id, first_id + count)
    rows["vec_size"] = 4 + dim * np.dtype(element).itemsize
    rows["vec"] = vectors
    return rows.tobytes()


def _clear(connection: Connection[Any], wanted: Table, made_for: dict[str, Any]) -> dict[str, Any] | None:
    """Drop what is incomplete or of other contents. Returns the facts of ``wanted`` if it stands, index and all."""
    from psycopg.sql import SQL, Identifier

    if not connection.execute("SELECT to_regnamespace(%s)", [SCHEMA]).fetchone()[0]:  # type: ignore[index]
        connection.execute(SQL("CREATE SCHEMA {}").format(Identifier(SCHEMA)))
    found = connection.execute(
        """
        SELECT c.relname, obj_description(c.oid, 'pg_class'), EXISTS (
            SELECT FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid
            WHERE i.indrelid = c.oid AND i.indisvalid AND x.relname = c.relname || '_vec')
        FROM pg_class c WHERE c.relnamespace = to_regnamespace(%s) AND c.relkind = 'r'
        """,
        [SCHEMA],
    ).fetchall()
    kept = None
    for name, comment, indexed in found:
        facts = _read_facts(comment) if indexed else {}
        current = made_for.items() <= facts.items() and name.endswith(f"_{wanted.digest}_{wanted.lists}")
        if not current:
            log.info("dropping %s.%s: it is of another run or incomplete", SCHEMA, name)
            connection.execute(SQL("DROP TABLE {}").format(Identifier(SCHEMA, name)))
        elif name == wanted.name:
            kept = facts
    return kept


def _read_facts(comment: str | None) -> dict[str, Any]:
    try:
        facts = json.loads(comment or "{}")
    except ValueError:
        return {}
    return facts if isinstance(facts, dict) else {}


def _load(connection: Connection[Any], table: Table, base: np.ndarray) -> str:
    """COPY ``base`` into a table under a temporary name; returns that name.

    CREATE and COPY share a transaction: FREEZE then needs no VACUUM afterwards, and with wal_level=minimal no WAL is
    written. Autovacuum stays away from a table that never changes, so that it cannot disturb a measurement.
    """
    from psycopg.sql import SQL, Identifier

    rows, dim = base.shape
    draft = f"{table.name}_loading"
    vector_type, element = _TYPES[table.variant]
    create = SQL("CREATE TABLE {} (id int4 NOT NULL, vec {}({})) WITH (autovacuum_enabled = false)")
    copy_into = SQL("COPY {} (id, vec) FROM STDIN WITH (FORMAT binary, FREEZE)").format(Identifier(SCHEMA, draft))
    with connection.transaction(), connection.cursor() as cursor:
        cursor.execute(create.format(Identifier(SCHEMA, draft), SQL(vector_type), SQL(str(dim))))
        with cursor.copy(copy_into) as copy:
            progress = _Progress(table.variant, rows)
            copy.write(_COPY_HEADER)
            for start in range(0, rows, _BLOCK):
                block = base[start : start + _BLOCK]
                copy.write(encode_rows(start, block, element))
                progress.done(start + len(block))
            copy.write(_COPY_TRAILER)
    return draft


def _build_index(connection: Connection[Any], table: Table, draft: str) -> float:
    log.info("%s: building the index with %d lists", table.variant, table.lists)
    start = time.perf_counter()
    connection.execute(_create_index(table, draft))
    seconds = time.perf_counter() - start
    log.info("%s: the index took %.1f s", table.variant, seconds)
    return seconds


def _create_index(table: Table, draft: str) -> Composed:
    from psycopg.sql import SQL, Identifier

    statement = SQL("CREATE INDEX {} ON {} USING ivfflat (vec {}) WITH (lists = {})")
    operators = Identifier(f"{table.vector_type}_cosine_ops")
    return statement.format(Identifier(table.index), Identifier(SCHEMA, draft), operators, SQL(str(table.lists)))


def _finish(connection: Connection[Any], table: Table, draft: str, facts: dict[str, Any]) -> None:
    from psycopg import Error
    from psycopg.sql import SQL, Identifier, Literal

    connection.execute(SQL("ANALYZE {}").format(Identifier(SCHEMA, draft)))
    with connection.transaction():
        source, target = Identifier(SCHEMA, draft), Identifier(table.name)
        connection.execute(SQL("ALTER TABLE {} RENAME TO {}").format(source, target))
        comment = SQL("COMMENT ON TABLE {} IS {}").format(table.identifier(), Literal(json.dumps(facts)))
        connection.execute(comment)
    try:
        connection.execute("CHECKPOINT")  # now, so that none falls into the measurement
    except Error as error:  # managed servers allow it to administrators only
        log.info("no checkpoint after the load (%s)", error.diag.message_primary)


def _size(connection: Connection[Any], function: str, name: str) -> int:
    from psycopg.sql import SQL, Identifier

    query = SQL("SELECT {}(to_regclass(%s))").format(SQL(function))
    return connection.execute(query, [Identifier(SCHEMA, name).as_string(connection)]).fetchone()[0]  # type: ignore[index]


class _Progress:
    """A log line every few seconds: rows, rows per second, time left."""

    def __init__(self, name: str, rows: int) -> None:
        self.name, self.rows = name, rows
        self.start = self.last = time.monotonic()

    def done(self, count: int) -> None:
        now = time.monotonic()
        if now - self.last < _LOG_EVERY and count < self.rows:
            return
        self.last = now
        rate = count / max(now - self.start, 1e-9)
        left = (self.rows - count) / rate
        log.info("%s: %d of %d rows loaded, %.0f rows/s, %.0f s left", self.name, count, self.rows, rate, left)
