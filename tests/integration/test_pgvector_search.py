"""The pgvector benchmark against real servers, small: what it measures and how it proves it."""

from __future__ import annotations

import subprocess

import numpy as np
import psycopg
import pytest
from support import pg_benchmark as benchmark
from support.pg_benchmark import STORE, session, table_of, where

from nightgate import registry
from nightgate.artifacts import Cache
from nightgate.benchmark import Context
from nightgate.errors import InputError, NotMeasured, Unavailable
from nightgate.pgvector_search import locks, plan, tables
from nightgate.pgvector_search.settings import Settings
from nightgate.record import Record
from nightgate.vector_search import store_measuring
from nightgate.vector_search.evidence import Evidence
from nightgate.vector_search.store_measuring import _Measuring

SMALL = {
    "rows": 5000,
    "dim": 32,
    "queries": 100,
    "lists": 20,
    "passes": 2,
    "most_passes": 2,
    "load_seconds": 0.3,
    "clients": (1, 2),
}
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
        index = f"{record.variant}_{prepared.data.digest}_{lists or 0}_vec"
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
        assert record.facts.provenance.versions["pgvector"] and record.detail["settings"]["shared_buffers"]
        assert record.detail["differences"]["track_io_timing"] == "on"
        knob = "hnsw.ef_search" if record.variant.startswith("hnsw") else "ivfflat.probes"
        assert list(record.facts.tuning.setting.values()) == [int(record.detail["settings"][knob])]
        assert record.detail["warmed"]["blocks_read"] <= 0.001 * record.detail["warmed"]["blocks_hit"]
        curve = record.facts.tuning.curve
        assert curve[-1].setting == record.facts.tuning.setting, (
            "the cheapest that reaches the target is the last tried"
        )
        assert curve[-1].recall >= settings.recall_target + settings.recall_margin
        passes = 2 if record.gated else 1
        assert samples[f"{record.variant}/durations_ns"].shape == (passes, 100)
        assert samples[f"{record.variant}/ids"].shape == (100, 5)
        assert samples[f"{record.variant}/recall"].mean() == pytest.approx(record.metrics["recall_at_5"].value)

    gated, single = records[0], records[1]
    assert gated.metrics["index_bytes"].value < 0.8 * single.metrics["index_bytes"].value
    assert [crowd.clients for crowd in gated.facts.crowds] == [1, 2]
    assert gated.metrics["throughput_qps"].value == max(crowd.queries_per_second for crowd in gated.facts.crowds)
    assert gated.facts.open_loop.rate == 20 and "open_loop_p50" in gated.metrics
    assert gated.metrics["cold_start_p50"].value > 0 and gated.metrics["cold_start_first"].value > 0
    assert "throughput_qps" not in single.metrics and "cold_start_p50" not in single.metrics, "controls stand beside"
    assert tables.SCHEMA in schemas(embedded.url()), "the embedded server keeps its tables"


def test_what_was_tuned_is_kept_with_the_table_until_it_is_asked_otherwise(pgvector_url, cache, tmp_path, monkeypatch):
    _, [first] = measure(ONE, cache, tmp_path)
    assert first.detail["build"]["reused"] is True, "measure finds what prepare made"
    with monkeypatch.context() as patch:
        asked = []
        real = store_measuring.run_child
        patch.setattr(
            store_measuring,
            "run_child",
            lambda function, request, **rest: asked.append(request) or real(function, request, **rest),
        )
        _, [again] = measure(ONE, cache, tmp_path)
        harder = ONE.model_copy(update={"recall_target": 0.97})
        _, [other] = measure(harder, cache, tmp_path)
    assert [request.setting for request in asked] == [first.facts.tuning.setting, None]
    assert again.facts.tuning.curve == first.facts.tuning.curve and again.facts.tuning.reached
    assert again.detail["build"]["built_at"] == other.detail["build"]["built_at"]
    assert list(other.facts.tuning.setting.values()) > list(first.facts.tuning.setting.values())


def index_of(url, table):
    """The file that holds the index now, that of the table, and how many indexes there are."""
    with psycopg.connect(url) as connection:
        names = [f"{tables.SCHEMA}.{table.index}", f"{tables.SCHEMA}.{table.name}"]
        files = [
            connection.execute("SELECT pg_relation_filenode(%s::regclass)", [name]).fetchone()[0] for name in names
        ]
        count = "SELECT count(*) FROM pg_index WHERE indrelid = %s::regclass AND indisvalid"
        return *files, connection.execute(count, names[1:]).fetchone()[0]


def test_a_confirming_run_draws_the_lists_anew_and_leaves_one_whole_table(pgvector_url, cache, tmp_path):
    prepared, [first] = measure(ONE, cache, tmp_path)
    table = table_of(ONE, prepared, "ivfflat")
    before, heap, _ = index_of(pgvector_url, table)
    known = registry.named("pgvector_search")
    confirming = known.to_confirm(ONE, ("latency_p95",))
    [look] = known.measure(confirming, prepared, Context("cpu", None, samples=tmp_path / "look.npz", fresh=1))
    after, same_heap, indexes = index_of(pgvector_url, table)
    assert look.status == "measured" and {"latency_p95", "recall_at_5"} <= set(look.metrics)
    assert (before != after, heap == same_heap, indexes) == (True, True, 1)
    assert (
        first.facts.builds.keys() == look.facts.builds.keys() == {"ivfflat"} and first.facts.builds != look.facts.builds
    )
    assert look.detail["build"]["built_at"] == first.detail["build"]["built_at"], "its rows stand"
    first_ids, ids = (np.load(tmp_path / file)["ivfflat/ids"] for file in ("pgvector_search-cpu.npz", "look.npz"))
    assert (first_ids != ids).any(), "other lists lose other neighbours"
    _, [next_night] = measure(ONE, cache, tmp_path)
    assert next_night.facts.builds == look.facts.builds and next_night.detail["build"]["reused"]
    assert next_night.facts.tuning == look.facts.tuning, "what the look has found is kept with it"


def test_an_index_that_is_not_built_anew_stands_as_it_was(pgvector_url, cache, tmp_path, monkeypatch):
    prepared, [first] = measure(ONE, cache, tmp_path)
    table = table_of(ONE, prepared, "ivfflat")
    before = index_of(pgvector_url, table)

    def fails(*_):
        raise NotMeasured("it was interrupted")

    with monkeypatch.context() as patch:
        patch.setattr(tables, "remember", fails)  # the last step of the transaction
        context = Context("cpu", None, samples=tmp_path / "s.npz", fresh=1)
        [look] = registry.named("pgvector_search").measure(ONE, prepared, context)
    assert (look.status, look.reason) == ("failed", "it was interrupted")
    assert index_of(pgvector_url, table) == before
    _, [again] = measure(ONE, cache, tmp_path)
    assert again.facts.builds == first.facts.builds and again.facts.tuning == first.facts.tuning


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
    assert found["ivfflat"].facts.provenance.versions["pgvector"].startswith("0.6")
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
    table = table_of(ONE, prepared, "ivfflat")
    with monkeypatch.context() as patch:  # as if somebody had dropped it after it was looked at
        patch.setattr(tables, "standing", lambda *rest: prepared.built["ivfflat"])
        execute(pgvector_url, f"DROP INDEX {tables.SCHEMA}.{table.index}")
        [record] = benchmark.measure(ONE, "cpu", prepared, tmp_path / "s.npz")
    assert record.status == "failed"
    assert "does not use the index" in record.reason and "Seq Scan" in record.reason
    assert record.metrics == {} and record.samples is None
    assert not (tmp_path / "s.npz").exists()


def test_the_plan_of_the_prepared_statement_itself_is_checked(pgvector_url, cache):
    prepared = benchmark.prepare(ONE, "cpu", cache)
    table = table_of(ONE, prepared, "ivfflat")
    query = STORE.encode(table, np.eye(1, 32, dtype=np.float32))[0]
    with STORE.open(where(), table, 5) as session:
        session.tune({"probes": 3}, query)
        with pytest.raises(NotMeasured, match="was not prepared"):
            plan.evidence(session.connection, session.prepared, query, table.index)
        session.search(query)
        assert "Index Scan" in " ".join(plan.evidence(session.connection, session.prepared, query, table.index))
        execute(pgvector_url, f"DROP INDEX {tables.SCHEMA}.{table.index}")
        session.search(query)
        with pytest.raises(NotMeasured, match="does not use the index"):
            plan.evidence(session.connection, session.prepared, query, table.index)


def test_a_planner_that_would_rather_not_use_the_index_is_said(pgvector_url, cache, tmp_path, monkeypatch):
    monkeypatch.setenv("PGVECTOR_URL", f"{pgvector_url}&options=-c%20random_page_cost%3D1e6")
    _, [record] = measure(ONE, cache, tmp_path)
    assert record.status == "measured" and record.detail["planner_chose_index"] is False
    assert record.detail["settings"]["enable_seqscan"] == "off"


def test_a_table_that_lost_rows_is_no_measurement(pgvector_url, cache, tmp_path):
    prepared = benchmark.prepare(ONE, "cpu", cache)
    name = f"{tables.SCHEMA}.{table_of(ONE, prepared, 'ivfflat').name}"
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
    assert record.facts.tuning.curve != first.facts.tuning.curve, (
        "it was tuned anew, after the restart of the cold start"
    )
    assert first.detail["warmed_for_tuning"]["queries"] == 100, "a fresh index lies in memory"
    assert record.detail["warmed_for_tuning"]["queries"] > 100


def test_the_cold_start_leaves_the_server_to_another_run(embedded, cache, tmp_path):
    prepared = benchmark.prepare(ONE, "cpu", cache)
    one = Evidence(Record(benchmark="pgvector_search", variant="ivfflat", device="cpu", status="measured"), 0.9)
    measuring = _Measuring(STORE, where(), ONE, prepared)
    with session("use the tables") as other:
        locks.wait(other, shared=True)
        measuring.cold_start(one)
        assert other.execute("SELECT 1").fetchone() == (1,)
    assert one.missed == ["the cold start was not measured: another run uses the server"]


def test_no_password_gets_into_records_or_process_lists(pgvector_cluster, cache, tmp_path, monkeypatch, caplog):
    caplog.set_level("DEBUG")
    monkeypatch.setenv("PGVECTOR_URL", pgvector_cluster.url().replace("postgres@", "postgres:geheim@", 1))
    seen = []
    real = subprocess.Popen

    class Spied(real):
        def __init__(self, command, **rest):
            seen.append(repr([command, rest.get("env")]))
            super().__init__(command, **rest)

    monkeypatch.setattr(subprocess, "Popen", Spied)
    prepared, records = measure(ONE, cache, tmp_path)
    assert records[0].status == "measured" and any("measure.child" in words for words in seen)
    said = "".join([*seen, prepared.model_dump_json(), *(record.model_dump_json() for record in records), caplog.text])
    assert "geheim" not in said


def test_a_gpu_is_not_available():
    with pytest.raises(Unavailable, match="CPU"):
        benchmark.prepare(ONE, "gpu", cache=None)


@pytest.mark.parametrize("metric", ["cosine", "l2", "ip"])
def test_vectors_of_the_users_own_are_measured_by_their_metric(pgvector_url, cache, tmp_path, metric):
    rng = np.random.default_rng(5)
    centres = 3 * rng.standard_normal((50, 24))
    vectors = centres[rng.integers(0, 50, 4000)] + rng.standard_normal((4000, 24))
    vectors *= rng.uniform(0.5, 2.0, (4000, 1))
    np.save(tmp_path / "mine.npy", vectors)  # float64, which is rounded on its way
    settings = Settings(
        variants=("ivfflat_halfvec",), controls=("hnsw",), dataset=str(tmp_path / "mine.npy"), metric=metric, k=10,
        lists=20, queries=100, passes=1, load_seconds=0, recall_target=0.8,
    )  # fmt: skip
    prepared, records = measure(settings, cache, tmp_path)
    samples = np.load(tmp_path / "pgvector_search-cpu.npz")
    rows, operator = prepared.data.rows, {"cosine": "<=>", "l2": "<->", "ip": "<#>"}[metric]
    assert prepared.data.metric == metric and rows == 4000 - 400
    for record in records:
        assert record.status == "measured", record.reason
        assert f"ORDER BY vec {operator} $1 LIMIT 10" in record.detail["statement"]
        assert any("Index Scan using" in line for line in record.detail["plan"])
        assert (record.facts.vectors.file, record.facts.vectors.metric) == ("mine.npy", metric)
        assert {"recall_at_1", "recall_at_10", "recall_hard"} <= set(record.metrics)
        # by hand, in float64, from the answers as rows of the file
        (place, row), ids = samples[f"{record.variant}/query_rows"][0], samples[f"{record.variant}/ids"]
        assert place == 1 and row in samples[f"{record.variant}/held_out"]
        searched = np.setdiff1d(np.arange(4000), samples[f"{record.variant}/held_out"])
        base, queries = vectors[searched], vectors[samples[f"{record.variant}/query_rows"][:, 1]]
        if metric == "cosine":
            base, queries = (each / np.linalg.norm(each, axis=1, keepdims=True) for each in (base, queries))
        cost = -(queries @ base.T) if metric != "l2" else ((queries[:, None] - base) ** 2).sum(axis=2)
        nearest = searched[np.argsort(cost, axis=1)[:, :10]]
        found = np.mean([np.isin(answer, near).mean() for answer, near in zip(ids, nearest, strict=True)])
        assert found == pytest.approx(record.metrics["recall_at_10"].value, abs=0.002) and found > 0.75


def test_a_file_that_no_index_can_hold_leaves_the_server_alone(pgvector_url, cache, tmp_path):
    execute(pgvector_url, f"DROP SCHEMA IF EXISTS {tables.SCHEMA} CASCADE")
    np.save(tmp_path / "long.npy", np.random.default_rng(1).standard_normal((1600, 2001)).astype(np.float32))
    settings = Settings(variants=("hnsw",), dataset=str(tmp_path / "long.npy"), metric="l2", queries=100)
    with pytest.raises(
        InputError, match="up to 2,000 dimensions and dim is 2,001. Next step: use one of ivfflat_halfvec"
    ):
        benchmark.prepare(settings, "cpu", cache)
    assert tables.SCHEMA not in schemas(pgvector_url)
