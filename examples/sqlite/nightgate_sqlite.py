"""SQLite as a vector store: vectors as blobs in a table, every one of which is compared with a query."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any, ClassVar

from nightgate import api


class Settings(api.StoreSettings):
    known_variants: ClassVar[tuple[str, ...]] = ("scan",)


class Session(api.StoreSession):
    settings = ({},)  # it is exact: there is nothing to turn

    def __init__(self, connection: sqlite3.Connection, table: str, k: int) -> None:
        self.connection = connection
        self.select = f"SELECT id FROM {table} ORDER BY distance(vector, ?) LIMIT {k}"

    def search(self, query: bytes) -> list[int]:
        return [row[0] for row in self.connection.execute(self.select, (query,))]

    def tune(self, setting: api.Setting, query: bytes | None) -> None: ...

    def versions(self) -> dict[str, str]:
        return {"sqlite": sqlite3.sqlite_version}


class Sqlite(api.VectorStore[sqlite3.Connection, Settings]):
    name, title, metrics = "sqlite", "SQLite", ("cosine",)
    service = api.Service("sqlite", "SQLITE_FILE", "sqlite_default")
    variants, settings = Settings.known_variants, Settings

    @contextmanager
    def connect(self, address: api.Address, doing: str, *, required: bool = True) -> Iterator[sqlite3.Connection]:
        try:
            with closing(sqlite3.connect(address.url, timeout=60)) as connection, connection:
                yield connection
        except sqlite3.Error as error:
            raise api.ServiceUnavailable(f"{address.url} was lost while it should {doing}: {error}") from error

    def rows(self, connection: sqlite3.Connection, collection: api.Collection) -> int | None:
        there = table(collection) in tables(connection)
        return connection.execute(f"SELECT count(*) FROM {table(collection)}").fetchone()[0] if there else None

    def load(self, connection: sqlite3.Connection, address: api.Address, collection: api.Collection, base: Any) -> None:
        connection.execute(f"DROP TABLE IF EXISTS {table(collection)}")
        connection.execute(f"CREATE TABLE {table(collection)} (id INTEGER PRIMARY KEY, vector BLOB)")
        rows = enumerate(self.encode(collection, base))
        connection.executemany(f"INSERT INTO {table(collection)} VALUES (?, ?)", rows)

    def index(self, connection: sqlite3.Connection, address: api.Address, collection: api.Collection) -> dict[str, Any]:
        return {}  # a scan needs none

    def remove(self, connection: sqlite3.Connection) -> None:
        for name in tables(connection):
            connection.execute(f"DROP TABLE {name}")

    def encode(self, collection: api.Collection, queries: Any) -> list[bytes]:
        import numpy as np

        return [(row / np.linalg.norm(row)).astype(np.float32).tobytes() for row in queries]

    @contextmanager
    def open(self, address: api.Address, collection: api.Collection, k: int) -> Iterator[Session]:
        import numpy as np

        def distance(row: bytes, query: bytes) -> float:
            return -float(np.dot(np.frombuffer(row, np.float32), np.frombuffer(query, np.float32)))

        with self.connect(address, "be searched") as connection:
            connection.create_function("distance", 2, distance, deterministic=True)
            yield Session(connection, table(collection), k)


def table(collection: api.Collection) -> str:
    return f"nightgate_{collection.name}"


def tables(connection: sqlite3.Connection) -> list[str]:
    found = connection.execute("SELECT name FROM sqlite_master WHERE name LIKE 'nightgate!_%' ESCAPE '!'")
    return [name for (name,) in found]
