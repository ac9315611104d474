"""The pgvector benchmark against real servers, small: what it measures and how it proves it."""

from __future__ import annotations

import json
import os

import numpy as np
import psycopg
import pytest

from nightgate.artifacts import Cache
from nightgate.errors import NotMeasured, Unavailable
from nightgate.pgvector_search import asking, benchmark, locks, plan, preparing, server, tables
from nightgate.pgvector_search.settings import Settings

SMALL = {"rows": 5000, "dim": 32, "queries": 100, "lists": 20, "passes": 2, "load_seconds": 0.3, "clients": (1, 2)}
ONE = Settings(variants=("ivfflat",), keep=True, **SMALL | {"load_seconds": 0})


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return Cache(tmp_path_factory.mktemp("cache"))


def execute(url, *statements):
    with psycopg.connect(url, autocommit=True) as connection:
        for statement in statements:
            connection.execute(statement)


def schemas(url):
    with psycopg.connect(url) as connection:
        return {name for (name,) in connection.execute("SELECT nspname FROM pg_namespace").fetchall()}


def measure(settings, cache, tmp_path):
    prepared = benchmark.prepare(settings, "cpu", cache)
    return prepared, benchmark.measure(settings, "cpu", prepared, tmp_path / "pgvector_search-cpu.npz")


def test_every_variant_is_measured_through_its_index(embedded, cache, tmp_path):
    controls = ("ivfflat", "ivfflat_halfvec_lists1000", "hnsw", "hnsw_halfvec")
    settings = Settings(variants=("ivfflat_halfvec",), controls=controls, **SMALL)
    prepared, records = measure(settings, cache, tmp_path)

    assert [(r.variant, r.status, r.gated) for r in records] == [
        ("ivfflat_halfvec", "measured", True), *((control, "measured", False) for control in controls),
    ]  # fmt: skip
    with np.load(tmp_path / "pgvector_search-cpu.npz") as kept:
        samples = dict(kept)
    for record in records:
        lists = 1000 if "1000" in record.variant else 20 if record.variant.startswith("ivf") else None
        index = f"{record.variant}_{prepared['data']['digest']}_{lists or 0}_vec"
        assert any(f"Index Scan using {index}" in line for line in record.detail["plan"])
        assert any("Buffers: shared hit=" in line for line in record.detail["plan"])
        assert "<=> $1 LIMIT 5" in record.detail["statement"]
        assert record.detail["build"]["lists"] == lists
        assert 0.8 < record.metrics["recall_at_5"].value <= 1
        assert record.metrics["recall_at_5"].n == 100
        p50, p95, p99 = (record.metrics[f"latency_{q}"].value for q in ("p50", "p95", "p99"))
        assert 0 < p50 <= p95 <= p99
        for name in ("build_seconds", "load_seconds", "rows_per_second", "index_bytes", "qps"):
            assert record.metrics[name].value > 0
        assert record.detail["versions"]["pgvector"] and record.detail["settings"]["shared_buffers"]
        assert record.detail["differences"]["track_io_timing"] == "on"
        knob = "hnsw.ef_search" if record.variant.startswith("hnsw") else "ivfflat.probes"
        assert list(record.detail["setting"].values()) == [int(record.detail["settings"][knob])]
        assert record.detail["warmed"]["blocks_read"] <= 0.001 * record.detail["warmed"]["blocks_hit"]
        curve = record.detail["curve"]
        assert curve[-1]["setting"] == record.detail["setting"], (
            "the cheapest that reaches the target is the last tried"
        )
        assert curve[-1]["recall"] >= settings.recall_target + settings.recall_margin
        passes = 2 if record.gated else 1
        assert samples[f"{record.variant}/durations_ns"].shape == (passes, 100)
        assert samples[f"{record.variant}/ids"].shape == (100, 5)
        assert samples[f"{record.variant}/recall"].mean() == pytest.approx(record.metrics["recall_at_5"].value)

    gated, single = records[0], records[1]
    assert gated.metrics["index_bytes"].value < 0.8 * single.metrics["index_bytes"].value
    assert [level["clients"] for level in gated.detail["clients"]] == [1, 2]
    assert gated.metrics["throughput_qps"].value == max(c["queries_per_second"] for c in gated.detail["clients"])
    assert gated.detail["open_loop"]["rate"] == 20 and "open_loop_p50" in gated.metrics
    assert gated.metrics["cold_start_p50"].value > 0 and gated.metrics["cold_start_first"].value > 0
    assert "throughput_qps" not in single.metrics and "cold_start_p50" not in single.metrics, "controls stand beside"
    assert tables.SCHEMA in schemas(embedded.url()), "the embedded server keeps its tables"


def test_what_was_tuned_is_kept_with_the_table_until_it_is_asked_otherwise(pgvector_url, cache, tmp_path, monkeypatch):
    _, [first] = measure(ONE, cache, tmp_path)
    assert first.detail["build"]["reused"] is True, "measure finds what prepare made"
    with monkeypatch.context() as patch:
        patch.setattr("nightgate.pgvector_search.evidence.version", lambda name: "0")  # read in this process
        asked = []
        real = benchmark.run_child
        patch.setattr(
            benchmark,
            "run_child",
            lambda target, request, **rest: asked.append(request) or real(target, request, **rest),
        )
        _, [again] = measure(ONE, cache, tmp_path)
        harder = ONE.model_copy(update={"recall_target": 0.97})
        _, [other] = measure(harder, cache, tmp_path)
    assert [request["setting"] for request in asked] == [first.detail["setting"], None]
    assert again.detail["curve"] == first.detail["curve"] and again.detail["tuning_reached_target"]
    assert again.detail["build"]["built_at"] == other.detail["build"]["built_at"]
    assert list(other.detail["setting"].values()) > list(first.detail["setting"].values())


def test_a_server_of_the_users_is_left_as_it_was(pgvector_url, cache, tmp_path):
    execute(pgvector_url, "DROP SCHEMA IF EXISTS nightgate_bench CASCADE", "CREATE TABLE IF NOT EXISTS theirs (id int)")
    before = schemas(pgvector_url)
    settings = ONE.model_copy(update={"keep": None})
    _, [record] = measure(settings, cache, tmp_path)
    assert record.status == "measured"
    assert "cold_start_first" not in record.metrics, "it is not ours to restart"
    assert schemas(pgvector_url) == before
    execute(pgvector_url, "SELECT FROM theirs", "DROP TABLE theirs")


def test_what_is_not_ours_in_our_schema_stays(pgvector_url, cache, tmp_path):
    theirs = f"{tables.SCHEMA}.ivfflat_notes"
    execute(pgvector_url, f"CREATE SCHEMA IF NOT EXISTS {tables.SCHEMA}", f"CREATE TABLE {theirs} (id int)")
    measure(ONE.model_copy(update={"keep": False}), cache, tmp_path)
    with psycopg.connect(pgvector_url) as connection:
        assert connection.execute("SELECT to_regclass(%s) IS NOT NULL", [theirs]).fetchone() == (True,)
    execute(pgvector_url, f"DROP SCHEMA {tables.SCHEMA} CASCADE")


def test_an_old_pgvector_gates_float32_instead(old_cluster, cache, tmp_path, monkeypatch):
    monkeypatch.setenv("PGVECTOR_URL", old_cluster.url())
    settings = Settings(variants=("ivfflat_halfvec",), controls=("hnsw", "hnsw_halfvec"), **SMALL | {"load_seconds": 0})
    _, records = measure(settings, cache, tmp_path)
    found = {record.variant: record for record in records}
    assert found["ivfflat"].status == "measured" and found["ivfflat"].gated
    assert found["ivfflat"].detail["versions"]["pgvector"].startswith("0.6")
    assert found["hnsw"].status == "measured" and not found["hnsw"].gated
    for absent in ("ivfflat_halfvec", "hnsw_halfvec"):
        assert (found[absent].status, found[absent].gated) == ("skipped", False)
        assert "has no halfvec, which came with 0.7" in found[absent].reason
    assert "so ivfflat, the same index over float32, is gated instead" in found["ivfflat_halfvec"].reason


def test_pgvector_in_a_schema_of_its_own_is_found(pgvector_cluster, cache, tmp_path, monkeypatch):
    pgvector_cluster.create_database("managed")
    url = pgvector_cluster.url("managed")
    execute(url, "CREATE SCHEMA extensions", "CREATE EXTENSION vector SCHEMA extensions")
    monkeypatch.setenv("PGVECTOR_URL", url)
    _, [record] = measure(ONE, cache, tmp_path)
    assert record.status == "measured", record.reason


def test_time_limits_of_the_role_do_not_end_a_load(pgvector_cluster, cache, tmp_path, monkeypatch):
    pgvector_cluster.create_database("hurried")
    url = pgvector_cluster.url("hurried")
    execute(
        url, "CREATE EXTENSION vector", "DROP ROLE IF EXISTS hurried", "CREATE ROLE hurried LOGIN",
        "GRANT CREATE ON DATABASE hurried TO hurried", "ALTER ROLE hurried SET statement_timeout = '20ms'",
        "ALTER ROLE hurried SET work_mem = '1MB'",
    )  # fmt: skip
    monkeypatch.setenv("PGVECTOR_URL", url.replace("postgres@", "hurried@", 1))
    settings = Settings(variants=("ivfflat",), **SMALL | {"rows": 50_000, "load_seconds": 0})
    _, [record] = measure(settings, cache, tmp_path)
    assert record.status == "measured", record.reason
    assert record.detail["session"]["work_mem"] == "64MB", "a role without rights may raise it, so that no sort spills"
    assert tables.SCHEMA not in schemas(url)


def test_a_plan_without_the_index_is_no_measurement(pgvector_url, cache, tmp_path, monkeypatch):
    prepared = benchmark.prepare(ONE, "cpu", cache)
    table = preparing.table_of(ONE, prepared, "ivfflat")
    with monkeypatch.context() as patch:  # as if somebody had dropped it after it was looked at
        patch.setattr(tables, "ensure", lambda *rest: {"reused": True, "lists": 20})
        execute(pgvector_url, f"DROP INDEX {tables.SCHEMA}.{table.index}")
        [record] = benchmark.measure(ONE, "cpu", prepared, tmp_path / "s.npz")
    assert record.status == "failed"
    assert "does not use the index" in record.reason and "Seq Scan" in record.reason
    assert record.metrics == {} and record.samples is None
    assert not (tmp_path / "s.npz").exists()


def test_the_plan_of_the_prepared_statement_itself_is_checked(pgvector_url, cache):
    prepared = benchmark.prepare(ONE, "cpu", cache)
    table = preparing.table_of(ONE, prepared, "ivfflat")
    query = asking.parameters(table, np.eye(1, 32, dtype=np.float32))[0]
    with asking.asker(table) as session:
        session.use({"probes": 3}, query)
        with pytest.raises(NotMeasured, match="was not prepared"):
            plan.evidence(session.connection, session.prepared, query, table.index)
        session.ask(query)
        assert "Index Scan" in " ".join(plan.evidence(session.connection, session.prepared, query, table.index))
        execute(pgvector_url, f"DROP INDEX {tables.SCHEMA}.{table.index}")
        session.ask(query)
        with pytest.raises(NotMeasured, match="does not use the index"):
            plan.evidence(session.connection, session.prepared, query, table.index)


def test_a_planner_that_would_rather_not_use_the_index_is_said(pgvector_url, cache, tmp_path, monkeypatch):
    monkeypatch.setenv("PGVECTOR_URL", f"{pgvector_url}&options=-c%20random_page_cost%3D1e6")
    _, [record] = measure(ONE, cache, tmp_path)
    assert record.status == "measured" and record.detail["planner_chose_index"] is False
    assert record.detail["settings"]["enable_seqscan"] == "off"


def test_a_table_that_lost_rows_is_no_measurement(pgvector_url, cache, tmp_path):
    prepared = benchmark.prepare(ONE, "cpu", cache)
    name = f"{tables.SCHEMA}.{preparing.table_of(ONE, prepared, 'ivfflat').name}"
    execute(pgvector_url, f"DELETE FROM {name} WHERE id = 7")
    [record] = benchmark.measure(ONE, "cpu", prepared, tmp_path / "s.npz")
    execute(pgvector_url, f"DROP TABLE {name}")
    assert record.status == "failed" and "holds 4999 rows, not 5000" in record.reason


def test_a_table_that_another_run_dropped_is_loaded_again(pgvector_url, cache, tmp_path):
    prepared = benchmark.prepare(ONE, "cpu", cache)
    execute(pgvector_url, f"DROP SCHEMA {tables.SCHEMA} CASCADE")
    [record] = benchmark.measure(ONE, "cpu", prepared, tmp_path / "s.npz")
    assert record.status == "measured" and record.detail["build"]["reused"] is False


def test_a_cold_server_is_warmed_before_the_clock(embedded, cache, tmp_path):
    settings = ONE.model_copy(update={"rows": 20_000, "lists": 500})
    prepared, [record] = measure(settings, cache, tmp_path)
    assert record.detail["warmed"]["queries"] == 100, "a fresh index lies in memory"
    [again] = benchmark.measure(
        settings, "cpu", prepared, tmp_path / "s.npz"
    )  # the cold start has restarted the server
    assert again.detail["build"]["built_at"] == record.detail["build"]["built_at"]
    assert again.detail["warmed"]["queries"] > 100
    assert again.detail["warmed"]["blocks_read"] <= 0.001 * again.detail["warmed"]["blocks_hit"]


def test_a_cold_server_is_warmed_before_it_is_tuned(embedded, cache, tmp_path, monkeypatch):
    settings = ONE.model_copy(update={"rows": 20_000, "lists": 500})
    prepared, [first] = measure(settings, cache, tmp_path)
    again = settings.model_copy(update={"recall_target": 0.8})  # so that the kept setting does not serve
    [record] = benchmark.measure(again, "cpu", prepared, tmp_path / "s.npz")
    assert record.detail["curve"] != first.detail["curve"], "it was tuned anew, after the restart of the cold start"
    assert first.detail["warmed_for_tuning"]["queries"] == 100, "a fresh index lies in memory"
    assert record.detail["warmed_for_tuning"]["queries"] > 100


def test_the_cold_start_leaves_the_server_to_another_run(embedded, cache, tmp_path):
    prepared = benchmark.prepare(ONE, "cpu", cache)
    with server.session("use the tables") as other:
        locks.wait(other, shared=True)
        one = benchmark.Evidence(benchmark._record(ONE, "cpu", prepared, "ivfflat", tmp_path / "s.npz"))
        benchmark._cold_start(ONE, prepared, one)
        assert other.execute("SELECT 1").fetchone() == (1,)
    assert one.record.detail["not_measured"] == {"cold_start": "another run uses the server"}


def test_no_password_gets_into_records_or_process_lists(pgvector_cluster, cache, tmp_path, monkeypatch, caplog):
    caplog.set_level("DEBUG")
    monkeypatch.setenv("PGVECTOR_URL", pgvector_cluster.url().replace("postgres@", "postgres:geheim@", 1))
    seen = []
    real = benchmark.run_child

    def spied(*words, **rest):
        seen.append(json.dumps(words))
        return real(*words, **rest)

    monkeypatch.setattr(benchmark, "run_child", spied)
    _, records = measure(ONE, cache, tmp_path)
    assert records[0].status == "measured" and seen
    said = "".join([*seen, *(record.model_dump_json() for record in records), caplog.text])
    assert "geheim" not in said
    assert "geheim" in os.environ["PGVECTOR_URL"], (
        "children get it through the environment, which only the user can read"
    )


def test_a_gpu_is_not_available():
    with pytest.raises(Unavailable, match="CPU"):
        benchmark.prepare(ONE, "gpu", cache=None)
