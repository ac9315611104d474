import json
from concurrent.futures import ThreadPoolExecutor

import psycopg
import pytest
from psycopg.conninfo import conninfo_to_dict, make_conninfo
from support.specs import add

from nightgate.artifacts.counted import Counted
from nightgate.errors import InputError, ServiceUnavailable
from nightgate.record import Host, Objective, Record, Summary
from nightgate.results import queries
from nightgate.results.store import Snapshot, Store, url_from_airflow
from nightgate.series import differing

NIGHTLY = ("nightly", "nightly_benchmarks")
HOST = Host(fingerprint="abc", cpu="a cpu", cores=2, memory_bytes=2**34)


@pytest.fixture
def url(own_database):
    return own_database


@pytest.fixture
def store(url):
    made = Store(url)
    made.migrate()
    return made


def record(variant="hybrid", night=1, p95=0.0012, verdict="pass", status="measured", device="cpu", host=HOST):
    made = Record(
        benchmark="hybrid_ann",
        variant=variant,
        device=device,
        status=status,
        host=host,
        settings={"variants": ["hybrid"], "rows": 50_000},
        detail={"knobs": {"ef": 100}, "tiny": 1e-9},
        started_at=f"2099-11-{night:02d}T02:00:00.000Z",
        finished_at=f"2099-11-{night:02d}T02:01:00.123Z",
    )
    if status == "measured":
        add(made, "latency_p95", p95, 3000, (p95 * 0.9, p95 * 1.1))
    if verdict:
        value = p95 if status == "measured" else None
        made.objectives = [Objective(metric="latency_p95", op="<", limit=0.02, value=value, verdict=verdict)]
    return made


def summary(night=1, state="pass", records=None, scale="smoke", scheduled=True, overrides=None, name="night"):
    return Summary(
        run_id=f"{name}-{night:02d}",
        dag_id="nightly_benchmarks",
        scale=scale,
        state=state,
        host=HOST,
        scheduled=scheduled,
        overrides=overrides or {},
        started_at=f"2099-11-{night:02d}T02:00:00.000Z",
        finished_at=f"2099-11-{night:02d}T02:02:00.5Z",
        results=[record(night=night)] if records is None else records,
    )


def count(url, table):
    with psycopg.connect(url) as connection:
        return connection.execute(f"SELECT count(*) FROM nightgate.{table}").fetchone()[0]


def test_a_summary_comes_back_exactly(store):
    kept = summary(
        records=[record("hnsw", verdict=None), record("hybrid"), record("hybrid", device="gpu", status="skipped")]
    )
    store.save_summary(kept)
    assert store.summary("night-01") == kept
    assert store.latest() == kept
    assert store.summary("other") is None


def test_saving_again_changes_nothing(store, url):
    for _ in range(2):
        store.save_records("night-01", "nightly_benchmarks", "smoke", [record(verdict=None)])
        store.save_summary(summary())
    assert (count(url, "runs"), count(url, "results")) == (1, 1)
    assert store.latest() == summary()


def test_a_summary_replaces_what_its_run_no_longer_holds(store):
    store.save_records("night-01", "nightly_benchmarks", "smoke", [record("dropped"), record("hybrid", p95=9.0)])
    store.save_summary(summary())
    assert store.summary("night-01") == summary()


def test_a_run_is_listed_before_it_is_judged(store):
    store.save_summary(summary(1, overrides={"hybrid_ann.rows": 5000}))
    store.save_records(
        "night-02", "nightly_benchmarks", "full", [record(night=2, verdict=None)], standing="night", overrides={}
    )
    running, done = store.runs()
    assert (running.run_id, running.scale, running.state, running.finished_at) == ("night-02", "full", None, None)
    assert (running.standing, running.overrides) == ("night", {})
    assert (done.run_id, done.state, done.results[0].objectives[0].verdict) == ("night-01", "pass", "pass")
    assert (done.standing, done.overrides) == ("ad-hoc", {"hybrid_ann.rows": 5000})
    assert store.summary("night-02") is None
    assert store.latest().run_id == "night-01"
    assert [run.run_id for run in store.runs(limit=1)] == ["night-02"]


def test_the_snapshot_holds_the_newest_measured_and_the_newest_judged(store):
    store.save_summary(summary(1, records=[record(night=1, p95=0.001), record("left", night=1)]))
    store.save_summary(summary(2, "invalid", [record(night=2, status="failed", verdict="invalid")]))
    store.save_records(
        "night-03", "nightly_benchmarks", "smoke", [record("hnsw", night=3, verdict=None)], standing="night"
    )
    found = store.snapshot()
    assert [(run_id, r.variant) for run_id, r in found.measured] == [
        ("night-03", "hnsw"),
        ("night-01", "hybrid"),
        ("night-01", "left"),
    ]
    assert [(r.variant, r.objectives[0].verdict) for _, r in found.judged] == [("hybrid", "invalid")], (
        "and not of one that left"
    )
    assert [(run.run_id, run.state) for run in found.last] == [("night-02", "invalid")]
    assert found.succeeded_at == {NIGHTLY: "2099-11-01T02:02:00.5Z"}


def test_a_variant_that_left_long_ago_is_forgotten(store):
    old = record("left").model_copy(update={"finished_at": "2020-01-01T00:00:00Z"})
    store.save_summary(summary(1, records=[old]))
    assert (store.snapshot().measured, store.snapshot().judged) == ([], [])


def test_the_snapshot_query_does_not_read_the_history(store, url):
    store.save_summary(
        summary(1, records=[record("hnsw", verdict=None), record("hybrid"), record("skipped", status="skipped")])
    )
    with psycopg.connect(url) as connection:
        connection.execute(
            "INSERT INTO nightgate.runs (run_id, dag_id, scale, standing) SELECT 'old-' || n, 'nightly_benchmarks', 'smoke', "
            "CASE n % 3 WHEN 0 THEN 'night' ELSE 'ad-hoc' END FROM generate_series(1, 3000) n"
        )
        connection.execute(
            "INSERT INTO nightgate.results (run_id, benchmark, variant, device, status, judged, fingerprint, measured_at, "
            "standing, record, dag_id) SELECT 'old-' || n, benchmark, variant, device, status, judged, fingerprint, "
            "measured_at + (CASE n % 3 WHEN 0 THEN -n ELSE n END) * interval '1 hour', "
            "CASE n % 3 WHEN 0 THEN 'night' ELSE 'ad-hoc' END, record, dag_id FROM nightgate.results, generate_series(1, 3000) n"
        )
        connection.execute("ANALYZE nightgate.results, nightgate.runs")
        explained = connection.execute("EXPLAIN (ANALYZE, FORMAT JSON) " + queries.NEWEST, {"forget": "30 days"})
        plan = explained.fetchone()[0][0]["Plan"]

    def rows(node):
        own = (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"]
        return own + sum(rows(child) for child in node.get("Plans", []))

    assert rows(plan) < 100, json.dumps(plan, indent=1)


def test_only_nights_count_and_where_there_is_none_what_stands_in_for_one(store):
    adhoc = summary(
        5, overrides={"hybrid_ann.rows": 5000}, scheduled=False, name="hand", records=[record(night=5, p95=0.005)]
    )
    store.save_summary(adhoc)
    assert (store.counting(), store.snapshot(), store.nights()) == ("stand-in", Snapshot(), [])
    assert [run.run_id for run in store.others()] == ["hand-05"]

    own = summary(4, scheduled=False, name="hand", records=[record(night=4, p95=0.004)])
    store.save_summary(own)
    found = store.snapshot()
    assert [(run_id, r.metrics["latency_p95"].value) for run_id, r in found.measured] == [("hand-04", 0.004)]
    assert ([run.run_id for run in found.last], found.succeeded_at) == (["hand-04"], {NIGHTLY: own.finished_at})
    assert [run.run_id for run in store.nights()] == ["hand-04"]

    store.save_summary(summary(1, "breach", records=[record(night=1, p95=0.001, verdict="breach")]))
    found = store.snapshot()
    assert store.counting() == "night"
    assert [(run_id, r.metrics["latency_p95"].value) for run_id, r in found.measured] == [("night-01", 0.001)]
    assert [r.objectives[0].verdict for _, r in found.judged] == ["breach"]
    assert ([(run.run_id, run.state) for run in found.last], found.succeeded_at) == ([("night-01", "breach")], {})
    assert [run.run_id for run in store.nights()] == ["night-01"]
    assert {run.run_id for run in store.others()} == {"hand-04", "hand-05"}


def test_each_dag_has_nights_of_its_own(store, url):
    """Where a suite names hosts, each has a DAG: a breach on one is not covered by what the next measures."""
    east = summary(1, "breach", [record(night=1, p95=0.03, verdict="breach"), record("left", night=1)], scale="full")
    store.save_summary(east.model_copy(update={"dag_id": "nightly.east"}))
    later = HOST.model_copy(update={"fingerprint": "def"})
    for night in (2, 3):
        west = summary(night, "pass", [record(night=night, p95=0.001 * night, host=later)])
        store.save_summary(west.model_copy(update={"dag_id": "nightly.west"}))
    found = store.snapshot()
    assert [(run_id, r.variant, r.host.fingerprint) for run_id, r in found.measured] == [
        ("night-01", "hybrid", "abc"), ("night-03", "hybrid", "def"), ("night-01", "left", "abc"),
    ]  # fmt: skip
    assert [(run_id, r.objectives[0].verdict) for run_id, r in found.judged] == [
        ("night-01", "breach"), ("night-03", "pass"), ("night-01", "pass"),
    ]  # fmt: skip
    assert found.origins == {"night-01": ("full", "nightly.east"), "night-03": ("smoke", "nightly.west")}
    assert [(run.run_id, run.dag_id) for run in found.last] == [
        ("night-01", "nightly.east"),
        ("night-03", "nightly.west"),
    ]
    assert found.succeeded_at == {("nightly", "nightly.west"): "2099-11-03T02:02:00.5Z"}
    with psycopg.connect(url) as connection:
        connection.execute(
            "UPDATE nightgate.runs SET recorded_at = recorded_at - interval '7 days' WHERE run_id = 'night-01'"
        )
    assert (store.snapshot().measured, store.snapshot().judged) == (found.measured, found.judged)
    with psycopg.connect(url) as connection:
        connection.execute(
            "UPDATE nightgate.runs SET recorded_at = recorded_at - interval '2 days' WHERE run_id = 'night-01'"
        )
    found = store.snapshot()
    assert {run_id for run_id, _ in (*found.measured, *found.judged)} == {"night-03"}, "a DAG that is gone says nothing"
    assert [run.run_id for run in found.last] == ["night-03"]


def own_suite(night, state="pass", scheduled=True, **more):
    kept = record(night=night, **more).model_copy(update={"suite": "own"})
    return summary(night, state, [kept], scheduled=scheduled, name="own").model_copy(update={"suite": "own"})


def test_suites_count_each_for_itself(store):
    """A night of one takes nothing from the other, and neither do runs that stand in for one."""
    store.save_summary(own_suite(9, p95=0.009, scheduled=False))
    for night in (1, 2):
        store.save_summary(summary(night, records=[record(night=night, p95=night / 1000)]))
    assert (store.counting("nightly"), store.counting("own")) == ("night", "stand-in")
    found = store.snapshot()
    assert [(run_id, r.suite, r.metrics["latency_p95"].value) for run_id, r in found.measured] == [
        ("night-02", "nightly", 0.002), ("own-09", "own", 0.009),
    ]  # fmt: skip
    assert [r.suite for _, r in found.judged] == ["nightly", "own"]
    assert [(run.run_id, run.suite) for run in found.last] == [("night-02", "nightly"), ("own-09", "own")]
    assert found.succeeded_at == {
        NIGHTLY: "2099-11-02T02:02:00.5Z",
        ("own", "nightly_benchmarks"): "2099-11-09T02:02:00.5Z",
    }
    assert [run.run_id for run in store.nights(limit=1)] == ["night-02", "own-09"], "as many of each"

    store.save_summary(own_suite(3, "breach", verdict="breach", p95=0.003))
    assert store.counting("own") == "night"
    assert sorted(run.run_id for run in store.nights()) == ["night-01", "night-02", "own-03"]
    assert [run.run_id for run in store.others()] == ["own-09"]
    assert store.snapshot().succeeded_at == {NIGHTLY: "2099-11-02T02:02:00.5Z"}
    assert [r.metrics["latency_p95"].value for _, r in store.snapshot().measured] == [0.002, 0.003]
    assert store.summary("own-03").suite == "own"


def skipped_gpu(night, **more):
    return record(night=night, device="gpu", status="skipped", verdict=None, **more)


def test_a_verdict_is_gone_when_a_newer_night_looked_at_that_device_and_has_none(store):
    """One stopped night left "invalid" for a device the host has not, for thirty days."""
    stopped = record(night=1, device="gpu", status="failed", verdict="invalid")
    store.save_summary(summary(1, "invalid", [record(night=1), stopped]))
    assert [(r.device, r.objectives[0].verdict) for _, r in store.snapshot().judged] == [
        ("cpu", "pass"),
        ("gpu", "invalid"),
    ]
    elsewhere = HOST.model_copy(update={"fingerprint": "other"})
    store.save_summary(summary(2, records=[record(night=2, host=elsewhere), skipped_gpu(2, host=elsewhere)]))
    assert [r.device for _, r in store.snapshot().judged] == ["cpu", "gpu"], (
        "another host says nothing of this one's device"
    )
    adhoc = summary(3, overrides={"devices": ["gpu"]}, records=[skipped_gpu(3)])
    store.save_summary(adhoc)
    assert [r.device for _, r in store.snapshot().judged] == ["cpu", "gpu"], "nor does a run that does not count"
    store.save_summary(summary(4, records=[record(night=4), skipped_gpu(4)]))
    assert [r.device for _, r in store.snapshot().judged] == ["cpu"]


def test_a_verdict_stays_while_the_next_night_is_measured_and_not_yet_judged(store):
    store.save_summary(summary(1, records=[record(night=1)]))
    store.save_records("night-02", "d", "smoke", [record("hnsw", night=2, verdict=None)], standing="night")
    assert [(r.variant, r.objectives[0].verdict) for _, r in store.snapshot().judged] == [("hybrid", "pass")]


OLD_TABLES = """
DROP SCHEMA nightgate CASCADE;
CREATE SCHEMA nightgate;
CREATE TABLE nightgate.runs (
    run_id text COLLATE "C" PRIMARY KEY, dag_id text NOT NULL, scale text NOT NULL, state text, finished_at timestamptz,
    head jsonb, recorded_at timestamptz NOT NULL DEFAULT now()
);
CREATE TABLE nightgate.results (
    run_id text COLLATE "C" NOT NULL REFERENCES nightgate.runs ON DELETE CASCADE, benchmark text COLLATE "C" NOT NULL,
    variant text COLLATE "C" NOT NULL, device text COLLATE "C" NOT NULL, status text NOT NULL, judged boolean NOT NULL,
    fingerprint text, measured_at timestamptz NOT NULL, record jsonb NOT NULL,
    PRIMARY KEY (run_id, benchmark, variant, device)
);
CREATE INDEX results_by_series ON nightgate.results (benchmark, variant, device, measured_at DESC);
CREATE INDEX runs_by_end ON nightgate.runs (finished_at DESC) WHERE state IS NOT NULL;
"""


@pytest.mark.parametrize("first", ["read", "write"])
def test_tables_of_before_are_renewed_with_what_they_hold(store, url, first):
    """By whoever comes first: the board after an upgrade, or the next run."""
    rows = [("scheduled__2026-11-20T02:00:00+00:00", 1, 0.001), ("smoke-20261122T021500.123Z", 2, 0.002)]
    with psycopg.connect(url) as connection:
        connection.execute(OLD_TABLES)
        for run_id, night, p95 in rows:
            kept = summary(night, records=[]).model_dump(
                mode="json", exclude={"results", "scheduled", "overrides", "suite"}
            )
            head = json.dumps({**kept, "run_id": run_id})
            connection.execute(
                "INSERT INTO nightgate.runs VALUES (%s, 'nightly_benchmarks', 'full', 'pass', %s, %s)",
                (run_id, kept["finished_at"], head),
            )
            old = record(night=night, p95=p95)
            connection.execute(
                "INSERT INTO nightgate.results VALUES (%s, 'hybrid_ann', 'hybrid', 'cpu', 'measured', true, 'abc', %s, %s)",
                (run_id, old.finished_at, old.model_dump_json(exclude={"suite"})),
            )
    if first == "write":
        store.migrate()
        store.save_summary(summary(9, overrides={"hybrid_ann.rows": 5000}))
    found = store.snapshot()
    assert [(run_id, r.metrics["latency_p95"].value) for run_id, r in found.measured] == [(rows[0][0], 0.001)]
    assert [(run.run_id, run.suite) for run in found.last] == [(rows[0][0], "nightly")]
    assert [run.run_id for run in store.nights()] == [rows[0][0]]
    assert rows[1][0] in [run.run_id for run in store.others()], "nobody knows what was overridden"
    kept = store.summary(rows[1][0])
    assert (kept.standing, kept.overrides, kept.results[0].metrics["latency_p95"].value) == ("ad-hoc", None, 0.002)
    assert store.summary(rows[0][0]).standing == "night"
    store.migrate()
    assert len(store.runs()) == (3 if first == "write" else 2)


def test_runs_bring_what_tells_the_work_of_one_from_that_of_another(store):
    done = record()
    done.facts.inputs = {"data": "d1", "model": "m1"}
    store.save_summary(summary(records=[done]))
    (kept,) = store.runs()[0].results
    assert differing(kept, done) == {}
    other = done.model_copy(deep=True, update={"settings": {**done.settings, "rows": 9}})
    other.facts.inputs["data"] = "d2"
    assert differing(kept, other) == {"rows": (50_000, 9), "data (digest)": ("d1", "d2")}


def test_an_empty_database_has_no_runs(url):
    store = Store(url)
    assert (store.runs(), store.latest(), store.summary("x"), store.snapshot()) == ([], None, None, Snapshot())


def test_many_migrate_at_once(url):
    with ThreadPoolExecutor(8) as pool:
        for done in [pool.submit(Store(url).migrate) for _ in range(8)]:
            done.result()
    assert count(url, "runs") == 0


@pytest.mark.parametrize(
    "address", ["postgresql://someone:hunter2@127.0.0.1:1/results", "host=127.0.0.1 port=1 user=a password=hunter2"]
)
def test_a_server_that_is_not_there_is_named_without_the_password(address):
    with pytest.raises(ServiceUnavailable, match=r"127\.0\.0\.1:1") as caught:
        Store(address).runs()
    assert "hunter2" not in f"{caught.value} {caught.value!r} {Store(address)!r}"
    assert caught.value.__cause__ is None


def test_a_password_that_the_server_quotes_is_hidden(url):
    with pytest.raises(ServiceUnavailable, match=r'role "\*\*\*" does not exist'):
        Store(make_conninfo(url, user="hunter2", password="hunter2")).runs()


def test_an_address_that_is_none_is_not_quoted():
    with pytest.raises(InputError) as caught:
        Store("postgresql//someone:hunter2@host/db")
    assert "hunter2" not in str(caught.value)


def test_what_the_server_refuses_is_a_typed_error(store):
    with pytest.raises(ServiceUnavailable, match="cannot be used"):
        store.save_records("night-01", "d", "smoke", [record().model_copy(update={"finished_at": "no time"})])


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        (
            "postgres://postgres:@/results?host=%2Fsome%2Fdir",
            {"user": "postgres", "dbname": "results", "host": "/some/dir"},
        ),
        (
            "postgresql+psycopg2://u:p%40ss@h:5433/db",
            {"user": "u", "password": "p@ss", "host": "h", "port": "5433", "dbname": "db"},
        ),
        (
            "postgres://u:p@h/db?__extra__=%7B%22sslmode%22%3A+%22require%22%2C+%22cursor%22%3A+%22dictcursor%22%7D",
            {"user": "u", "password": "p", "host": "h", "dbname": "db", "sslmode": "require"},
        ),
        (
            "postgres://u@h/db?cursor=dictcursor&sslmode=require",
            {"user": "u", "host": "h", "dbname": "db", "sslmode": "require"},
        ),
    ],
)
def test_an_airflow_uri_becomes_one_for_libpq(uri, expected):
    found = {key: value for key, value in conninfo_to_dict(url_from_airflow(uri)).items() if value}
    assert found == expected


def test_an_airflow_uri_of_the_embedded_server_connects(url):
    parts = conninfo_to_dict(url)
    host = parts["host"].replace("/", "%2F")
    Store(url_from_airflow(f"postgres://postgres:@/{parts['dbname']}?host={host}")).migrate()
    assert count(url, "runs") == 0


def test_another_kind_of_connection_is_refused_without_its_password():
    with pytest.raises(InputError, match="mysql") as caught:
        url_from_airflow("mysql://u:hunter2@h/db")
    assert "hunter2" not in str(caught.value)


def test_the_caches_of_the_hosts_as_each_was_last_seen(store):
    def of(cache, host, size):
        return Counted(cache=cache, host=host, bytes=size, entries=1, waiters=0, counts={"requests.hit": size})

    assert store.caches() == []
    for one in (of("w", "west", 1), of("e", "east", 2), of("w", "west", 3), of("e2", "east", 4), of("o", "old", 5)):
        store.save_cache(one)
    with store.writing() as connection:
        connection.execute("UPDATE nightgate.caches SET at = now() - interval '31 days' WHERE cache = 'o'")
    assert store.caches() == [of("e2", "east", 4), of("w", "west", 3)], "of a host the one that it used last"
