"""One session that asks the timed statement, and the clients that have one each."""

from __future__ import annotations

from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pytest

from nightgate.pgvector_search import asking
from nightgate.pgvector_search.tables import Table

DIGEST = "a" * 20


class Connection:
    def __init__(self):
        self.executed, self.asked, self.handlers = [], [], []

    def execute(self, statement, values=None):
        self.executed.append((statement, values))
        return SimpleNamespace(fetchone=lambda: (True,))

    def add_notice_handler(self, handler):
        self.handlers.append(handler)

    def cursor(self, **options):
        def execute(statement, values, prepare):
            self.asked.append((statement, values, prepare, options["binary"]))
            return SimpleNamespace(fetchall=lambda: [4, 2])

        return SimpleNamespace(execute=execute)


@pytest.fixture
def session(monkeypatch):
    monkeypatch.setattr("pgvector.psycopg.register_vector", lambda connection: None)
    monkeypatch.setattr(
        "psycopg.sql.Composable.as_string", lambda self, context: ".".join(f'"{name}"' for name in self._obj)
    )
    monkeypatch.setattr(asking.server, "change", lambda connection, settings: dict(settings))
    monkeypatch.setattr(asking.server, "raise_to", lambda connection, name, size: {name: size})
    return asking.Asker(Connection(), Table("ivfflat", DIGEST, 4))


def test_the_timed_statement_is_the_one_of_the_objective(session):
    name = f'"nightgate_bench"."ivfflat_{DIGEST}_4"'
    assert session.statement == f"SELECT id FROM {name} ORDER BY vec <=> %b LIMIT 5"
    assert session.prepared == f"SELECT id FROM {name} ORDER BY vec <=> $1 LIMIT 5"
    assert session.changed == {"max_parallel_workers_per_gather": "0", "jit": "off", "work_mem": "64MB"}
    assert session.ask("a vector") == [4, 2]
    assert session.connection.asked == [(session.statement, ("a vector",), True, True)]


def test_a_setting_is_put_in_force_and_proven(session, monkeypatch):
    chosen = iter([True, False, True])
    proven = []

    def require_index(*what):
        proven.append(what)
        return next(chosen)

    monkeypatch.setattr(asking.plan, "require_index", require_index)
    assert session.planner_chose_index is True
    session.use({"probes": 7}, "a vector")
    assert session.planner_chose_index is True
    session.use({"probes": 8}, "a vector")
    session.use({"probes": 9}, "another")
    assert session.planner_chose_index is False, "once not is not"
    puts = [values for statement, values in session.connection.executed if "set_config" in statement]
    assert puts == [["ivfflat.probes", "7"], ["ivfflat.probes", "8"], ["ivfflat.probes", "9"]]
    assert proven[2] == (session.connection, session.statement, "another", f"ivfflat_{DIGEST}_4_vec")


def test_answers_that_miss_are_minus_one():
    found = asking.rectangle([[4, 2, 9, 1, 7], [3], []])
    assert found.tolist() == [[4, 2, 9, 1, 7], [3, -1, -1, -1, -1], [-1] * 5] and found.dtype == np.int64


def test_vectors_go_out_in_the_type_of_the_column():
    queries = np.eye(2, 3, dtype=np.float32)
    single = asking.parameters(Table("ivfflat", DIGEST, 4), queries)
    half = asking.parameters(Table("hnsw_halfvec", DIGEST, 4), queries)
    assert [type(vector).__name__ for vector in (single[0], half[1])] == ["Vector", "HalfVector"]
    assert half[1].to_list() == [0, 1, 0] and len(single) == 2


def test_a_client_has_a_session_of_its_own_under_the_setting(monkeypatch):
    used = []
    session = SimpleNamespace(use=lambda setting, vector: used.append((setting, vector)), ask="ask")

    @contextmanager
    def asker(table):
        yield session

    monkeypatch.setattr(asking, "asker", asker)
    monkeypatch.setattr(asking, "parameters", lambda table, vectors: [f"wrapped {vector}" for vector in vectors])
    with asking.one_client("table", {"probes": 2}, "first") as call:
        assert call == "ask" and used == [({"probes": 2}, "wrapped first")]
