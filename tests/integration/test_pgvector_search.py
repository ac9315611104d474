"""The pgvector benchmark against a real server, small."""

from __future__ import annotations

import threading
import time
import traceback

import numpy as np
import psycopg
import pytest

from nightgate.artifacts import Cache
from nightgate.errors import InputError, NotMeasured, ServiceUnavailable, Unavailable
from nightgate.measure import host
from nightgate.pgvector_search import benchmark, loading, server
from nightgate.pgvector_search.settings import Settings
from nightgate.stack.postgres import Cluster, tuned_for_vectors

SMALL = {"rows": 5000, "dim": 32, "queries": 100, "lists": 20, "passes": 1}
BOTH = Settings(variants=("ivfflat_halfvec",), controls=("ivfflat",), **SMALL)
ONE = Settings(variants=("ivfflat",), **SMALL)


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return Cache(tmp_path_factory.mktemp("cache"))


@pytest.fixture
def base():
    vectors = np.random.default_rng(7).standard_normal((1200, 8), dtype=np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def ensure(table, base):
    with server.session("load") as connection:
        loading.lock(connection, shared=False)
        return loading.ensure(connection, table, base)


def tables(url):
    """Name → comment of every table in our schema."""
    with psycopg.connect(url) as connection:
        query = "SELECT relname, obj_description(oid) FROM pg_class WHERE relnamespace = to_regnamespace(%s) AND relkind = 'r'"
        return dict(connection.execute(query, [loading.SCHEMA]).fetchall())


def execute(url, *statements):
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement)


# what is measured


def test_both_variants_are_measured_through_their_index(pgvector_url, cache, tmp_path):
    prepared = benchmark.prepare(BOTH, "cpu", cache)
    samples = tmp_path / "pgvector_search-cpu.npz"
    records = benchmark.measure(BOTH, "cpu", prepared, samples)

    assert [(r.variant, r.status, r.reason) for r in records] == [
        ("ivfflat_halfvec", "measured", None), ("ivfflat", "measured", None),
    ]  # fmt: skip
    for record in records:
        index = f"{record.variant}_{prepared['digest']}_20_vec"
        assert any(f"Index Scan using {index}" in line for line in record.detail["plan"])
        assert "<=> $1 LIMIT 5" in record.detail["statement"]
        assert 0.8 < record.metrics["recall_at_5"].value <= 1
        assert record.metrics["recall_at_5"].n == 100
        p50, p95, p99 = (record.metrics[f"latency_{q}"].value for q in ("p50", "p95", "p99"))
        assert 0 < p50 <= p95 <= p99
        for name in ("build_seconds", "load_seconds", "rows_per_second", "index_bytes", "qps"):
            assert record.metrics[name].value > 0
        assert record.detail["versions"]["pgvector"] and record.detail["settings"]["ivfflat.probes"]
        assert record.detail["probes"] == int(record.detail["settings"]["ivfflat.probes"])
        assert record.samples == samples.name
    half, single = (record.metrics["index_bytes"].value for record in records)
    assert half < 0.8 * single
    saved = np.load(samples)
    assert saved["ivfflat/durations_ns"].shape == (1, 100)
    assert saved["ivfflat_halfvec/ids"].shape == (100, 5)
    assert saved["ivfflat/recall"].mean() == pytest.approx(records[1].metrics["recall_at_5"].value)


def test_a_loaded_table_is_reused_and_another_data_set_replaces_it(pgvector_url, base):
    first = loading.Table("ivfflat", "a" * 20, 10)
    built = ensure(first, base)
    again = ensure(first, base)
    assert (built["reused"], again["reused"]) == (False, True)
    assert again["built_at"] == built["built_at"]
    half = loading.Table("ivfflat_halfvec", "a" * 20, 10)
    ensure(half, base)
    assert set(tables(pgvector_url)) == {first.name, half.name}

    other = loading.Table("ivfflat", "b" * 20, 10)
    ensure(other, base)
    assert set(tables(pgvector_url)) == {other.name}


@pytest.mark.parametrize(("variant", "element"), [("ivfflat", np.float32), ("ivfflat_halfvec", np.float16)])
def test_the_table_holds_what_was_loaded(pgvector_url, base, variant, element, monkeypatch):
    monkeypatch.setattr(loading, "_BLOCK", 500)  # 1200 rows: two whole blocks and a rest
    table = loading.Table(variant, "c" * 20, 10)
    ensure(table, base)
    with psycopg.connect(pgvector_url) as connection:
        rows = connection.execute(f"SELECT id, vec::real[] FROM {loading.SCHEMA}.{table.name} ORDER BY id").fetchall()
    assert [row_id for row_id, _ in rows] == list(range(1200))
    np.testing.assert_array_equal(np.array([vec for _, vec in rows], np.float32), base.astype(element))


def test_a_notice_about_a_poor_index_is_kept(pgvector_url, base):
    facts = ensure(loading.Table("ivfflat", "d" * 20, 50), base[:40])
    assert any("little data" in notice for notice in facts["notices"])


def test_a_plan_without_the_index_is_no_measurement(pgvector_url, cache, tmp_path):
    prepared = benchmark.prepare(ONE, "cpu", cache)
    execute(pgvector_url, f"DROP INDEX {loading.SCHEMA}.ivfflat_{prepared['digest']}_20_vec")
    [record] = benchmark.measure(ONE, "cpu", prepared, tmp_path / "s.npz")
    assert record.status == "failed"
    assert "does not use the index" in record.reason and "Seq Scan" in record.reason
    assert record.metrics == {} and record.samples is None
    assert not (tmp_path / "s.npz").exists()


def test_a_table_that_lost_rows_is_no_measurement(pgvector_url, cache, tmp_path):
    prepared = benchmark.prepare(ONE, "cpu", cache)
    name = f"{loading.SCHEMA}.ivfflat_{prepared['digest']}_20"
    execute(pgvector_url, f"DELETE FROM {name} WHERE id = 0")
    [record] = benchmark.measure(ONE, "cpu", prepared, tmp_path / "s.npz")
    execute(pgvector_url, f"DROP TABLE {name}")
    assert record.status == "failed" and "holds 4999 rows, not 5000" in record.reason


@pytest.mark.parametrize(("gated", "status"), [("ivfflat_halfvec", "failed"), ("ivfflat", "skipped")])
def test_without_halfvec_a_control_is_skipped_but_a_gated_variant_fails(
    pgvector_url, cache, tmp_path, monkeypatch, gated, status
):
    monkeypatch.setattr(server, "has_halfvec", lambda connection: False)
    controls = {"ivfflat", "ivfflat_halfvec"} - {gated}
    settings = Settings(variants=(gated,), controls=tuple(controls), **SMALL)
    prepared = benchmark.prepare(settings, "cpu", cache)
    found = {r.variant: r for r in benchmark.measure(settings, "cpu", prepared, tmp_path / "s.npz")}
    assert found["ivfflat"].status == "measured"
    assert found["ivfflat_halfvec"].status == status and "0.7" in found["ivfflat_halfvec"].reason


def test_a_gpu_is_not_available():
    with pytest.raises(Unavailable, match="CPU"):
        benchmark.prepare(ONE, "gpu", cache=None)


# interruptions


def test_an_interrupted_copy_leaves_nothing(pgvector_url, base, monkeypatch):
    table = loading.Table("ivfflat", "e" * 20, 10)
    with monkeypatch.context() as patch:
        patch.setattr(loading, "_BLOCK", 500)
        encode = loading.encode_rows
        patch.setattr(loading, "encode_rows", lambda start, *rest: 1 / 0 if start else encode(start, *rest))
        with pytest.raises(ZeroDivisionError):
            ensure(table, base)
    assert not any("e" * 20 in name for name in tables(pgvector_url))
    assert ensure(table, base)["reused"] is False


@pytest.mark.parametrize(("step", "digest"), [("_build_index", "f" * 20), ("_finish", "0" * 20)])
def test_a_connection_cut_before_the_end_leaves_no_complete_table(pgvector_url, base, monkeypatch, step, digest):
    table = loading.Table("ivfflat", digest, 10)
    real = getattr(loading, step)

    def cut(connection, *rest):
        execute(pgvector_url, f"SELECT pg_terminate_backend({connection.info.backend_pid}, 5000)")
        return real(connection, *rest)

    with monkeypatch.context() as patch:
        patch.setattr(loading, step, cut)
        with pytest.raises(ServiceUnavailable, match="was lost"):
            ensure(table, base)
    assert tables(pgvector_url)[f"{table.name}_loading"] is None
    assert table.name not in tables(pgvector_url)

    assert ensure(table, base)["reused"] is False
    assert set(tables(pgvector_url)) == {table.name}


def test_a_table_without_its_index_is_built_again(pgvector_url, base):
    table = loading.Table("ivfflat", "a1" * 10, 10)
    ensure(table, base)
    execute(pgvector_url, f"DROP INDEX {loading.SCHEMA}.{table.index}")
    assert ensure(table, base)["reused"] is False


def test_two_loads_at_once_do_the_work_once(pgvector_url, base):
    table = loading.Table("ivfflat", "b2" * 10, 10)
    found = []
    threads = [threading.Thread(target=lambda: found.append(ensure(table, base))) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(facts["reused"] for facts in found) == [False, True, True]


def test_nobody_loads_while_a_session_is_timed(pgvector_url, base):
    done = threading.Event()

    def load():
        ensure(loading.Table("ivfflat", "c3" * 10, 10), base)
        done.set()

    with server.session("be timed") as timed:
        loading.lock(timed, shared=True)
        thread = threading.Thread(target=load)
        thread.start()
        assert not done.wait(0.5)
    thread.join(20)
    assert done.is_set()


# servers that are absent, foreign or die


def test_an_absent_server_skips_unless_it_is_required(monkeypatch, tmp_path):
    required = ONE.model_copy(update={"require_service": True})
    for url in ("", f"postgresql://u:geheim@/db?host={tmp_path}", "postgresql://u:geheim@127.0.0.1:1/db"):
        monkeypatch.setenv(server.URL_VARIABLE, url)
        with pytest.raises(Unavailable, match=server.URL_VARIABLE) as skipped:
            benchmark.prepare(ONE, "cpu", Cache(tmp_path))
        with pytest.raises(ServiceUnavailable, match=server.URL_VARIABLE):
            benchmark.prepare(required, "cpu", Cache(tmp_path))
        assert "geheim" not in "".join(traceback.format_exception(skipped.value))
    monkeypatch.delenv(server.URL_VARIABLE)
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
def test_a_broken_url_is_refused_without_showing_the_password(monkeypatch, url):
    monkeypatch.setenv(server.URL_VARIABLE, url)
    with pytest.raises(InputError) as error, server.session("try"):
        pass
    assert "heim" not in "".join(traceback.format_exception(error.value))


def test_a_refused_login_does_not_show_the_password(pgvector_cluster, monkeypatch):
    url = pgvector_cluster.url().replace("postgres@", "nobody_here:geheim@", 1)
    monkeypatch.setenv(server.URL_VARIABLE, url)
    with pytest.raises(Unavailable, match="nobody_here") as error, server.session("try", required=False):
        pass
    assert "geheim" not in "".join(traceback.format_exception(error.value))


def test_a_server_without_pgvector_says_what_to_install(pgvector_cluster, monkeypatch):
    pgvector_cluster.create_database("plain")
    options = "&options=-c%20extension_control_path%3D/nowhere"
    monkeypatch.setenv(server.URL_VARIABLE, pgvector_cluster.url("plain") + options)
    with pytest.raises(ServiceUnavailable, match="install pgvector"), server.session("try") as connection:
        server.ensure_extension(connection)


def test_a_user_without_rights_is_told_what_to_ask_for(pgvector_cluster, monkeypatch, base):
    pgvector_cluster.create_database("restricted")
    execute(pgvector_cluster.url(), "DROP ROLE IF EXISTS guest", "CREATE ROLE guest LOGIN")
    url = pgvector_cluster.url("restricted")
    monkeypatch.setenv(server.URL_VARIABLE, url.replace("postgres@", "guest@", 1))
    with pytest.raises(ServiceUnavailable, match="administrator run CREATE EXTENSION"):
        ensure(loading.Table("ivfflat", "d4" * 10, 10), base)
    execute(url, "CREATE EXTENSION vector")
    with pytest.raises(ServiceUnavailable, match="GRANT CREATE ON DATABASE"):
        ensure(loading.Table("ivfflat", "d4" * 10, 10), base)


def test_an_index_that_does_not_fit_into_memory_is_explained(pgvector_url, base, monkeypatch):
    monkeypatch.setenv(server.URL_VARIABLE, f"{pgvector_url}&options=-c%20maintenance_work_mem%3D64kB")
    with pytest.raises(ServiceUnavailable, match="maintenance_work_mem"):
        ensure(loading.Table("ivfflat", "e5" * 10, 1000), base)


def test_a_server_that_dies(tmp_path, cache, monkeypatch):
    cluster = Cluster(tmp_path / "own", tuned_for_vectors(host.describe().memory_bytes))
    cluster.start()
    try:
        url = cluster.url()
        monkeypatch.setenv(server.URL_VARIABLE, url)
        settings = ONE.model_copy(update={"passes": 20, "queries": 100})
        prepared = benchmark.prepare(settings, "cpu", cache)

        def stop_amid_the_queries():
            with psycopg.connect(url, autocommit=True) as watcher:
                query = "SELECT FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND query LIKE 'SELECT id FROM%'"
                while not watcher.execute(query).fetchall():
                    time.sleep(0.002)
            cluster.stop()

        killer = threading.Thread(target=stop_amid_the_queries)
        killer.start()
        [record] = benchmark.measure(settings, "cpu", prepared, tmp_path / "s.npz")
        killer.join(30)
        assert record.status == "failed" and "was lost while it should answer" in record.reason

        [absent] = benchmark.measure(settings, "cpu", prepared, tmp_path / "s.npz")
        assert absent.status == "failed" and "cannot be reached" in absent.reason

        cluster.start()
        real = loading._build_index

        def stop_then_build(*args):
            cluster.stop()
            return real(*args)

        execute(url, f"DROP SCHEMA {loading.SCHEMA} CASCADE")
        monkeypatch.setattr(loading, "_build_index", stop_then_build)
        with pytest.raises(ServiceUnavailable, match="was lost while it should load"):
            benchmark.prepare(settings, "cpu", cache)
    finally:
        cluster.stop()


def test_a_refused_statement_is_not_measured(pgvector_url):
    with pytest.raises(NotMeasured, match="could not ask: relation"), server.session("ask") as connection:
        connection.execute("SELECT * FROM not_there")
