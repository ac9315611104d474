"""One session that asks the timed statement, in the way every measurement of it does."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from nightgate.pgvector_search import plan, server, warming
from nightgate.pgvector_search.tables import Table, require_rows
from nightgate.pgvector_search.variants import OPERATORS
from nightgate.vector_search.session import Facts, Proof, Setting
from nightgate.vector_search.store import Address, StoreSession

if TYPE_CHECKING:
    import numpy as np
    from psycopg import Connection

_SESSION = {
    "max_parallel_workers_per_gather": "0",  # otherwise a parallel scan of the whole table looks cheaper than the index
    "jit": "off",
}
_WORK_MEM = "64MB"  # a scan sorts every row it visits; at PostgreSQL's default of 4 MB that spills to disk


class Asker(StoreSession):
    """A psycopg session: its parameter goes out and the ids come back, both binary, through a prepared statement.

    ``statement`` is the text with psycopg's placeholder, ``prepared`` as PostgreSQL prepares it; ``changed`` is what
    was set in the session, ``planner_chose_index`` whether the planner took the index by itself each time.
    """

    def __init__(self, connection: Connection[Any], table: Table, k: int) -> None:
        from pgvector.psycopg import register_vector
        from psycopg.rows import scalar_row

        self.connection, self.table = connection, table
        self.settings = [{table.knob_name: step} for step in table.kind.fits(table.lists_of_index)]
        self.notices = server.collect_notices(connection)
        self.changed = server.change(connection, _SESSION) | server.raise_to(connection, "work_mem", _WORK_MEM)
        self.planner_chose_index = True
        name, operator = table.identifier().as_string(connection), OPERATORS[table.metric]
        self.statement = f"SELECT id FROM {name} ORDER BY vec {operator} %b LIMIT {k}"
        self.prepared = self.statement.replace("%b", "$1")
        register_vector(connection)
        self._cursor = connection.cursor(binary=True, row_factory=scalar_row)

    def search(self, query: Any) -> list[int]:
        """The ids of the nearest rows, best first."""
        return self._cursor.execute(self.statement, (query,), prepare=True).fetchall()

    def check(self) -> None:
        require_rows(self.connection, self.table, self.table.rows)

    def tune(self, setting: Setting, query: Any) -> None:
        """Put ``setting`` in force: the knob of the variant, by its name without the extension's.

        Raises:
            NotMeasured: the plan of ``query`` does not use the index under it.
        """
        (value,) = setting.values()
        self.connection.execute("SELECT set_config(%s, %s, false)", [self.table.kind.knob, str(value)])
        if query is not None:
            chosen = plan.require_index(self.connection, self.statement, query, self.table.index)
            self.planner_chose_index &= chosen

    def warm(self, base: np.ndarray) -> Facts:
        return warming.warm(self.connection, self.statement, self.table, base)

    def versions(self) -> dict[str, str]:
        clients = {"pgvector-python": version("pgvector"), "psycopg": version("psycopg")}
        return server.versions(self.connection) | clients

    def prove(self, query: Any) -> Proof:
        """The plan of the prepared statement itself, and what decides its speed."""
        proof = plan.evidence(self.connection, self.prepared, query, self.table.index)
        facts: Facts = {
            "statement": self.prepared,
            "plan": list(proof),
            "planner_chose_index": self.planner_chose_index,
            "session": dict(self.changed),
            "notices": list(self.notices),
            **server.facts(self.connection),
        }
        return Proof(self.versions(), facts)


@contextmanager
def asker(where: Address, table: Table, k: int) -> Iterator[Asker]:
    with server.session(where, "answer the queries") as connection:
        yield Asker(connection, table, k)
