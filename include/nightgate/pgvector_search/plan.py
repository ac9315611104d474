"""Proof that the timed statement uses the index. By default the planner often prefers to scan the whole table."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nightgate.errors import NotMeasured

if TYPE_CHECKING:
    from psycopg import Connection


def require_index(connection: Connection[Any], statement: str, vector: Any, index: str) -> bool:
    """Make sure that ``statement`` with ``vector`` scans ``index`` in this very session.

    Sequential scans are forbidden to the session if that is what it takes.

    Returns:
        whether the planner chose the index by itself.

    Raises:
        NotMeasured: it scans something else all the same, so its times would be those of another query.
    """

    def plan() -> list[str]:
        return _lines(connection.execute(f"EXPLAIN {statement}", [vector]))

    if _uses(plan(), index):
        return True
    connection.execute("SET enable_seqscan = off")
    _check(plan(), index)
    return False


def blocks(connection: Connection[Any], statement: str, vector: Any) -> tuple[int, int]:
    """How many blocks ``statement`` with ``vector`` found in the server's memory, and how many it had to read."""
    explain = f"EXPLAIN (ANALYZE, BUFFERS, TIMING OFF, FORMAT JSON) {statement}"
    plan = connection.execute(explain, [vector]).fetchone()[0][0]["Plan"]  # type: ignore[index]
    return plan["Shared Hit Blocks"], plan["Shared Read Blocks"]


def evidence(connection: Connection[Any], statement: str, vector: Any, index: str) -> list[str]:
    """The plan of the prepared statement itself, run once more with its buffers counted, as PostgreSQL prints it.

    The planner may have given a statement that is run often a plan of its own (a generic one), which a plain EXPLAIN
    of the same text would not show. ``statement`` is the text as prepared, with ``$1``.

    Raises:
        NotMeasured: it does not scan ``index``.
    """
    from psycopg.sql import SQL, Identifier, Literal

    names = connection.execute("SELECT name FROM pg_prepared_statements WHERE statement = %s", [statement]).fetchall()
    if not names:
        raise NotMeasured("the timed statement was not prepared", "connect to the server itself, not through a pooler")
    query = SQL("EXPLAIN (ANALYZE, BUFFERS, TIMING OFF) EXECUTE {}({})")
    explain = query.format(Identifier(names[0][0]), Literal(vector.to_text()))
    plan = _lines(connection.execute(explain))
    _check(plan, index)
    return plan


def _lines(cursor: Any) -> list[str]:
    return [line for (line,) in cursor.fetchall()]


def _uses(plan: list[str], index: str) -> bool:
    return any(f"Index Scan using {index} on " in line for line in plan)


def _check(plan: list[str], index: str) -> None:
    if _uses(plan, index):
        return
    scan = next((line.strip() for line in plan[1:] if "Scan" in line), "")
    raise NotMeasured(
        f"the query does not use the index {index}; its plan is: {plan[0].strip()} {scan}",
        "prepare the benchmark again; if it persists, look at the planner settings of the server, database and role",
    )
