"""PostgreSQL with pgvector as a vector store: ``SELECT id … ORDER BY vec <=> $1 LIMIT k`` through an index of its own."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from nightgate.benchmark import Service
from nightgate.errors import NightgateError
from nightgate.paths import EMBEDDED_PGVECTOR
from nightgate.pgvector_search import address, asking, locks, restart, server, tables
from nightgate.pgvector_search.explaining import shortfall
from nightgate.pgvector_search.settings import Settings
from nightgate.pgvector_search.tables import Table
from nightgate.pgvector_search.variants import MOST_DIMENSIONS, VARIANTS, encoded, over_float32, too_long
from nightgate.record import Record
from nightgate.vector_search.session import Facts
from nightgate.vector_search.settings import Shape
from nightgate.vector_search.store import Address, Built, Collection, VectorStore
from nightgate.vectors.prepared import DataFacts

if TYPE_CHECKING:
    import numpy as np
    from psycopg import Connection


class Pgvector(VectorStore["Connection[Any]", Settings]):
    name = "pgvector"
    title = "pgvector"
    service = Service("pgvector", address.URL_VARIABLE, "pgvector_default", EMBEDDED_PGVECTOR, "postgres")
    variants = tuple(VARIANTS)
    settings = Settings
    keep_variables = address.VARIABLES
    restarts = True

    def most_dimensions(self, variant: str) -> int:
        return MOST_DIMENSIONS[VARIANTS[variant].column]

    def too_much(self, variant: str, shape: Shape, settings: Settings) -> str | None:
        kind = VARIANTS[variant]
        lists = (kind.lists or settings.lists) if kind.method == "ivfflat" else 0
        if lists > shape.rows:
            return f"{variant} has {lists:,} lists and there are {shape.rows:,} rows; every list needs a row"
        return too_long(variant, shape.dim)

    def look(self, url: str) -> None:
        address.name(url)

    def collection(self, variant: str, data: DataFacts, settings: Settings) -> Table:
        return Table(variant, data.digest, data.rows, data.dim, data.metric, settings.lists)

    def connect(
        self, address: Address, doing: str, *, required: bool = True
    ) -> AbstractContextManager[Connection[Any]]:
        return server.session(address, doing, required=required)

    def begin(self, connection: Connection[Any]) -> None:
        server.ensure_extension(connection)

    def lacks(self, connection: Connection[Any], variant: str) -> str | None:
        return server.lacks(connection, VARIANTS[variant])

    def instead(self, variant: str) -> str:
        """The same index over the type ``vector``, which every pgvector has."""
        return over_float32(variant)

    def lock(self, connection: Connection[Any]) -> None:
        locks.wait(connection, shared=False)

    def share(self, connection: Connection[Any]) -> None:
        locks.share(connection)

    def try_lock(self, connection: Connection[Any]) -> bool:
        return locks.take(connection)

    def rows(self, connection: Connection[Any], collection: Collection) -> int | None:
        return tables.count(connection, _table(collection))

    def standing(
        self, connection: Connection[Any], collection: Collection, base: np.ndarray, known: Built | None
    ) -> Built | None:
        return tables.standing(connection, _table(collection), base)

    def load(self, connection: Connection[Any], address: Address, collection: Collection, base: np.ndarray) -> None:
        tables.load(connection, address, _table(collection), base)

    def index(self, connection: Connection[Any], address: Address, collection: Collection) -> Facts:
        return tables.index(connection, address, _table(collection))

    def reindex(
        self, connection: Connection[Any], address: Address, collection: Collection, base: np.ndarray, built: Built
    ) -> Built:
        return tables.rebuild(connection, address, _table(collection), built)

    def together(self, connection: Connection[Any], collections: Sequence[Collection]) -> bool:
        return tables.fit(connection, [_table(collection) for collection in collections])

    def finish(self, connection: Connection[Any], collection: Collection, built: Built) -> Built:
        return tables.finish(connection, _table(collection), built)

    def remember(self, connection: Connection[Any], collection: Collection, built: Built) -> None:
        tables.remember(connection, _table(collection), built)

    def remove(self, connection: Connection[Any]) -> None:
        tables.remove(connection)

    def drop_drafts(self, connection: Connection[Any]) -> None:
        tables.drop_drafts(connection)

    def restart(self, connection: Connection[Any], address: Address) -> None:
        restart.restart(connection, address)

    def encode(self, collection: Collection, queries: np.ndarray) -> Sequence[Any]:
        return encoded(_table(collection).kind.column, queries)

    def open(self, address: Address, collection: Collection, k: int) -> AbstractContextManager[asking.Asker]:
        return asking.asker(address, _table(collection), k)

    def explain(self, record: Record, beside: Sequence[Record]) -> str | None:
        return shortfall(record, beside)

    def findings(self, address: Address) -> Iterator[tuple[bool, str]]:
        if not address.url:
            yield True, f"PostgreSQL: the embedded one, since {self.service.variable} is not set"
            return
        try:
            with server.session(address, "say what it is") as connection:
                found = server.versions(connection)
        except NightgateError as error:
            yield False, f"PostgreSQL: {error}"
        else:
            pgvector = found.get("pgvector", "not created in this database yet")
            yield True, f"PostgreSQL: {found['postgresql']} of {self.service.variable}, pgvector {pgvector}"


def _table(collection: Collection) -> Table:
    assert isinstance(collection, Table)
    return collection
