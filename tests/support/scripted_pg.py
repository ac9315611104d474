"""A connection to PostgreSQL whose answers are written down beforehand, for tests of what is asked and decided."""

from __future__ import annotations

from contextlib import nullcontext
from types import SimpleNamespace
from typing import Any

import pytest

from nightgate.pgvector_search.tables import Table
from nightgate.vector_search.store import Address


class Connection:
    """Answers each SELECT, SHOW or EXPLAIN with the next of ``answers``, a list of rows or an error to raise."""

    connection, closed, autocommit = None, False, True

    def __init__(self, *answers: Any) -> None:
        self.answers, self.said, self.handlers, self.options = list(answers), [], [], {}

    def execute(self, statement: Any, values: Any = None) -> Any:
        text = statement if isinstance(statement, str) else statement.as_string(None)
        text = " ".join(text.split())
        self.said.append((text, values) if values else text)
        if not text.startswith(("SELECT", "EXPLAIN", "SHOW", "DISCARD", "CREATE", "BEGIN", "DROP SCHEMA")):
            return None
        answer = self.answers.pop(0) if self.answers else []
        if isinstance(answer, Exception):
            raise answer
        return SimpleNamespace(fetchall=lambda: answer, fetchone=lambda: answer[0] if answer else None)

    def transaction(self) -> Any:
        return nullcontext()

    def cursor(self, **options: Any) -> Connection:
        self.options = options
        return self

    def add_notice_handler(self, handler: Any) -> None:
        self.handlers.append(handler)


@pytest.fixture
def quoted(monkeypatch):
    """Names and literals are written plainly, without a server to quote them."""
    monkeypatch.setattr("psycopg.sql.Literal.as_bytes", lambda self, context=None: repr(self._obj).encode())
    monkeypatch.setattr("psycopg.sql.Identifier.as_bytes", lambda self, context=None: ".".join(self._obj).encode())


WHERE = Address("postgresql://user@host/database")


def table(variant, lists=10, digest="a" * 20, *, rows=6, dim=2, metric="cosine"):
    return Table(variant, digest, rows, dim, metric, lists)
