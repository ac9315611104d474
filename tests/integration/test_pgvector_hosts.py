"""Servers as they are found: what a role or database brings along, rights that miss, little shared memory."""

from __future__ import annotations

import os

import numpy as np
import psycopg
import pytest
from support import pg_benchmark as benchmark
from support.pg_benchmark import ensure as load
from support.pg_benchmark import session
from support.pg_benchmark import table as table_

from nightgate.artifacts import Cache
from nightgate.errors import ServiceUnavailable
from nightgate.pgvector_search import locks, pinning, server, tables
from nightgate.pgvector_search.settings import Settings
from nightgate.stack import postgres
from nightgate.stack.postgres import Cluster

pytestmark = pytest.mark.slow

SMALL = {"rows": 2000, "dim": 16, "queries": 100, "lists": 10, "passes": 1, "load_seconds": 0.2, "clients": (1, 2)}
ONE = Settings(variants=("ivfflat",), **SMALL)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return Cache(tmp_path_factory.mktemp("cache"))


@pytest.fixture
def base():
    return np.random.default_rng(7).standard_normal((1200, 8), dtype=np.float32)


def execute(url, *statements):
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement)


@pytest.fixture
def role(pgvector_cluster, monkeypatch, request):
    """A database with pgvector and a role that may create schemas in it; the role is the one that measures."""
    name = f"r{abs(hash(request.node.name)) % 10**8}"
    pgvector_cluster.create_database(name)
    admin = pgvector_cluster.url(name)
    execute(admin, f"DROP ROLE IF EXISTS {name}", f"CREATE ROLE {name} LOGIN", "CREATE EXTENSION IF NOT EXISTS vector",
            f"GRANT CREATE ON DATABASE {name} TO {name}")  # fmt: skip
    monkeypatch.setenv("PGVECTOR_URL", admin.replace("postgres@", f"{name}@", 1))
    yield name, admin
    execute(pgvector_cluster.url(), f"DROP DATABASE {name} WITH (FORCE)", f"DROP ROLE {name}")


def ensure(table, base):
    with session("load and index the table") as connection:
        locks.wait(connection, shared=False)
        return load(connection, table, base)


def database():
    """What the doctor says of it."""
    (found,) = benchmark.STORE.findings(benchmark.where())
    return found


def left(url):
    with psycopg.connect(url) as connection:
        return connection.execute("SELECT to_regnamespace(%s)::text", [tables.SCHEMA]).fetchone()[0]


# what a role brings along

HOSTILE = {
    "client_encoding": "LATIN1", "statement_timeout": "50ms", "lock_timeout": "1ms", "idle_session_timeout": "1s",
    "idle_in_transaction_session_timeout": "50ms", "transaction_timeout": "300ms", "row_security": "on",
    "default_transaction_isolation": "serializable", "default_transaction_deferrable": "on",
    "search_path": "nowhere", "quote_all_identifiers": "on", "enable_indexscan": "off", "enable_seqscan": "off",
    "client_min_messages": "error", "exit_on_error": "on", "plan_cache_mode": "force_custom_plan", "DateStyle": "SQL, DMY",
    "standard_conforming_strings": "off", "bytea_output": "escape", "debug_parallel_query": "on",
}  # fmt: skip


def test_what_a_role_sets_changes_nothing(role, cache, tmp_path):
    name, admin = role
    for setting, value in HOSTILE.items():
        execute(admin, f"ALTER ROLE {name} SET {setting} = '{value}'")
    prepared = benchmark.prepare(ONE, "cpu", cache)
    [record] = benchmark.measure(ONE, "cpu", prepared, tmp_path / "s.npz")
    assert record.status == "measured", record.reason
    assert benchmark.missing(record) == {}
    assert record.detail["settings"]["enable_seqscan"] in ("on", "off")
    assert not set(record.detail["differences"]) & set(pinning.PINNED)
    assert left(admin) is None


def test_every_pinned_setting_is_as_it_should_be_in_the_next_transaction(role):
    name, admin = role
    for setting, value in HOSTILE.items():
        execute(admin, f"ALTER ROLE {name} SET {setting} = '{value}'")
    with session("look") as connection:
        found = dict(connection.execute("SELECT name, current_setting(name) FROM pg_settings").fetchall())
        assert {name: found[name] for name in pinning.PINNED} == pinning.PINNED
        assert found["client_encoding"] == "UTF8"
        assert found["search_path"] == "public"


@pytest.mark.parametrize("where", ["ROLE", "DATABASE"])
def test_a_role_that_may_not_write_is_told_which_setting_says_so(role, cache, where):
    name, admin = role
    execute(admin, f"ALTER {where} {name} SET default_transaction_read_only = on")
    try:
        with pytest.raises(ServiceUnavailable, match="default_transaction_read_only is on") as refused:
            benchmark.prepare(ONE, "cpu", cache)
    finally:
        execute(admin.replace("?", "?options=-c%20default_transaction_read_only%3Doff&"),
                f"ALTER {where} {name} RESET default_transaction_read_only")  # fmt: skip
    assert f"set by: {'user' if where == 'ROLE' else 'database'}" in str(refused.value)
    assert left(admin) is None


# rights that miss


def test_an_extension_in_a_schema_that_may_not_be_used_is_said(role, cache):
    name, admin = role
    execute(admin, "CREATE SCHEMA tools", "ALTER EXTENSION vector SET SCHEMA tools")
    with pytest.raises(ServiceUnavailable, match="pgvector is in the schema tools") as refused:
        benchmark.prepare(ONE, "cpu", cache)
    assert f'GRANT USAGE ON SCHEMA "tools" TO "{name}"' in str(refused.value)
    fine, said = database()
    assert not fine and "GRANT USAGE" in said
    execute(admin, f"GRANT USAGE ON SCHEMA tools TO {name}")
    assert database()[0]


def test_a_right_that_misses_is_looked_up(role, base):
    name, admin = role
    table = table_("ivfflat", "a" * 20, 10, base)
    execute(admin, f"CREATE SCHEMA {tables.SCHEMA}")
    with pytest.raises(ServiceUnavailable, match=f'GRANT USAGE, CREATE ON SCHEMA {tables.SCHEMA} TO "{name}"'):
        ensure(table, base)
    execute(admin, f"GRANT USAGE, CREATE ON SCHEMA {tables.SCHEMA} TO {name}",
            f"CREATE TABLE {tables.SCHEMA}.{table.name} (id int)")  # fmt: skip
    with pytest.raises(ServiceUnavailable, match="belong to postgres: measure as that user, or let it drop them"):
        ensure(table, base)
    execute(admin, f"DROP SCHEMA {tables.SCHEMA} CASCADE", "REVOKE USAGE ON TYPE vector FROM PUBLIC")
    with pytest.raises(ServiceUnavailable, match=f'permission denied for type.*grant what it names to "{name}"'):
        ensure(table, base)
    execute(admin, f"REVOKE CREATE ON DATABASE {name} FROM {name}", "DROP SCHEMA IF EXISTS nightgate_bench")
    with pytest.raises(ServiceUnavailable, match=f'GRANT CREATE ON DATABASE "{name}" TO "{name}"'):
        ensure(table, base)


def test_a_search_path_without_a_schema_is_said_where_the_extension_must_be_created(role):
    name, admin = role
    execute(admin, "DROP EXTENSION vector", f"ALTER ROLE {name} SET search_path = nowhere")
    with (
        pytest.raises(ServiceUnavailable, match="no schema has been selected.*search_path"),
        session("try") as c,
    ):
        server.ensure_extension(c)


def test_a_limit_on_temporary_files_is_said(role):
    name, admin = role
    execute(admin, f"ALTER ROLE {name} SET temp_file_limit = '1MB'", f"ALTER ROLE {name} SET work_mem = '64kB'")
    with pytest.raises(ServiceUnavailable, match="temp_file_limit.*raise the limit"), session("sort") as sorting:
        sorting.execute("SELECT * FROM generate_series(1, 300000) AS g ORDER BY g DESC").fetchone()


# little shared memory


@pytest.fixture
def little_shm(tmp_path, monkeypatch):
    """A server whose /dev/shm has 4 MB, as a container's may have 64."""
    words = postgres._as_server_user()
    if os.geteuid():
        words = ["sudo", "-n", "unshare", "-m", "sh", "-c", _SHM + f" && exec setpriv --reuid={os.geteuid()} --regid={os.getegid()} --clear-groups \"$@\"", "sh", *words]  # fmt: skip
    else:
        words = ["unshare", "-m", "sh", "-c", f'{_SHM} && exec "$@"', "sh", *words]
    monkeypatch.setattr(postgres, "_as_server_user", lambda: words)
    cluster = Cluster(tmp_path / "pg", {
        "dynamic_shared_memory_type": "posix", "maintenance_work_mem": "64MB", "max_parallel_maintenance_workers": "2",
        "min_parallel_table_scan_size": "0", "shared_buffers": "64MB",
    })  # fmt: skip
    cluster.start()
    monkeypatch.setenv("PGVECTOR_URL", cluster.url())
    yield cluster
    cluster.stop()


_SHM = "mount -t tmpfs -o size=4m,mode=1777 tmpfs /dev/shm"


def test_an_index_is_built_without_workers_where_they_have_no_shared_memory(little_shm, caplog, base):
    execute(little_shm.url(), "CREATE EXTENSION vector")
    facts = ensure(table_("hnsw", "a" * 20, 10, base), base)
    assert "could not resize shared memory segment" in caplog.text and "without parallel workers" in caplog.text
    assert facts.index_bytes > 0
    with (
        pytest.raises(
            ServiceUnavailable, match="/dev/shm.*maintenance_work_mem or max_parallel_maintenance_workers"
        ) as said,
        session("index") as connection,
    ):
        connection.execute(f"CREATE INDEX ON {tables.SCHEMA}.hnsw_{'a' * 20}_0 USING hnsw (vec vector_l2_ops)")
    assert "free some space" not in str(said.value)
