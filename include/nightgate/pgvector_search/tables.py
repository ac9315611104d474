"""Tables of the benchmark: one per variant and data set, whole or not there, in a schema of our own.

A table is loaded under a temporary name; it gets its own name, and with it a comment with the facts of its build, in
one transaction at the very end. So whatever carries the comment is complete, and whatever an interrupted load left
behind is dropped by the next one. Tables are unlogged: nothing of a million vectors goes to the write-ahead log or to
replicas, and a server that crashes amid a load leaves nothing big behind. A crash empties them, which is looked for.
"""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from nightgate.errors import NotMeasured
from nightgate.pgvector_search import faults
from nightgate.pgvector_search.copying import copy_rows, element
from nightgate.pgvector_search.indexing import build_index, rebuild_index
from nightgate.pgvector_search.server import collect_notices, extension_version
from nightgate.pgvector_search.variants import VARIANTS, Variant
from nightgate.vector_search.session import Facts
from nightgate.vector_search.store import Address, Built, Collection

if TYPE_CHECKING:
    import numpy as np
    from psycopg import Connection
    from psycopg.sql import Identifier

log = logging.getLogger(__name__)

SCHEMA = faults.SCHEMA
FORMAT = 3  # raise it when the same name would stand for another table

_DRAFT = "_loading"
_OURS = re.compile(r"(ivfflat|hnsw)[a-z0-9_]*_[0-9a-f]{20}_\d+(_loading)?")  # also those of versions to come or gone
_SAMPLE = 100
_HELD = 0.8  # of shared_buffers may be taken by indexes; the rest is for the rows that answer, and the server's own


@dataclass(frozen=True)
class Table(Collection):
    """The table of one variant over one data set; ``lists`` where the variant names none."""

    lists: int

    @property
    def kind(self) -> Variant:
        return VARIANTS[self.variant]

    @property
    def lists_of_index(self) -> int | None:
        """None where the index has no lists."""
        return (self.kind.lists or self.lists) if self.kind.method == "ivfflat" else None

    @property
    def knob_name(self) -> str:
        """The name of the tuned setting without that of the extension: ``probes``."""
        return self.kind.knob.split(".")[1]

    @property
    def name(self) -> str:
        return f"{self.variant}_{self.digest}_{self.lists_of_index or 0}"

    @property
    def draft(self) -> str:
        return f"{self.name}{_DRAFT}"

    @property
    def index(self) -> str:
        return f"{self.name}_vec"

    def identifier(self) -> Identifier:
        return _identifier(self.name)

    def index_identifier(self) -> Identifier:
        return _identifier(self.index)


def standing(connection: Connection[Any], table: Table, base: np.ndarray) -> Built | None:
    """How ``table`` was built, if it is there already and holds just ``base`` (rows, dim), float32. The way for it is clear
    otherwise.

    The caller holds the exclusive lock (`locks`). Tables of other data sets or numbers of lists are dropped.
    """
    kept = _clear(connection, table, _made_for(connection, table))
    if kept and holds(connection, table, base):
        return kept
    _drop(connection, table.name)
    return None


def load(connection: Connection[Any], where: Address, table: Table, base: np.ndarray) -> None:
    """Make the draft of ``table`` and copy ``base`` into it.

    Autovacuum stays away from a table that never changes, so that it cannot disturb a measurement.
    """
    from psycopg.sql import SQL, Literal

    create = SQL("CREATE UNLOGGED TABLE {} (id int4 NOT NULL, vec {}({})) WITH (autovacuum_enabled = false)")
    draft = _identifier(table.draft)
    connection.execute(create.format(draft, SQL(table.kind.column), Literal(base.shape[1])))
    copy_rows(where, draft, base, table.kind.column, table.variant)


def index(connection: Connection[Any], where: Address, table: Table) -> Facts:
    """Build the index of the draft of ``table``; the seconds it took, and what the server remarked."""
    notices, kind, lists = collect_notices(connection), table.kind, table.lists_of_index
    target, operators = _identifier(table.draft), kind.operators(table.metric)
    seconds = build_index(connection, where, target, table.index, kind.method, operators, lists, table.variant)
    return {"notices": list(notices), "build_seconds": seconds}


def finish(connection: Connection[Any], table: Table, built: Built) -> Built:
    """Give the draft of ``table`` its name, and with it ``built``, what it was made for and its sizes."""
    from psycopg.sql import SQL, Identifier

    draft = _identifier(table.draft)
    built = built.model_copy(
        update=_made_for(connection, table)
        | {
            "index_bytes": _size(connection, "pg_relation_size", table.index),
            "table_bytes": _size(connection, "pg_table_size", table.draft),
        }
    )
    connection.execute(SQL("ANALYZE {}").format(draft))
    with connection.transaction():
        connection.execute(SQL("ALTER TABLE {} RENAME TO {}").format(draft, Identifier(table.name)))
        remember(connection, table, built)
    _checkpoint(connection)
    return built


def rebuild(connection: Connection[Any], where: Address, table: Table, built: Built) -> Built:
    """Build the index of ``table`` anew over the rows that stand; what to remember of it changes with it, or neither does."""
    notices = collect_notices(connection)
    with connection.transaction():
        seconds = rebuild_index(connection, where, table.index_identifier(), table.variant)
        built = built.index_made(seconds).model_copy(
            update={
                "index_bytes": _size(connection, "pg_relation_size", table.index),
                "notices": list(notices),
            }
        )
        remember(connection, table, built)
    _checkpoint(connection)
    return built


def remember(connection: Connection[Any], table: Table, built: Built) -> None:
    """Keep ``built`` with the table, for whoever uses it next."""
    from psycopg.sql import SQL, Literal

    facts = built.model_dump_json(exclude={"reused"})
    connection.execute(SQL("COMMENT ON TABLE {} IS {}").format(table.identifier(), Literal(facts)))


def holds(connection: Connection[Any], table: Table, base: np.ndarray) -> bool:
    """Whether rows from all over the table are those of ``base``, bit for bit. A crash leaves none."""
    import numpy as np
    from pgvector.psycopg import register_vector
    from psycopg.sql import SQL

    register_vector(connection)
    pages = _size(connection, "pg_relation_size", table.name) // 8192
    places = [f"({page},1)" for page in np.unique(np.linspace(0, max(0, pages - 1), _SAMPLE, dtype=int))]
    query = SQL("SELECT id, vec FROM {} WHERE ctid = ANY(%s::tid[])").format(table.identifier())
    rows = connection.cursor(binary=True).execute(query, [places]).fetchall()
    exact = np.dtype(element(table.kind.column))
    return bool(rows) and all(
        0 <= number < len(base) and np.array_equal(_numbers(vector), base[number].astype(exact))
        for number, vector in rows
    )


def count(connection: Connection[Any], table: Table) -> int | None:
    """How many rows it holds, by reading all of it; None when it is not there."""
    from psycopg.sql import SQL

    if not _exists(connection, table):
        return None
    row = connection.execute(SQL("SELECT count(*) FROM {}").format(table.identifier())).fetchone()
    return int(row[0]) if row else None


def require_rows(connection: Connection[Any], table: Table, rows: int) -> None:
    """Read the whole table once: it is in memory then, and known to hold every row.

    Raises:
        NotMeasured: it does not hold ``rows`` rows.
    """
    found = count(connection, table)
    if found != rows:
        what = f"the table {table.name} holds {found} rows, not {rows}"
        raise NotMeasured(what, "prepare the benchmark again")


def fit(connection: Connection[Any], tables: Sequence[Table]) -> bool:
    """Whether the server's memory (shared_buffers) holds the indexes of all ``tables`` at once, with some room."""
    row = connection.execute("SELECT pg_size_bytes(current_setting('shared_buffers'))").fetchone()
    assert row
    return sum(_size(connection, "pg_relation_size", table.index) for table in tables) <= _HELD * int(row[0])


def drop_drafts(connection: Connection[Any]) -> None:
    """Drop what an interrupted load left. The caller holds the exclusive lock (`locks`)."""
    for name, *_ in _found(connection):
        if name.endswith(_DRAFT):
            _drop(connection, name)


def remove(connection: Connection[Any]) -> None:
    """Drop every table of ours, and the schema if nothing else is in it. The caller holds the exclusive lock (`locks`)."""
    from psycopg import errors
    from psycopg.sql import SQL, Identifier

    for name, *_ in _found(connection):
        _drop(connection, name)
    try:
        connection.execute(SQL("DROP SCHEMA IF EXISTS {}").format(Identifier(SCHEMA)))
    except (errors.DependentObjectsStillExist, errors.InsufficientPrivilege) as error:
        log.info("the schema %s stays (%s)", SCHEMA, error.diag.message_primary)


def _clear(connection: Connection[Any], wanted: Table, made_for: Facts) -> Built | None:
    """Drop what is incomplete or of other contents. Returns the facts of ``wanted`` if it stands, index and all."""
    from psycopg.sql import SQL, Identifier

    if not connection.execute("SELECT to_regnamespace(%s)", [SCHEMA]).fetchone()[0]:  # type: ignore[index]
        connection.execute(SQL("CREATE SCHEMA {}").format(Identifier(SCHEMA)))
    kept = None
    others = made_for.keys() - {"lists"}  # the tables of the other variants may have other lists
    for name, comment, indexed in _found(connection):
        facts = _read_facts(comment) if indexed else {}
        same_variant = name.startswith(f"{wanted.variant}_{wanted.digest}_")
        stale = any(facts.get(key) != made_for[key] for key in others) or f"_{wanted.digest}_" not in name
        if stale or (same_variant and name != wanted.name):
            log.info("dropping %s.%s: it is of another run or incomplete", SCHEMA, name)
            _drop(connection, name)
        elif name == wanted.name:
            kept = _read(facts)
    return kept


def _found(connection: Connection[Any]) -> list[tuple[str, str | None, bool]]:
    """Name, comment, and whether a valid index is there, of each table of ours. Any other is left alone."""
    from psycopg.rows import tuple_row

    query = """
        SELECT c.relname, obj_description(c.oid, 'pg_class'), EXISTS (
            SELECT FROM pg_index i JOIN pg_class x ON x.oid = i.indexrelid
            WHERE i.indrelid = c.oid AND i.indisvalid AND x.relname = c.relname || '_vec')
        FROM pg_class c WHERE c.relnamespace = to_regnamespace(%s) AND c.relkind = 'r'
        """
    found = connection.cursor(row_factory=tuple_row).execute(query, [SCHEMA]).fetchall()
    return [row for row in found if _OURS.fullmatch(row[0])]


def _read_facts(comment: str | None) -> dict[str, Any]:
    try:
        facts = json.loads(comment) if comment else None
    except ValueError:
        return {}
    return facts if isinstance(facts, dict) else {}


def _read(facts: dict[str, Any]) -> Built | None:
    try:
        return Built.model_validate(facts)
    except ValidationError:
        return None


def _checkpoint(connection: Connection[Any]) -> None:
    """Now, so that none falls into the measurement."""
    from psycopg import Error

    try:
        connection.execute("CHECKPOINT")
    except Error as error:  # managed servers allow it to administrators only
        log.info("no checkpoint after the load (%s)", error.diag.message_primary)


def _made_for(connection: Connection[Any], table: Table) -> Facts:
    return {
        "format": FORMAT,
        "rows": table.rows,
        "dim": table.dim,
        "metric": table.metric,
        "pgvector": extension_version(connection),
        "lists": table.lists_of_index,
    }


def _drop(connection: Connection[Any], name: str) -> None:
    from psycopg.sql import SQL

    connection.execute(SQL("DROP TABLE IF EXISTS {}").format(_identifier(name)))


def _identifier(name: str) -> Identifier:
    from psycopg.sql import Identifier

    return Identifier(SCHEMA, name)


def _exists(connection: Connection[Any], table: Table) -> bool:
    name = table.identifier().as_string(connection)
    return bool(connection.execute("SELECT to_regclass(%s) IS NOT NULL", [name]).fetchone()[0])  # type: ignore[index]


def _size(connection: Connection[Any], function: str, name: str) -> int:
    from psycopg.sql import SQL

    query = SQL("SELECT coalesce({}(to_regclass(%s)), 0)").format(SQL(function))
    answer: int = connection.execute(query, [_identifier(name).as_string(connection)]).fetchone()[0]  # type: ignore[index]
    return answer


def _numbers(vector: Any) -> np.ndarray:
    """The elements of what pgvector-python makes of a column: an array of vector, a HalfVector of halfvec."""
    answer: np.ndarray = vector.to_numpy() if hasattr(vector, "to_numpy") else vector
    return answer
