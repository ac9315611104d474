"""What can go wrong with a database, done for real: each ends in a typed error or record, and the next run succeeds."""

from __future__ import annotations

import os
import signal
import threading
import time
import traceback
from contextlib import contextmanager

import numpy as np
import psycopg
import pytest
from support import pg_benchmark as benchmark
from support.disks import small_disk
from support.pg_benchmark import STORE, session, table_of, where
from support.pg_benchmark import ensure as load
from support.pg_benchmark import table as table_
from support.programs import free_port

from nightgate import registry
from nightgate.artifacts import Cache
from nightgate.errors import InputError, NotMeasured, ServiceUnavailable, Unavailable
from nightgate.pgvector_search import indexing, locks, server, tables
from nightgate.pgvector_search.address import URL_VARIABLE
from nightgate.pgvector_search.settings import Settings
from nightgate.stack.postgres import Cluster
from nightgate.vector_search.store_preparing import tidy_up

pytestmark = pytest.mark.slow

SMALL = {"rows": 5000, "dim": 32, "queries": 100, "lists": 20, "passes": 1, "load_seconds": 0}
ONE = Settings(variants=("ivfflat",), **SMALL)
# a load and an index build that take long enough to be caught in the act
LONG = Settings(variants=("ivfflat",), **SMALL | {"rows": 200_000, "lists": 100})


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return Cache(tmp_path_factory.mktemp("cache"))


@pytest.fixture
def base():
    return np.random.default_rng(7).standard_normal((1200, 8), dtype=np.float32)


@pytest.fixture
def tcp(tmp_path, monkeypatch):
    """A server on a port of 127.0.0.1 that asks for a password and has three connections to give."""
    cluster = Cluster(
        tmp_path / "tcp", {"listen_addresses": "127.0.0.1", "port": str(free_port()), "max_connections": "6"}
    )
    cluster.start()
    execute(cluster.url(), "CREATE ROLE keeper LOGIN PASSWORD 'geheim'", "CREATE EXTENSION vector",
            "GRANT CREATE ON DATABASE postgres TO keeper")  # fmt: skip
    (cluster.data / "pg_hba.conf").write_text("local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n")
    execute(cluster.url(), "SELECT pg_reload_conf()")
    monkeypatch.setenv(URL_VARIABLE, f"postgresql://keeper:geheim@127.0.0.1:{cluster.settings['port']}/postgres")
    yield cluster
    cluster.stop()


def execute(url, *statements):
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement)


def left(url):
    """The tables in our schema."""
    with psycopg.connect(url) as connection:
        query = "SELECT relname FROM pg_class WHERE relnamespace = to_regnamespace(%s) AND relkind = 'r'"
        return {name for (name,) in connection.execute(query, [tables.SCHEMA]).fetchall()}


def ensure(table, base):
    with session("load") as connection:
        locks.wait(connection, shared=False)
        server.ensure_extension(connection)
        return load(connection, table, base)


def run(settings, cache, folder):
    prepared = benchmark.prepare(settings, "cpu", cache)
    return benchmark.measure(settings, "cpu", prepared, folder / "s.npz")


@contextmanager
def killed_while(cluster, statement):
    """Kill the server with SIGKILL once a session runs a statement like this."""
    pid = int((cluster.data / "postmaster.pid").read_text().split("\n", 1)[0])
    struck = threading.Event()

    def strike():
        with psycopg.connect(cluster.url(), autocommit=True) as watcher:
            query = "SELECT FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND state = 'active' AND query LIKE %s"
            while not watcher.execute(query, [statement]).fetchall():
                time.sleep(0.002)
        time.sleep(0.05)
        os.kill(pid, signal.SIGKILL)
        struck.set()

    thread = threading.Thread(target=strike, daemon=True)
    thread.start()
    yield
    assert struck.wait(30), f"nothing like {statement} was ever run"
    thread.join()


# the server goes


@pytest.mark.parametrize("statement", ["COPY %", "CREATE INDEX %"])
def test_a_server_killed_while_it_loads_comes_back_and_the_next_run_succeeds(embedded, cache, tmp_path, statement):
    with killed_while(embedded, statement), pytest.raises(ServiceUnavailable, match="was lost while it should load"):
        benchmark.prepare(LONG, "cpu", cache)
    [record] = run(LONG, cache, tmp_path)
    assert record.status == "measured", record.reason
    assert left(embedded.url()) == {table_of(LONG, benchmark.prepare(LONG, "cpu", cache), "ivfflat").name}


def test_a_server_killed_amid_the_queries_fails_the_record_and_is_measured_next_time(embedded, cache, tmp_path):
    settings = ONE.model_copy(update={"passes": 20})
    prepared = benchmark.prepare(settings, "cpu", cache)
    with killed_while(embedded, "SELECT id FROM%"):
        [record] = benchmark.measure(settings, "cpu", prepared, tmp_path / "s.npz")
    assert record.status == "failed" and "was lost while it should answer" in record.reason
    assert not (tmp_path / "s.npz").exists()
    [record] = benchmark.measure(settings, "cpu", prepared, tmp_path / "s.npz")
    assert record.status == "measured", record.reason
    assert record.detail["build"]["reused"] is False, "the crash has emptied the unlogged table"


def test_a_server_that_stays_away_is_said_at_each_step(tmp_path, cache, monkeypatch):
    cluster = Cluster(tmp_path / "own", {})
    cluster.start()
    monkeypatch.setenv(URL_VARIABLE, cluster.url())
    prepared = benchmark.prepare(ONE, "cpu", cache)
    cluster.stop()
    [absent] = benchmark.measure(ONE, "cpu", prepared, tmp_path / "s.npz")
    assert absent.status == "failed" and "cannot be reached" in absent.reason
    with pytest.raises(Unavailable, match="cannot be reached"):
        benchmark.prepare(ONE, "cpu", cache)


@pytest.mark.parametrize(("step", "digest"), [("build_index", "f" * 20), ("finish", "0" * 20)])
def test_a_connection_cut_before_the_end_leaves_no_complete_table(pgvector_url, base, monkeypatch, step, digest):
    table = table_("ivfflat", digest, 10, base)
    real = getattr(tables, step)

    def cut(connection, *rest):
        execute(pgvector_url, f"SELECT pg_terminate_backend({connection.info.backend_pid}, 5000)")
        return real(connection, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(tables, step, cut)
        with pytest.raises(ServiceUnavailable, match="was lost"):
            ensure(table, base)
    assert table.draft in left(pgvector_url) and table.name not in left(pgvector_url)
    tidy_up(STORE, where(), STORE.drop_drafts)
    assert table.draft not in left(pgvector_url)
    assert ensure(table, base).reused is False


@pytest.mark.parametrize(
    ("function", "said"), [("pg_cancel_backend", "somebody there cancelled it"), ("pg_terminate_backend", "was lost")]
)
def test_an_index_build_that_is_ended_leaves_no_table(pgvector_url, cache, tmp_path, function, said):
    execute(pgvector_url, f"DROP SCHEMA IF EXISTS {tables.SCHEMA} CASCADE")

    def end():
        with psycopg.connect(pgvector_url, autocommit=True) as other:
            query = (
                f"SELECT {function}(pid) FROM pg_stat_activity WHERE state = 'active' AND query LIKE 'CREATE INDEX%'"
            )
            while not other.execute(query).fetchall():
                time.sleep(0.002)

    thread = threading.Thread(target=end, daemon=True)
    thread.start()
    with pytest.raises(ServiceUnavailable, match=said):
        benchmark.prepare(LONG, "cpu", cache)
    thread.join(10)
    assert left(pgvector_url) == set()
    [record] = run(LONG, cache, tmp_path)
    assert record.status == "measured"


# the server lacks something


@pytest.fixture
def disk_of_100_mb(tmp_path):
    with small_disk(tmp_path / "small", "100m") as folder:
        yield folder


def test_a_full_disk_is_said_and_leaves_a_clean_database(disk_of_100_mb, cache, tmp_path, monkeypatch):
    cluster = Cluster(disk_of_100_mb / "pg", {})
    cluster.start()
    try:
        monkeypatch.setenv(URL_VARIABLE, cluster.url())
        with pytest.raises(ServiceUnavailable, match="No space left on device.*free some space there"):
            benchmark.prepare(LONG, "cpu", cache)
        assert left(cluster.url()) == set()
        [record] = run(ONE, cache, tmp_path)
        assert record.status == "measured", record.reason
        assert left(cluster.url()) == set()
    finally:
        cluster.stop()


def test_out_of_connections_is_no_skip(tcp, cache, tmp_path):
    held = []
    with pytest.raises(psycopg.OperationalError):
        while True:
            held.append(psycopg.connect(os.environ[URL_VARIABLE]))
    with pytest.raises(
        ServiceUnavailable, match="refuses the connection.*(too many clients|remaining connection slots)"
    ):
        benchmark.prepare(ONE, "cpu", cache)
    for connection in held:
        connection.close()
    [record] = run(ONE, cache, tmp_path)
    assert record.status == "measured", "over TCP, with a password"


def test_a_wrong_password_is_no_skip_and_is_not_shown(tcp, cache, monkeypatch):
    monkeypatch.setenv(URL_VARIABLE, os.environ[URL_VARIABLE].replace("geheim", "falsch"))
    with pytest.raises(ServiceUnavailable, match="refuses the connection.*password authentication failed") as error:
        benchmark.prepare(ONE, "cpu", cache)
    assert "falsch" not in "".join(traceback.format_exception(error.value))


def test_a_server_without_pgvector_says_what_to_install(pgvector_cluster, monkeypatch):
    pgvector_cluster.create_database("plain")
    options = "&options=-c%20extension_control_path%3D/nowhere"
    monkeypatch.setenv(URL_VARIABLE, pgvector_cluster.url("plain") + options)
    with pytest.raises(ServiceUnavailable, match="install pgvector"), session("try") as connection:
        server.ensure_extension(connection)


def test_a_user_without_rights_is_told_what_to_ask_for(pgvector_cluster, monkeypatch, base):
    pgvector_cluster.create_database("restricted")
    execute(pgvector_cluster.url(), "DROP ROLE IF EXISTS guest", "CREATE ROLE guest LOGIN")
    url = pgvector_cluster.url("restricted")
    monkeypatch.setenv(URL_VARIABLE, url.replace("postgres@", "guest@", 1))
    table = table_("ivfflat", "d4" * 10, 10, base)
    with pytest.raises(ServiceUnavailable, match="administrator run CREATE EXTENSION"):
        ensure(table, base)
    execute(url, "CREATE EXTENSION vector")
    with pytest.raises(ServiceUnavailable, match="GRANT CREATE ON DATABASE"):
        ensure(table, base)
    execute(url, "GRANT CREATE ON DATABASE restricted TO guest")
    assert ensure(table, base).reused is False


def test_an_index_that_does_not_fit_into_memory_is_explained(pgvector_url, base, monkeypatch):
    monkeypatch.setenv(URL_VARIABLE, f"{pgvector_url}&options=-c%20maintenance_work_mem%3D64kB")
    with pytest.raises(ServiceUnavailable, match="maintenance_work_mem"):
        ensure(table_("ivfflat", "e5" * 10, 1000, base), base)


def test_a_read_only_server_is_said(pgvector_url, base, monkeypatch):
    monkeypatch.setenv(URL_VARIABLE, f"{pgvector_url}&options=-c%20default_transaction_read_only%3Don")
    with pytest.raises(ServiceUnavailable, match="primary server"):
        ensure(table_("ivfflat", "e6" * 10, 10, base), base)


# two at once


def test_two_runs_of_different_data_on_one_server_are_both_measured(pgvector_url, cache, tmp_path):
    """Each drops the other's tables while it prepares; each heals, and nothing is left."""
    execute(pgvector_url, f"DROP SCHEMA IF EXISTS {tables.SCHEMA} CASCADE")
    found, errors = {}, []

    def one(seed):
        try:
            settings = ONE.model_copy(update={"seed": seed})
            prepared = benchmark.prepare(settings, "cpu", cache)
            barrier.wait(60)
            found[seed] = benchmark.measure(settings, "cpu", prepared, tmp_path / f"{seed}.npz")
        except BaseException as error:
            errors.append(error)

    barrier = threading.Barrier(2)
    threads = [threading.Thread(target=one, args=(seed,)) for seed in (1, 2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(120)
    assert errors == []
    assert {seed: records[0].status for seed, records in found.items()} == {1: "measured", 2: "measured"}
    assert left(pgvector_url) == set()


# servers that are absent or foreign


def test_an_absent_server_skips_unless_it_is_required(monkeypatch, tmp_path):
    required = ONE.model_copy(update={"require_service": True})
    for url in ("", f"postgresql://u:geheim@/db?host={tmp_path}", "postgresql://u:geheim@127.0.0.1:1/db"):
        monkeypatch.setenv(URL_VARIABLE, url)
        with pytest.raises(Unavailable, match=URL_VARIABLE) as skipped:
            benchmark.prepare(ONE, "cpu", Cache(tmp_path))
        with pytest.raises(ServiceUnavailable, match=URL_VARIABLE):
            benchmark.prepare(required, "cpu", Cache(tmp_path))
        assert "geheim" not in "".join(traceback.format_exception(skipped.value))
    monkeypatch.delenv(URL_VARIABLE)
    with pytest.raises(Unavailable, match="is not set"):
        benchmark.prepare(ONE, "cpu", Cache(tmp_path))


@pytest.mark.parametrize(
    "url",
    [
        "postgresql://u:ge@heim@127.0.0.1/db",
        "postgresql://u:ge/heim@127.0.0.1/db",
        "postgresql://u:12/heim@127.0.0.1/db",
        "postgresql://u:ge%heim@127.0.0.1/db",
        "postgresql+psycopg2://u:geheim@127.0.0.1/db",
        "host=127.0.0.1 password=ge heim",
    ],
)
def test_a_broken_url_is_refused_before_anything_starts_and_without_its_password(monkeypatch, url):
    monkeypatch.setenv(URL_VARIABLE, url)
    with pytest.raises(InputError) as error, session("try"):
        pass
    assert "heim" not in "".join(traceback.format_exception(error.value))
    with pytest.raises(InputError, match="is not a PostgreSQL connection string"):
        registry.named("pgvector_search").look(ONE, {})


def test_a_refused_statement_is_not_measured(pgvector_url):
    with pytest.raises(NotMeasured, match="could not ask: relation"), session("ask") as connection:
        connection.execute("SELECT * FROM not_there")


def test_the_progress_of_an_index_is_told_and_its_absence_is_no_failure(pgvector_url, base, monkeypatch, caplog):
    caplog.set_level("INFO")
    monkeypatch.setattr(indexing, "_LOG_EVERY", 0.001)
    table = table_("hnsw", "e7" * 10, 10, np.empty((5000, 64)))
    many = np.random.default_rng(1).standard_normal((5000, 64), dtype=np.float32)
    ensure(table, many)
    assert "hnsw: building index: loading tuples" in caplog.text
    monkeypatch.setattr(indexing, "_PROGRESS", "SELECT FROM not_there WHERE %s > 0")
    ensure(table_("hnsw", "e8" * 10, 10, np.empty((5000, 64))), many)
    assert "cannot be told" in caplog.text
