"""One part that fails takes no other's numbers with it, and a run that ends early leaves nothing on the server."""

from __future__ import annotations

import os
import signal
import threading
import time

import psycopg
import pytest
from support import pg_benchmark as benchmark

from nightgate import registry, steps
from nightgate.artifacts import Cache
from nightgate.benchmark import Context
from nightgate.errors import ServiceUnavailable
from nightgate.pgvector_search import tables
from nightgate.pgvector_search.settings import Settings

pytestmark = pytest.mark.slow

SMALL = {"rows": 2000, "dim": 16, "queries": 100, "lists": 10, "passes": 1, "load_seconds": 0}


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return Cache(tmp_path_factory.mktemp("cache"))


@pytest.fixture
def clean(pgvector_url):
    execute(pgvector_url, f"DROP SCHEMA IF EXISTS {tables.SCHEMA} CASCADE")
    return pgvector_url


def execute(url, *statements):
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement)


def ask(url, query, *values):
    with psycopg.connect(url, autocommit=True) as connection:
        return connection.execute(query, values or None).fetchone()[0]


def schema(url):
    return ask(url, "SELECT to_regnamespace(%s)::text", tables.SCHEMA)


def test_a_control_that_cannot_be_built_fails_alone(clean, cache, tmp_path, monkeypatch):
    monkeypatch.setenv("PGVECTOR_URL", f"{clean}&options=-c%20maintenance_work_mem%3D16MB")
    settings = Settings(
        variants=("ivfflat",), controls=("ivfflat_lists1000", "ivfflat_halfvec"), **SMALL | {"dim": 256}
    )
    prepared = benchmark.prepare(settings, "cpu", cache)
    assert list(prepared.failed) == ["ivfflat_lists1000"]
    records = {r.variant: r for r in benchmark.measure(settings, "cpu", prepared, tmp_path / "s.npz")}
    assert [r.status for r in records.values()] == ["measured", "failed", "measured"]
    failed = records["ivfflat_lists1000"]
    assert "its vectors could not be prepared" in failed.reason and "maintenance_work_mem" in failed.reason
    assert failed.metrics == {} and failed.samples is None and failed.finished_at
    assert records["ivfflat"].gated and records["ivfflat"].metrics["recall_at_5"].n == 100
    assert schema(clean) is None


def test_a_gated_variant_alone_that_cannot_be_built_ends_the_run(clean, cache, monkeypatch):
    monkeypatch.setenv("PGVECTOR_URL", f"{clean}&options=-c%20maintenance_work_mem%3D1MB")
    settings = Settings(variants=("ivfflat_lists1000",), controls=("ivfflat",), **SMALL | {"dim": 256})
    with pytest.raises(ServiceUnavailable, match="raise maintenance_work_mem"):
        benchmark.prepare(settings, "cpu", cache)
    assert schema(clean) is None


def test_too_few_connections_for_the_sweep_keep_what_was_measured(clean, cache, tmp_path, monkeypatch, caplog, capfd):
    execute(clean, "DROP ROLE IF EXISTS few", "CREATE ROLE few LOGIN CONNECTION LIMIT 5",
            "GRANT CREATE ON DATABASE postgres TO few", "CREATE EXTENSION IF NOT EXISTS vector")  # fmt: skip
    monkeypatch.setenv("PGVECTOR_URL", clean.replace("postgres@", "few@", 1))
    settings = Settings(variants=("ivfflat",), **SMALL | {"load_seconds": 0.2, "clients": (1, 2, 8)})
    [record] = benchmark.measure(settings, "cpu", benchmark.prepare(settings, "cpu", cache), tmp_path / "s.npz")
    assert record.status == "measured", record.reason
    assert (
        record.metrics["recall_at_5"].n == 100 and "latency_p95" in record.metrics and "open_loop_p50" in record.metrics
    )
    assert [crowd.clients for crowd in record.facts.crowds] == [1, 2]
    assert "throughput_qps" in record.metrics
    [(what, why)] = benchmark.missing(record).items()
    assert what == "the clients" and why.startswith("8 clients at once: ") and "too many connections for role" in why
    assert "Traceback" not in caplog.text + "".join(capfd.readouterr())
    execute(clean, "DROP OWNED BY few", "DROP ROLE few")


# ended early


def interrupted_while(url, statement, number):
    """Send ourselves the signal ``number`` once a session runs a statement like this."""

    def strike():
        with psycopg.connect(url, autocommit=True) as watcher:
            query = "SELECT FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND state = 'active' AND query LIKE %s"
            while not watcher.execute(query, [statement]).fetchall():
                time.sleep(0.002)
        os.kill(os.getpid(), number)

    thread = threading.Thread(target=strike, daemon=True)
    thread.start()
    return thread


@pytest.mark.parametrize(
    ("number", "statement"),
    [(signal.SIGINT, "CREATE INDEX %hnsw%"), (signal.SIGTERM, "CREATE INDEX %hnsw%"), (signal.SIGTERM, "COPY %")],
    ids=["ctrl-c", "index", "copy"],
)
def test_an_order_to_end_while_it_loads_leaves_nothing(clean, cache, number, statement):
    many = {"rows": 10_000, "dim": 64} if "COPY" not in statement else {"rows": 60_000, "dim": 32}
    variants = ("ivfflat", "hnsw") if "hnsw" in statement else ("ivfflat",)
    settings = Settings(variants=variants, **SMALL | many)
    before = signal.getsignal(number)
    thread = interrupted_while(clean, statement, number)
    start = time.monotonic()
    with pytest.raises(KeyboardInterrupt):
        benchmark.prepare(settings, "cpu", cache)
    thread.join(10)
    assert time.monotonic() - start < 120 and signal.getsignal(number) is before
    assert schema(clean) is None
    busy = "SELECT count(*) FROM pg_stat_activity WHERE state = 'active' AND query LIKE %s"
    assert ask(clean, busy, statement) == 0, "the server does not work on for nobody"


@pytest.mark.parametrize("keep", [False, True])
def test_a_failure_after_a_finished_table_leaves_what_is_to_be_kept(clean, cache, monkeypatch, keep):
    settings = Settings(variants=("ivfflat", "ivfflat_halfvec"), keep=keep, **SMALL)
    real = tables.load

    def second_fails(connection, where, table, base):
        if table.variant == "ivfflat_halfvec":
            raise MemoryError
        return real(connection, where, table, base)

    monkeypatch.setattr(tables, "load", second_fails)
    with pytest.raises(MemoryError):
        benchmark.prepare(settings, "cpu", cache)
    assert schema(clean) == (tables.SCHEMA if keep else None)


def test_a_run_that_ends_between_prepare_and_measure_is_swept_by_its_report(clean, tmp_path, monkeypatch):
    monkeypatch.setenv("NIGHTGATE_HOME", str(tmp_path / "home"))
    monkeypatch.setenv("NIGHTGATE_RUNS", str(tmp_path / "runs"))
    overrides = {f"pgvector_search.{key}": value for key, value in SMALL.items()} | {"pgvector_search.controls": []}
    plan = steps.preflight("r-1", dag_id=steps.BY_HAND, scale="smoke", only=["pgvector_search"], overrides=overrides)
    steps.prepare(plan, "pgvector_search", "cpu")
    assert schema(clean) == tables.SCHEMA
    steps.report(plan, None)
    assert schema(clean) is None

    prepared = steps.prepare(plan, "pgvector_search", "cpu")
    with monkeypatch.context() as patch:
        patch.setattr(steps.host, "quiet", lambda *_: 1 / 0)  # before the benchmark itself is reached
        with pytest.raises(ZeroDivisionError):
            steps.measure(plan, "pgvector_search", "cpu", prepared)
    assert schema(clean) is None


def test_tables_that_cannot_be_removed_are_named(clean, cache, monkeypatch, caplog):
    monkeypatch.setattr(tables, "remove", lambda connection: connection.execute("SELECT nothing"))
    registry.named("pgvector_search").tidy(Settings(variants=("ivfflat",), **SMALL), Context("cpu", cache))
    assert "collections of ours may be left on the pgvector server" in caplog.text


# many dimensions


def test_halfvec_holds_more_dimensions_than_vector(clean, cache, tmp_path):
    settings = Settings(variants=("ivfflat_halfvec",), controls=("ivfflat",),
                        **SMALL | {"rows": 1000, "dim": 2001, "lists": 5})  # fmt: skip
    records = {
        r.variant: r
        for r in benchmark.measure(settings, "cpu", benchmark.prepare(settings, "cpu", cache), tmp_path / "s")
    }
    assert records["ivfflat_halfvec"].status == "measured", records["ivfflat_halfvec"].reason
    assert (records["ivfflat"].status, records["ivfflat"].reason) == (
        "skipped", "pgvector indexes the type vector up to 2,000 dimensions and dim is 2,001",
    )  # fmt: skip


def test_an_old_pgvector_refuses_many_dimensions_before_a_row_is_made(old_cluster, tmp_path, monkeypatch):
    monkeypatch.setenv("PGVECTOR_URL", old_cluster.url())
    settings = Settings(variants=("ivfflat_halfvec",), controls=("ivfflat",), **SMALL | {"dim": 2001})
    with pytest.raises(ServiceUnavailable) as refused:
        benchmark.prepare(settings, "cpu", Cache(tmp_path / "cache"))
    assert "has no halfvec, which came with 0.7, and pgvector indexes the type vector up to 2,000" in str(refused.value)
    assert not list(tmp_path.rglob("*.npy")) and schema(old_cluster.url()) is None
