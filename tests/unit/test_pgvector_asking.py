"""One session that asks the timed statement, and the clients that have one each."""

from __future__ import annotations

from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pytest
from support.scripted_pg import WHERE, table

from nightgate.pgvector_search import asking
from nightgate.pgvector_search.store import Pgvector

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
    return asking.Asker(Connection(), table("ivfflat", 4), 5)


def test_the_timed_statement_is_the_one_of_the_objective(session):
    name = f'"nightgate_bench"."ivfflat_{DIGEST}_4"'
    assert session.statement == f"SELECT id FROM {name} ORDER BY vec <=> %b LIMIT 5"
    assert session.prepared == f"SELECT id FROM {name} ORDER BY vec <=> $1 LIMIT 5"
    assert session.changed == {"max_parallel_workers_per_gather": "0", "jit": "off", "work_mem": "64MB"}
    assert session.search("a vector") == [4, 2]
    assert session.connection.asked == [(session.statement, ("a vector",), True, True)]


@pytest.mark.parametrize(("metric", "operator"), [("cosine", "<=>"), ("l2", "<->"), ("ip", "<#>")])
def test_neighbours_are_ordered_by_the_metric_of_the_data(session, metric, operator):
    asker = asking.Asker(Connection(), table("hnsw_halfvec", 4, metric=metric), 17)
    assert asker.prepared.endswith(f"ORDER BY vec {operator} $1 LIMIT 17")
    assert asker.table.kind.operators(metric) == f"halfvec_{metric}_ops"
    assert asker.settings[0] == {"ef_search": 10} and session.settings == [{"probes": step} for step in (1, 2, 3, 4)]


def test_a_setting_is_put_in_force_and_proven(session, monkeypatch):
    chosen = iter([True, False, True])
    proven = []

    def require_index(*what):
        proven.append(what)
        return next(chosen)

    monkeypatch.setattr(asking.plan, "require_index", require_index)
    assert session.planner_chose_index is True
    session.tune({"probes": 7}, "a vector")
    assert session.planner_chose_index is True
    session.tune({"probes": 8}, "a vector")
    session.tune({"probes": 9}, "another")
    assert session.planner_chose_index is False, "once not is not"
    session.tune({"probes": 3}, None)
    assert len(proven) == 3, "without a query nothing is proven"
    puts = [values for statement, values in session.connection.executed if "set_config" in statement]
    assert puts == [["ivfflat.probes", "7"], ["ivfflat.probes", "8"], ["ivfflat.probes", "9"], ["ivfflat.probes", "3"]]
    assert proven[2] == (session.connection, session.statement, "another", f"ivfflat_{DIGEST}_4_vec")


def test_what_is_asked_must_be_whole(session, monkeypatch):
    looked = []
    monkeypatch.setattr(asking, "require_rows", lambda *what: looked.append(what))
    session.check()
    assert looked == [(session.connection, session.table, 6)]


def test_a_session_proves_its_plan_and_says_what_answered(session, monkeypatch):
    def evidence(*what):
        assert what == (session.connection, session.prepared, "a query", session.table.index)
        return ["Index Scan"]

    monkeypatch.setattr(asking.plan, "evidence", evidence)
    monkeypatch.setattr(asking.server, "facts", lambda connection: {"settings": {"jit": "off"}, "differences": {}})
    monkeypatch.setattr(asking.server, "versions", lambda connection: {"postgresql": "18.4"})
    monkeypatch.setattr(asking, "version", {"pgvector": "0.5", "psycopg": "3.3"}.get)
    session.notices.append("NOTICE: little data")
    proof = session.prove("a query")
    assert proof.versions == {"postgresql": "18.4", "pgvector-python": "0.5", "psycopg": "3.3"}
    assert proof.facts == {
        "statement": session.prepared, "plan": ["Index Scan"], "planner_chose_index": True, "session": session.changed,
        "notices": ["NOTICE: little data"], "settings": {"jit": "off"}, "differences": {},
    }  # fmt: skip


def test_it_is_warmed_by_its_own_statement(session, monkeypatch):
    monkeypatch.setattr(asking.warming, "warm", lambda *what: what)
    assert session.warm("base") == (session.connection, session.statement, session.table, "base")


def test_vectors_go_out_in_the_type_of_the_column():
    queries = np.eye(2, 3, dtype=np.float32)
    single = Pgvector().encode(table("ivfflat", 4), queries)
    half = Pgvector().encode(table("hnsw_halfvec", 4), queries)
    assert [type(vector).__name__ for vector in (single[0], half[1])] == ["Vector", "HalfVector"]
    assert half[1].to_list() == [0, 1, 0] and len(single) == 2


def test_it_is_opened_on_the_server_that_is_named(monkeypatch):
    asked = []

    @contextmanager
    def session(*what):
        asked.append(what)
        yield "connection"

    monkeypatch.setattr(asking.server, "session", session)
    monkeypatch.setattr(asking, "Asker", lambda *what: what)
    with Pgvector().open(WHERE, table("ivfflat", 4), 9) as opened:
        assert opened == ("connection", table("ivfflat", 4), 9)
    assert asked == [(WHERE, "answer the queries")]
