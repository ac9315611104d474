"""Which tables are kept, dropped and built, and in which order; without a server."""

from __future__ import annotations

import json
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pytest
from support.scripted_pg import Connection, quoted

from nightgate.errors import NotMeasured
from nightgate.pgvector_search import indexing, locks, tables
from nightgate.pgvector_search.tables import Table

__all__ = ["quoted"]

DIGEST = "a" * 20
TABLE = Table("ivfflat", DIGEST, 10)
BASE = np.arange(12, dtype=np.float32).reshape(6, 2)
MADE_FOR = {"format": 2, "rows": 6, "dim": 2, "pgvector": "0.8.5", "lists": 10}


def test_a_table_has_its_lists_and_its_knob():
    many, graph = Table("ivfflat_halfvec_lists1000", DIGEST, 10), Table("hnsw_halfvec", DIGEST, 10)
    assert (TABLE.lists_of_index, many.lists_of_index, graph.lists_of_index) == (10, 1000, None)
    assert (TABLE.knob_name, graph.knob_name) == ("probes", "ef_search")
    assert (TABLE.name, graph.name) == (f"ivfflat_{DIGEST}_10", f"hnsw_halfvec_{DIGEST}_0")
    assert (TABLE.draft, TABLE.index) == (f"ivfflat_{DIGEST}_10_loading", f"ivfflat_{DIGEST}_10_vec")
    assert TABLE.identifier()._obj == (tables.SCHEMA, TABLE.name)
    assert TABLE.index_identifier()._obj == (tables.SCHEMA, TABLE.index)


@pytest.fixture
def steps(monkeypatch):
    """Each step of `tables.ensure` notes that it was made; the load takes 2 s and the index 5."""
    made, now = [], [100.0]

    def note(name, answer=None, seconds=0.0):
        def step(*args, **more):
            made.append((name, *[arg for arg in args if isinstance(arg, str | tuple)]))
            now[0] += seconds
            if isinstance(answer, BaseException):
                raise answer
            return answer

        return step

    def use(*, kept=None, holds=True, build=5.0):
        monkeypatch.setattr(
            tables, "_clear", lambda connection, table, made_for: made.append(("clear", made_for)) or kept
        )
        monkeypatch.setattr(tables, "holds", note("holds", holds))
        monkeypatch.setattr(tables, "_drop", note("drop"))
        monkeypatch.setattr(tables, "load", note("load", seconds=2.0))
        monkeypatch.setattr(tables, "build_index", note("index", build, seconds=5.0))
        monkeypatch.setattr(tables, "_size", lambda connection, function, name: len(function) * 1000 + len(name))
        monkeypatch.setattr(tables, "_finish", lambda connection, table, facts: made.append(("finish", facts)))
        monkeypatch.setattr(tables, "extension_version", lambda connection: "0.8.5")
        monkeypatch.setattr(tables, "collect_notices", lambda connection: ["NOTICE: little data"])
        monkeypatch.setattr(tables, "utc_now", lambda: "now")
        monkeypatch.setattr(tables.time, "perf_counter", lambda: now[0])
        return made

    return use


def test_a_table_that_stands_is_reused_as_it_is(steps):
    made = steps(kept={"built_at": "then", "lists": 10})
    assert tables.ensure(Connection(), TABLE, BASE) == {"built_at": "then", "lists": 10, "reused": True}
    assert made == [("clear", MADE_FOR), ("holds",)]


@pytest.mark.parametrize(("kept", "looked"), [(None, []), ({"built_at": "then"}, [("holds",)])])
def test_a_table_that_is_not_there_or_holds_other_rows_is_built(steps, kept, looked):
    made = steps(kept=kept, holds=False)
    facts = tables.ensure(Connection(), TABLE, BASE)
    name, draft = TABLE.name, TABLE.draft
    assert [step[:2] for step in made[1 + len(looked) :]] == [
        ("drop", name), ("load",), ("index", TABLE.index), ("finish", {k: v for k, v in facts.items() if k != "reused"}),
    ]  # fmt: skip
    assert made[1 : 1 + len(looked)] == looked
    assert facts == MADE_FOR | {
        "load_seconds": 2.0, "rows_per_second": 3.0, "build_seconds": 5.0,
        "index_bytes": len("pg_relation_size") * 1000 + len(TABLE.index),
        "table_bytes": len("pg_table_size") * 1000 + len(draft),
        "notices": ["NOTICE: little data"], "built_at": "now", "reused": False,
    }  # fmt: skip


@pytest.mark.parametrize("error", [KeyboardInterrupt(), NotMeasured("x")])
def test_a_build_that_ends_early_drops_its_draft(steps, error):
    made = steps(build=error)
    with pytest.raises(type(error)):
        tables.ensure(Connection(), TABLE, BASE)
    assert made[-1] == ("drop", TABLE.draft) and not any(step[0] == "finish" for step in made)


def test_the_draft_is_unlogged_and_copied_in_the_type_of_its_column(quoted, monkeypatch):
    copied = []
    monkeypatch.setattr(tables, "copy_rows", lambda *what: copied.append(what))
    connection, table = Connection(), Table("hnsw_halfvec", DIGEST, 10)
    tables.load(connection, table, BASE)
    assert connection.said == [
        f"CREATE UNLOGGED TABLE nightgate_bench.{table.draft} (id int4 NOT NULL, vec halfvec(2)) "
        "WITH (autovacuum_enabled = false)"
    ]
    [(target, base, column, name)] = copied
    assert (target._obj, base is BASE, column, name) == ((tables.SCHEMA, table.draft), True, "halfvec", "hnsw_halfvec")


def test_a_table_is_named_and_described_at_the_very_end(quoted):
    inside = []

    class Transaction(Connection):
        @contextmanager
        def transaction(self):
            before = len(self.said)
            yield
            inside.extend(self.said[before:])

    connection = Transaction()
    tables._finish(connection, TABLE, {"rows": 6})
    rename = f"ALTER TABLE nightgate_bench.{TABLE.draft} RENAME TO {TABLE.name}"
    comment = f"COMMENT ON TABLE nightgate_bench.{TABLE.name} IS '{json.dumps({'rows': 6})}'"
    assert inside == [rename, comment]
    assert connection.said == [f"ANALYZE nightgate_bench.{TABLE.draft}", rename, comment, "CHECKPOINT"]


def test_a_checkpoint_that_is_refused_is_no_failure(quoted, caplog):
    from psycopg.errors import InsufficientPrivilege

    class Managed(Connection):
        def execute(self, statement, values=None):
            if statement == "CHECKPOINT":
                raise InsufficientPrivilege("must be superuser")
            return super().execute(statement, values)

        @contextmanager
        def transaction(self):
            yield

    caplog.set_level("INFO")
    tables._finish(Managed(), TABLE, {})
    assert "no checkpoint after the load" in caplog.text


# what is dropped, what is kept


def facts(**other):
    return json.dumps(MADE_FOR | {"built_at": "then"} | other)


def cleared(monkeypatch, found, schema=True):
    dropped = []
    monkeypatch.setattr(tables, "_found", lambda connection: found)
    monkeypatch.setattr(tables, "_drop", lambda connection, name: dropped.append(name))
    connection = Connection([(schema,)])
    kept = tables._clear(connection, TABLE, MADE_FOR)
    return kept, dropped, connection.said


@pytest.mark.parametrize(
    ("name", "comment", "indexed", "stays"),
    [
        (f"ivfflat_{DIGEST}_10", facts(), True, True),
        (f"ivfflat_{DIGEST}_10", facts(lists=11), True, True),
        (f"ivfflat_{DIGEST}_10", facts(), False, False),
        (f"ivfflat_{DIGEST}_10", facts(rows=7), True, False),
        (f"ivfflat_{DIGEST}_10", facts(dim=3), True, False),
        (f"ivfflat_{DIGEST}_10", facts(format=1), True, False),
        (f"ivfflat_{DIGEST}_10", facts(pgvector="0.8.4"), True, False),
        (f"ivfflat_{DIGEST}_10", None, True, False),
        (f"ivfflat_{DIGEST}_10", "no JSON", True, False),
        (f"ivfflat_{DIGEST}_10", "[1]", True, False),
        (f"ivfflat_{DIGEST}_10_loading", None, False, False),
        (f"ivfflat_{DIGEST}_11", facts(lists=11), True, False),
        (f"ivfflat_halfvec_{DIGEST}_10", facts(), True, True),
        (f"ivfflat_halfvec_lists1000_{DIGEST}_1000", facts(lists=1000), True, True),
        (f"hnsw_{DIGEST}_0", facts(lists=None), True, True),
        (f"hnsw_{'b' * 20}_0", facts(), True, False),
        (f"ivfflat_{'b' * 20}_10", facts(), True, False),
    ],
)
def test_what_is_of_other_contents_or_incomplete_goes(monkeypatch, name, comment, indexed, stays):
    kept, dropped, _ = cleared(monkeypatch, [(name, comment, indexed)])
    assert dropped == ([] if stays else [name])
    assert kept == (json.loads(comment) if stays and name == TABLE.name else None)


def test_the_kept_one_is_found_among_others(quoted, monkeypatch):
    other = (f"hnsw_{DIGEST}_0", facts(lists=None), True)
    kept, dropped, said = cleared(monkeypatch, [other, (TABLE.name, facts(tuning=1), True), other])
    assert kept["tuning"] == 1 and dropped == []
    assert said == [("SELECT to_regnamespace(%s)", [tables.SCHEMA])]


def test_the_schema_is_made_where_there_is_none(quoted, monkeypatch):
    *_, said = cleared(monkeypatch, [], schema=None)
    assert said[1:] == ["CREATE SCHEMA nightgate_bench"]


def test_only_tables_of_our_manner_are_ours():
    ours = [f"ivfflat_{DIGEST}_10", f"hnsw_halfvec_{DIGEST}_0_loading", f"ivfflat_future9_{DIGEST}_3"]
    theirs = [
        "ivfflat_notes",
        f"flat_{DIGEST}_10",
        f"ivfflat_{'g' * 20}_10",
        f"ivfflat_{DIGEST}_10_old",
        f"x_ivfflat_{DIGEST}_1",
    ]
    connection = Connection([(name, None, True) for name in (*ours, *theirs)])
    assert [name for name, *_ in tables._found(connection)] == ours
    assert connection.said[0][1] == [tables.SCHEMA]


def test_drafts_go_and_the_rest_stays(monkeypatch):
    dropped = []
    monkeypatch.setattr(tables, "_found", lambda connection: [(TABLE.name, None, True), (TABLE.draft, None, False)])
    monkeypatch.setattr(tables, "_drop", lambda connection, name: dropped.append(name))
    tables.drop_drafts(Connection())
    assert dropped == [TABLE.draft]


def test_all_of_ours_goes_and_the_schema_if_nothing_else_is_in_it(quoted, monkeypatch, caplog):
    from psycopg.errors import DependentObjectsStillExist, InsufficientPrivilege

    monkeypatch.setattr(tables, "_found", lambda connection: [(TABLE.name, None, True), (TABLE.draft, None, False)])
    connection = Connection()
    tables.remove(connection)
    assert connection.said == [
        f"DROP TABLE IF EXISTS nightgate_bench.{TABLE.name}", f"DROP TABLE IF EXISTS nightgate_bench.{TABLE.draft}",
        "DROP SCHEMA IF EXISTS nightgate_bench",
    ]  # fmt: skip
    caplog.set_level("INFO")
    for error in (DependentObjectsStillExist("notes"), InsufficientPrivilege("owner")):
        tables.remove(Connection(error))
    assert caplog.text.count("the schema nightgate_bench stays") == 2


@pytest.mark.parametrize(("rows", "said"), [([(5,)], "5"), ([(7,)], "7"), ([], "None")])
def test_every_row_must_be_there(quoted, rows, said):
    tables.require_rows(Connection([(6,)]), TABLE, 6)
    with pytest.raises(NotMeasured) as refused:
        tables.require_rows(Connection(rows), TABLE, 6)
    assert refused.value.what == f"the table {TABLE.name} holds {said} rows, not 6"


@pytest.fixture
def sampled(quoted, monkeypatch):
    monkeypatch.setattr("pgvector.psycopg.register_vector", lambda connection: None)

    def run(rows, table=TABLE, size=8192 * 3):
        connection = Connection([(size,)], rows)
        held = tables.holds(connection, table, BASE)
        assert "pg_relation_size(to_regclass" in connection.said[0][0] and connection.options == {"binary": True}
        return held, connection.said[-1][1][0]

    return run


def test_the_rows_of_a_table_are_compared_bit_for_bit(sampled):
    good = [(0, BASE[0]), (5, BASE[5])]
    assert sampled(good) == (True, ["(0,1)", "(1,1)", "(2,1)"])
    assert sampled(good, size=8192 * 1000)[1][-1] == "(999,1)" and len(sampled(good, size=8192 * 1000)[1]) == 100
    assert sampled([])[0] is False, "a crash leaves none"
    assert sampled([(0, BASE[1])])[0] is False
    assert sampled([(0, BASE[0]), (5, BASE[4])])[0] is False
    assert sampled([(6, BASE[5])])[0] is False and sampled([(-1, BASE[5])])[0] is False
    assert sampled(good, size=0)[1] == ["(0,1)"]


def test_half_precision_rows_are_compared_as_they_are_held(sampled):
    half = Table("ivfflat_halfvec", DIGEST, 10)
    exact = SimpleNamespace(to_numpy=lambda: BASE[3].astype(">f2"))
    assert sampled([(3, exact)], half)[0] is True
    assert sampled([(3, SimpleNamespace(to_numpy=lambda: BASE[3].astype(">f2") + 1))], half)[0] is False


# the index


@pytest.fixture
def building(quoted, monkeypatch):
    changed, now = [], [0.0]
    monkeypatch.setattr(indexing.server, "change", lambda connection, settings: changed.append(settings))
    monkeypatch.setattr(indexing.server, "backend", lambda connection: 4711)

    @contextmanager
    def watched(pid, name):
        assert (pid, name) == (4711, "ivfflat")
        yield

    monkeypatch.setattr(indexing, "_watched", watched)

    def clock():
        now[0] += 1.5
        return now[0]

    monkeypatch.setattr(indexing.time, "perf_counter", clock)

    def run(connection, method="ivfflat", column="halfvec", lists=10):
        return indexing.build_index(
            connection, TABLE.identifier(), "our_vec", method, column, lists, "ivfflat"
        ), changed

    return run


def test_an_index_is_made_for_the_cosine(building):
    connection = Connection()
    seconds, changed = building(connection)
    name = f"nightgate_bench.{TABLE.name}"
    assert seconds == 1.5 and changed == [{"client_connection_check_interval": "5s"}]
    assert connection.said == [
        f"CREATE INDEX our_vec ON {name} USING ivfflat (vec halfvec_cosine_ops) WITH (lists = 10)"
    ]
    connection = Connection()
    building(connection, "hnsw", "vector", None)
    assert connection.said == [f"CREATE INDEX our_vec ON {name} USING hnsw (vec vector_cosine_ops)"]


def test_without_shared_memory_it_is_built_without_workers(building):
    from psycopg.errors import DiskFull

    segment = DiskFull('could not resize shared memory segment "/PostgreSQL.1" to 9 bytes: No space left on device')
    connection = Connection(segment)
    seconds, changed = building(connection)
    assert changed == [{"client_connection_check_interval": "5s"}, {"max_parallel_maintenance_workers": "0"}]
    assert len(connection.said) == 2 and connection.said[0] == connection.said[1]
    assert seconds == 1.5, "of the build that came about"
    with pytest.raises(DiskFull):
        building(Connection(DiskFull('could not extend file "base/5/1": No space left on device')))
    with pytest.raises(DiskFull):
        building(Connection(segment, segment))


# the lock

NUMBER = 0x6E67_7462


@pytest.mark.parametrize(("shared", "suffix"), [(False, ""), (True, "_shared")])
def test_the_lock_is_waited_for_and_its_holders_are_named(shared, suffix, caplog):
    caplog.set_level("INFO")
    connection = Connection([(True,)])
    locks.wait(connection, shared=shared)
    assert connection.said == [f"SELECT pg_try_advisory_lock{suffix}({NUMBER})"]
    connection = Connection([(False,)], [("process 7 of nightgate, user me",)])
    locks.wait(connection, shared=shared)
    assert connection.said[-1] == f"SELECT pg_advisory_lock{suffix}({NUMBER})"
    assert "another run uses the tables in nightgate_bench (process 7 of nightgate, user me)" in caplog.text


def test_a_lock_is_shared_before_it_is_let_go():
    connection = Connection([(True,)])
    locks.share(connection)
    assert connection.said == [f"SELECT pg_try_advisory_lock_shared({NUMBER})", f"SELECT pg_advisory_unlock({NUMBER})"]


def test_a_lock_that_is_not_to_be_had_in_time_is_left():
    from psycopg.errors import LockNotAvailable

    timeout = "SELECT set_config('lock_timeout', %s, false)"
    connection = Connection()
    assert locks.take(connection) is True
    expected = [(timeout, ["5s"]), f"SELECT pg_advisory_lock({NUMBER})", (timeout, ["30min"])]
    assert connection.said == expected
    connection = Connection([], LockNotAvailable("timeout"))
    assert locks.take(connection) is False
    assert connection.said == expected, "the patience of others is put back"
