"""Which tables are kept, dropped and built, and in which order; without a server."""

from __future__ import annotations

import json
from contextlib import contextmanager
from types import SimpleNamespace

import numpy as np
import pytest
from support.scripted_pg import WHERE, Connection, quoted, table

from nightgate.pgvector_search import indexing, locks, tables
from nightgate.vector_search import store
from nightgate.vector_search.store import Built, KeptTuning, TunedFor

__all__ = ["quoted"]

DIGEST = "a" * 20
TABLE = table("ivfflat")
BASE = np.arange(12, dtype=np.float32).reshape(6, 2)
MADE_FOR = {"format": 3, "rows": 6, "dim": 2, "metric": "cosine", "pgvector": "0.8.5", "lists": 10}
BUILT = Built(load_seconds=2, rows_per_second=3, build_seconds=4, built_at="then")


def test_a_table_has_its_lists_and_its_knob():
    many, graph = table("ivfflat_halfvec_lists1000"), table("hnsw_halfvec")
    assert (TABLE.lists_of_index, many.lists_of_index, graph.lists_of_index) == (10, 1000, None)
    assert (TABLE.knob_name, graph.knob_name) == ("probes", "ef_search")
    assert (TABLE.name, graph.name) == (f"ivfflat_{DIGEST}_10", f"hnsw_halfvec_{DIGEST}_0")
    assert (TABLE.draft, TABLE.index) == (f"ivfflat_{DIGEST}_10_loading", f"ivfflat_{DIGEST}_10_vec")
    assert TABLE.identifier()._obj == (tables.SCHEMA, TABLE.name)
    assert TABLE.index_identifier()._obj == (tables.SCHEMA, TABLE.index)


def test_the_draft_is_unlogged_and_copied_in_the_type_of_its_column(quoted, monkeypatch):
    copied = []
    monkeypatch.setattr(tables, "copy_rows", lambda *what: copied.append(what))
    connection, half = Connection(), table("hnsw_halfvec")
    tables.load(connection, WHERE, half, BASE)
    assert connection.said == [
        f"CREATE UNLOGGED TABLE nightgate_bench.{half.draft} (id int4 NOT NULL, vec halfvec(2)) "
        "WITH (autovacuum_enabled = false)"
    ]
    [(where, target, base, column, name)] = copied
    assert (where, target._obj, base is BASE) == (WHERE, (tables.SCHEMA, half.draft), True)
    assert (column, name) == ("halfvec", "hnsw_halfvec")


def test_a_table_is_named_and_described_at_the_very_end(quoted):
    inside = []

    class Transaction(Connection):
        @contextmanager
        def transaction(self):
            before = len(self.said)
            yield
            inside.extend(self.said[before:])

    connection = Transaction([("0.8.5",)], [(4096,)], [(8192,)])
    built = tables.finish(connection, TABLE, BUILT)
    told = json.loads(built.model_dump_json(exclude={"reused"}))
    assert told == MADE_FOR | {
        "load_seconds": 2, "rows_per_second": 3, "build_seconds": 4, "built_at": "then", "index_bytes": 4096,
        "table_bytes": 8192, "tuning": None, "build": None, "indexed_at": None,
    }  # fmt: skip
    rename = f"ALTER TABLE nightgate_bench.{TABLE.draft} RENAME TO {TABLE.name}"
    *_, analyze, renamed, comment, checkpoint = connection.said
    assert inside == [rename, comment]
    assert (analyze, renamed, checkpoint) == (f"ANALYZE nightgate_bench.{TABLE.draft}", rename, "CHECKPOINT")
    head = f"COMMENT ON TABLE nightgate_bench.{TABLE.name} IS '"
    assert comment.startswith(head) and json.loads(comment.removeprefix(head)[:-1]) == told


def test_an_index_is_built_anew_with_what_is_remembered_of_it(quoted, monkeypatch):
    inside = []

    class Transaction(Connection):
        @contextmanager
        def transaction(self):
            before = len(self.said)
            yield
            inside.extend(self.said[before:])

    def rebuild_index(connection, where, index, name):
        assert (where, index._obj, name) == (WHERE, (tables.SCHEMA, TABLE.index), "ivfflat")
        connection.said.append("REINDEX")
        connection.handlers[0](SimpleNamespace(severity="NOTICE", message_primary="little data"))
        return 7.5

    monkeypatch.setattr(tables, "rebuild_index", rebuild_index)
    monkeypatch.setattr(store, "utc_now", lambda: "now")
    tuned = KeptTuning(
        asked=TunedFor(recall_target=0.9, recall_margin=0, host="h", k=5), setting={"probes": 3}, reached=True, curve=[]
    )
    before = BUILT.model_copy(update={"build": "first", "tuning": tuned, "reused": True, "index_bytes": 1})
    connection = Transaction([(4096,)])
    built = tables.rebuild(connection, WHERE, TABLE, before)
    assert (built.build_seconds, built.indexed_at, built.built_at, built.index_of) == (7.5, "now", "then", "now")
    assert (built.index_bytes, built.tuning, built.notices, built.reused) == (4096, None, ["NOTICE: little data"], True)
    assert built.build_id == built.build != "first" and len(built.build) == 12
    size, comment = (
        ("SELECT coalesce(pg_relation_size(to_regclass(%s)), 0)", [f"nightgate_bench.{TABLE.index}"]),
        inside[-1],
    )
    assert inside == ["REINDEX", size, comment] and connection.said[-1] == "CHECKPOINT"
    head = f"COMMENT ON TABLE nightgate_bench.{TABLE.name} IS '"
    assert json.loads(comment.removeprefix(head)[:-1]) == json.loads(built.model_dump_json(exclude={"reused"}))


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
    tables.finish(Managed([("0.8.5",)], [(4096,)], [(8192,)]), TABLE, BUILT)
    assert "no checkpoint after the load" in caplog.text


# what is dropped, what is kept


def facts(**other):
    return json.dumps(BUILT.model_dump(mode="json", exclude={"reused"}) | MADE_FOR | other)


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
        (f"ivfflat_{DIGEST}_10", facts(format=2), True, False),
        (f"ivfflat_{DIGEST}_10", facts(metric="l2"), True, False),
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
    assert (kept is not None) == (stays and name == TABLE.name)
    assert kept is None or kept == Built.model_validate_json(comment)


def test_a_comment_that_says_too_little_is_no_table(monkeypatch):
    kept, dropped, _ = cleared(monkeypatch, [(TABLE.name, json.dumps(MADE_FOR), True)])
    assert (kept, dropped) == (None, [])


def test_the_kept_one_is_found_among_others(quoted, monkeypatch):
    other = (f"hnsw_{DIGEST}_0", facts(lists=None), True)
    kept, dropped, said = cleared(monkeypatch, [other, (TABLE.name, facts(index_bytes=7), True), other])
    assert kept.index_bytes == 7 and dropped == []
    assert said == [("SELECT to_regnamespace(%s)", [tables.SCHEMA])]


def test_the_schema_is_made_where_there_is_none(quoted, monkeypatch):
    *_, said = cleared(monkeypatch, [], schema=None)
    assert said[1:] == ["CREATE SCHEMA nightgate_bench"]


# the index


@pytest.fixture
def building(quoted, monkeypatch):
    changed, now = [], [0.0]
    monkeypatch.setattr(indexing.server, "change", lambda connection, settings: changed.append(settings))
    monkeypatch.setattr(indexing.server, "backend", lambda connection: 4711)

    @contextmanager
    def watched(where, pid, name):
        assert (where, pid, name) == (WHERE, 4711, "ivfflat")
        yield

    monkeypatch.setattr(indexing, "_watched", watched)

    def clock():
        now[0] += 1.5
        return now[0]

    monkeypatch.setattr(indexing.time, "perf_counter", clock)

    def run(connection, method="ivfflat", operators="halfvec_cosine_ops", lists=10):
        return indexing.build_index(
            connection, WHERE, TABLE.identifier(), "our_vec", method, operators, lists, "ivfflat"
        ), changed

    return run


def test_an_index_is_made_for_its_metric(building):
    connection = Connection()
    seconds, changed = building(connection)
    name = f"nightgate_bench.{TABLE.name}"
    assert seconds == 1.5 and changed == [{"client_connection_check_interval": "5s"}]
    assert connection.said == [
        f"CREATE INDEX our_vec ON {name} USING ivfflat (vec halfvec_cosine_ops) WITH (lists = 10)"
    ]
    connection = Connection()
    building(connection, "hnsw", "vector_l2_ops", None)
    assert connection.said == [f"CREATE INDEX our_vec ON {name} USING hnsw (vec vector_l2_ops)"]


def test_an_index_is_made_anew_under_its_name(building):
    connection = Connection()
    seconds = indexing.rebuild_index(connection, WHERE, TABLE.index_identifier(), "ivfflat")
    assert (seconds, connection.said) == (1.5, [f"REINDEX INDEX nightgate_bench.{TABLE.index}"])


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


def test_what_the_servers_memory_holds(quoted):
    pair = [table("ivfflat"), table("hnsw_halfvec")]
    asked = [
        ("SELECT coalesce(pg_relation_size(to_regclass(%s)), 0)", [f"nightgate_bench.{one.index}"]) for one in pair
    ]
    for sizes, fits in (((300, 500), True), ((300, 501), False)):
        connection = Connection([(1000,)], [(sizes[0],)], [(sizes[1],)])
        assert tables.fit(connection, pair) is fits
        assert connection.said == ["SELECT pg_size_bytes(current_setting('shared_buffers'))", *asked]
