"""Tables of the pgvector benchmark: whole or not there, reused or replaced, for one run at a time."""

from __future__ import annotations

import threading

import numpy as np
import psycopg
import pytest
from support.pg_benchmark import ensure as load
from support.pg_benchmark import session
from support.pg_benchmark import table as table_

from nightgate.pgvector_search import copying, locks, server, tables


@pytest.fixture
def base():
    vectors = np.random.default_rng(7).standard_normal((1200, 8), dtype=np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def ensure(table, base):
    with session("load") as connection:
        locks.wait(connection, shared=False)
        server.ensure_extension(connection)
        return load(connection, table, base)


def found(url):
    """Name → comment of every table in our schema."""
    with psycopg.connect(url) as connection:
        query = "SELECT relname, obj_description(oid) FROM pg_class WHERE relnamespace = to_regnamespace(%s) AND relkind = 'r'"
        return dict(connection.execute(query, [tables.SCHEMA]).fetchall())


def execute(url, *statements):
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement)


def test_a_loaded_table_is_reused_and_another_data_set_replaces_it(pgvector_url, base):
    first = table_("ivfflat", "a" * 20, 10, base)
    built = ensure(first, base)
    again = ensure(first, base)
    assert (built.reused, again.reused) == (False, True)
    assert again.built_at == built.built_at
    half, graph = table_("ivfflat_halfvec", "a" * 20, 10, base), table_("hnsw", "a" * 20, 10, base)
    ensure(half, base)
    ensure(graph, base)
    assert set(found(pgvector_url)) == {first.name, half.name, graph.name}

    finer = table_("ivfflat", "a" * 20, 20, base)
    ensure(finer, base)
    assert set(found(pgvector_url)) == {finer.name, half.name, graph.name}, "only the variant with other lists goes"

    other = table_("ivfflat", "b" * 20, 10, base)
    ensure(other, base)
    assert set(found(pgvector_url)) == {other.name}


@pytest.mark.parametrize(("variant", "element"), [("ivfflat", np.float32), ("ivfflat_halfvec", np.float16)])
def test_the_table_holds_what_was_loaded(pgvector_url, base, variant, element, monkeypatch):
    monkeypatch.setattr(copying, "_BLOCK", 500)  # 1200 rows: two whole blocks and a rest
    table = table_(variant, "c" * 20, 10, base)
    ensure(table, base)
    with psycopg.connect(pgvector_url) as connection:
        rows = connection.execute(f"SELECT id, vec::real[] FROM {tables.SCHEMA}.{table.name} ORDER BY id").fetchall()
    assert [row_id for row_id, _ in rows] == list(range(1200))
    np.testing.assert_array_equal(np.array([vec for _, vec in rows], np.float32), base.astype(element))


@pytest.mark.parametrize("variant", ["ivfflat", "ivfflat_halfvec"])
def test_a_table_of_the_same_name_with_other_data_is_replaced(pgvector_url, base, variant):
    table = table_(variant, "a3" * 10, 10, base)
    built = ensure(table, base)
    name = f"{tables.SCHEMA}.{table.name}"
    with session("look") as connection:
        assert tables.holds(connection, table, base)
        assert not tables.holds(connection, table, base[::-1])
    execute(pgvector_url, f"UPDATE {name} SET vec = (SELECT vec FROM {name} WHERE id = 1)", f"VACUUM FULL {name}")
    again = ensure(table, base)
    assert again.reused is False and again.built_at != built.built_at
    with session("look") as connection:
        assert tables.holds(connection, table, base)

    execute(pgvector_url, f"DROP TABLE {name}", f"CREATE TABLE {name} (word text)", f"INSERT INTO {name} VALUES ('x')")
    assert ensure(table, base).reused is False, "a table without our comment"


def test_a_notice_about_a_poor_index_is_kept(pgvector_url, base):
    facts = ensure(table_("ivfflat", "d" * 20, 50, base[:40]), base[:40])
    assert any("little data" in notice for notice in facts.notices)


@pytest.mark.parametrize("streams", [1, 3, 4])
def test_every_row_is_loaded_once_whatever_the_number_of_streams(pgvector_url, base, streams, monkeypatch):
    monkeypatch.setattr(copying, "_BLOCK", 70)  # no edge falls on a block
    monkeypatch.setattr(copying.os, "cpu_count", lambda: streams)
    table = table_("ivfflat", "a5" * 10, 10, base)
    ensure(table, base)
    with psycopg.connect(pgvector_url) as connection:
        rows = connection.execute(f"SELECT id FROM {tables.SCHEMA}.{table.name} ORDER BY id").fetchall()
        connection.execute(f"DROP TABLE {tables.SCHEMA}.{table.name}")
    assert [number for (number,) in rows] == list(range(1200))


def test_nothing_of_a_load_goes_to_the_write_ahead_log(pgvector_url, base):
    table = table_("ivfflat", "a4" * 10, 10, base)
    ensure(table, base)
    with psycopg.connect(pgvector_url) as connection:
        query = "SELECT relpersistence FROM pg_class WHERE relname IN (%s, %s)"
        assert connection.execute(query, [table.name, table.index]).fetchall() == [("u",), ("u",)]


def test_an_interrupted_copy_leaves_nothing(pgvector_url, base, monkeypatch):
    table = table_("ivfflat", "e" * 20, 10, base)
    with monkeypatch.context() as patch:
        patch.setattr(copying, "_BLOCK", 500)
        encode = copying.encode_rows
        patch.setattr(copying, "encode_rows", lambda start, *rest: 1 / 0 if start else encode(start, *rest))
        with pytest.raises(ZeroDivisionError):
            ensure(table, base)
    assert not any("e" * 20 in name for name in found(pgvector_url))
    assert ensure(table, base).reused is False


def test_a_table_without_its_index_is_built_again(pgvector_url, base):
    table = table_("ivfflat", "a1" * 10, 10, base)
    ensure(table, base)
    execute(pgvector_url, f"DROP INDEX {tables.SCHEMA}.{table.index}")
    assert ensure(table, base).reused is False


def test_two_loads_at_once_do_the_work_once(pgvector_url, base):
    table = table_("ivfflat", "b2" * 10, 10, base)
    facts = []
    threads = [threading.Thread(target=lambda: facts.append(ensure(table, base))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(fact.reused for fact in facts) == [False, True, True]


def test_nobody_loads_while_a_session_is_timed(pgvector_url, base):
    done = threading.Event()

    def load():
        ensure(table_("ivfflat", "c3" * 10, 10, base), base)
        done.set()

    with session("be timed") as timed:
        locks.wait(timed, shared=False)
        locks.share(timed)
        with session("be timed too") as second:
            locks.wait(second, shared=True)
        thread = threading.Thread(target=load)
        thread.start()
        assert not done.wait(0.5)
    thread.join(20)
    assert done.is_set()


def test_everything_of_ours_can_be_removed(pgvector_url, base):
    ensure(table_("ivfflat", "d1" * 10, 10, base), base)
    with session("tidy up") as connection:
        assert locks.take(connection)
        tables.remove(connection)
    assert found(pgvector_url) == {}
    with psycopg.connect(pgvector_url) as connection:
        assert connection.execute("SELECT to_regnamespace(%s)", [tables.SCHEMA]).fetchone() == (None,)
