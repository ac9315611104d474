"""One session that asks the timed statement, in the way every measurement of it does."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from nightgate.pgvector_search import plan, server
from nightgate.pgvector_search.settings import K
from nightgate.pgvector_search.tables import Table

if TYPE_CHECKING:
    import numpy as np
    from psycopg import Connection

_SESSION = {
    "max_parallel_workers_per_gather": "0",  # otherwise a parallel scan of the whole table looks cheaper than the index
    "jit": "off",
}
_WORK_MEM = "64MB"  # a scan sorts every row it visits; at PostgreSQL's default of 4 MB that spills to disk


class Asker:
    """A psycopg session: its parameter goes out and the ids come back, both binary, through a prepared statement.

    ``statement`` is the text with psycopg's placeholder, ``prepared`` as PostgreSQL prepares it; ``changed`` is what
    was set in the session, ``planner_chose_index`` whether the planner took the index by itself each time.
    """

    def __init__(self, connection: Connection[Any], table: Table) -> None:
        from pgvector.psycopg import register_vector
        from psycopg.rows import scalar_row

        self.connection, self.table = connection, table
        self.notices = server.collect_notices(connection)
        self.changed = server.change(connection, _SESSION) | server.raise_to(connection, "work_mem", _WORK_MEM)
        self.planner_chose_index = True
        self.statement = f"SELECT id FROM {table.identifier().as_string(connection)} ORDER BY vec <=> %b LIMIT {K}"
        self.prepared = self.statement.replace("%b", "$1")
        register_vector(connection)
        self._cursor = connection.cursor(binary=True, row_factory=scalar_row)

    def ask(self, vector: Any) -> list[int]:
        """The ids of the nearest rows, best first."""
        return self._cursor.execute(self.statement, (vector,), prepare=True).fetchall()

    def put(self, setting: dict[str, int]) -> None:
        """Put ``setting`` in force: the knob of the variant, by its name without the extension's."""
        (value,) = setting.values()
        self.connection.execute("SELECT set_config(%s, %s, false)", [self.table.kind.knob, str(value)])

    def use(self, setting: dict[str, int], vector: Any) -> None:
        """`put` it, and prove with the query ``vector`` that the index is used under it.

        Raises:
            NotMeasured: the plan does not use it.
        """
        self.put(setting)
        chosen = plan.require_index(self.connection, self.statement, vector, self.table.index)
        self.planner_chose_index &= chosen


@contextmanager
def asker(table: Table) -> Iterator[Asker]:
    with server.session("answer the queries") as connection:
        yield Asker(connection, table)


def parameters(table: Table, queries: np.ndarray) -> list[Any]:
    """Queries as psycopg sends them; converting an array is not part of a query's time."""
    from pgvector import HalfVector, Vector

    wrap = HalfVector if table.kind.column == "halfvec" else Vector
    return [wrap(query) for query in queries]


@contextmanager
def one_client(table: Table, setting: dict[str, int], first: np.ndarray) -> Iterator[Callable[[Any], list[int]]]:
    """What a client of `measure.clients` calls: a session of its own under ``setting``. ``first``: (dim,), a query."""
    with asker(table) as session:
        session.use(setting, parameters(table, [first])[0])
        yield session.ask


def rectangle(found: Sequence[list[int]]) -> np.ndarray:
    """The answers as int64, (queries, K), -1 where one is missing."""
    import numpy as np

    return np.array([[*ids, *[-1] * (K - len(ids))] for ids in found], dtype=np.int64)
