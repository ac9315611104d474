"""What a night is judged by, out of a real store and out of files: the nights of its own series before it, and no others."""

from __future__ import annotations

import json

import psycopg
import pytest
from support.nights import HOST, at, record, summary

from nightgate.judge.past import Past
from nightgate.record import Between, Metric
from nightgate.results import files, notes, transfer
from nightgate.results.noted import Scope
from nightgate.results.past import NIGHTS, past_of, pasts_of
from nightgate.results.store import Store

KEY = ("hybrid_ann", "hybrid", "cpu")


class InFiles:
    """Summaries on disk, as a host without a store keeps them."""

    store = None

    def save_summary(self, kept):
        files.write_summary(kept)


class InStore:
    def __init__(self, store):
        self.store, self.save_summary = store, store.save_summary


@pytest.fixture(params=["store", "files"])
def kept(request, tmp_path, monkeypatch):
    monkeypatch.setenv("NIGHTGATE_RUNS", str(tmp_path))
    return InFiles() if request.param == "files" else InStore(request.getfixturevalue("store"))


def past(kept, judged, *, standing="night", scale="smoke", run_id="judged"):
    return past_of(judged, scale, run_id=run_id, standing=standing, store=kept.store)


def runs(found: Past) -> list[str]:
    return [night.run_id for night in found.nights]


def test_without_a_past_there_is_none(kept):
    assert past(kept, record(5)) == Past()


def test_the_nights_before_with_all_they_measured_oldest_first(kept):
    second = record(2, 0.0015, verdict="inconclusive", looks=(0.0016, 0.0014))
    second.facts.provenance.versions = {"faiss": "1.9"}
    for night in (
        summary(2, second, state="inconclusive"),
        summary(1, record(1, 0.0011)),
        summary(3, record(3, 0.0013)),
    ):
        kept.save_summary(night)
    found = past(kept, record(5))
    assert runs(found) == ["night-001", "night-002", "night-003"]
    own = found.nights[1]
    assert own.at == at(2, 3)
    assert [one.metrics["latency_p95"].value for one in own.measured] == [0.0015, 0.0016, 0.0014]
    assert own.measured[0].metrics == second.metrics
    assert own.measured[1].metrics == second.looks[0].metrics
    assert {name: one.verdict for name, one in own.verdicts.items()} == {"latency_p95": "inconclusive"}
    assert [night.versions for night in found.nights] == [{}, {"faiss": "1.9"}, {}]


def test_the_intervals_are_those_of_each_run_alone_whether_it_was_judged_or_not(kept):
    done, plain = record(1), record(1).metrics
    learned = Between(sd=0.03, runs=12, prior=False)
    for metric in done.metrics.values():
        metric.within95, metric.ci95, metric.between, metric.shared = metric.ci95, (0.0, 9.0), learned, 0.25
    done.metrics["file_bytes"] = Metric(value=5, unit="bytes", n=1, ci95=(4, 6), between=learned)
    kept.save_summary(summary(1, done))
    (night,) = past(kept, record(5)).nights
    assert {name: (one.ci95, one.within95, one.between, one.shared) for name, one in night.measured[0].metrics.items()} == {
        "latency_p95": (plain["latency_p95"].ci95, None, None, 0.25), "recall_at_100": (plain["recall_at_100"].ci95, None, None, 0.25),
        "file_bytes": (None, None, None, None),
    }  # fmt: skip


def test_what_comes_later_or_is_under_way_meanwhile_changes_nothing(kept):
    for night in (1, 2, 4):
        kept.save_summary(summary(night))
    judged = record(4)
    before = past(kept, judged, run_id="night-004")
    assert runs(before) == ["night-001", "night-002"]
    kept.save_summary(summary(5))
    kept.save_summary(summary(4, record(4, started_at=at(4, -2), finished_at=at(4, 1)), name="beside"))
    kept.save_summary(summary(4, record(4, started_at=at(4, -3), finished_at=at(4, -1)), name="shortly-before"))
    assert runs(past(kept, judged, run_id="night-004")) == ["night-001", "night-002", "shortly-before-004"]


OTHERS = {
    "suite": summary(1, record(1, suite="own")),
    "scale": summary(1, scale="full"),
    "benchmark": summary(1, record(1, benchmark="other")),
    "variant": summary(1, record(1, variant="hnsw")),
    "device": summary(1, record(1, device="gpu")),
    "host": summary(1, record(1, host=HOST.model_copy(update={"fingerprint": "other"}))),
    "a setting that shapes the work": summary(1, record(1, settings={"rows": 60_000})),
    "a setting that is not the default, and lacks here": summary(1, record(1, settings={"k": 10})),
    "not measured": summary(1, record(1, status="failed", metrics={})),
    "by hand": summary(1, scheduled=False),
    "with overrides": summary(1, overrides={"hybrid_ann.rows": 50_000}),
}


@pytest.mark.parametrize("what", OTHERS)
def test_another_series_is_no_past(kept, what):
    kept.save_summary(OTHERS[what])
    assert past(kept, record(5)) == Past()


def test_between_its_own_nights_those_of_other_work_are_passed_over(kept):
    for night, rows in ((1, 50_000), (2, 60_000), (3, 50_000)):
        kept.save_summary(summary(night, record(night, settings={"rows": rows})))
    assert runs(past(kept, record(5))) == ["night-001", "night-003"]


def test_other_data_is_no_past(kept):
    other = record(1)
    other.facts.inputs = {"data": "d2"}
    kept.save_summary(summary(1, other))
    assert past(kept, record(5)) == Past()


def test_settings_that_do_not_shape_the_work_break_no_series(kept):
    """Nor do those that came with a later version and have their default, nor library versions, nor the driver."""
    judged = record(
        9, settings={"passes": 7, "processes": 3, "k": 100, "controls": ["hnsw"], "variants": ["hybrid", "hnsw"]}
    )
    judged.facts.provenance.versions = {"faiss": "2"}
    kept.save_summary(summary(1, record(1, settings={"load_seconds": 4})))
    kept.save_summary(summary(2, record(2, settings={"seed": 20})))
    assert runs(past(kept, judged)) == ["night-001", "night-002"]


def test_runs_that_are_no_nights_have_a_past_of_their_own(kept):
    kept.save_summary(summary(1))
    kept.save_summary(summary(2, scheduled=False, name="hand"))
    kept.save_summary(summary(3, overrides={"hybrid_ann.k": 7}, name="set"))
    assert runs(past(kept, record(5), standing="ad-hoc")) == ["hand-002", "set-003"]
    assert runs(past(kept, record(5), standing="stand-in")) == ["hand-002", "set-003"]
    assert runs(past(kept, record(5))) == ["night-001"]


def test_the_newest_are_taken_where_there_are_many(store):
    for night in range(NIGHTS + 5):
        store.save_summary(summary(night, record(night, settings={"passes": 3 + night % 2})))
    found = past_of(record(99), "smoke", run_id="judged", standing="night", store=store)
    assert runs(found) == [f"night-{night:03d}" for night in range(5, NIGHTS + 5)]


def test_several_records_at_once_each_have_their_own(kept):
    for night in (1, 2):
        kept.save_summary(summary(night, record(night, 0.001 * night), record(night, 0.1 * night, variant="hnsw")))
    kept.save_summary(summary(3, record(3, variant="hnsw")))
    judged = [record(5), record(2, variant="hnsw"), record(5, variant="ivfpq", status="failed", metrics={})]
    found = pasts_of(judged, "smoke", run_id="judged", standing="night", store=kept.store)
    assert {key: runs(one) for key, one in found.items()} == {
        KEY: ["night-001", "night-002"], ("hybrid_ann", "hnsw", "cpu"): ["night-001"],
    }  # fmt: skip
    assert [n.measured[0].metrics["latency_p95"].value for n in found[KEY].nights] == [0.001, 0.002]


def test_a_record_that_came_in_without_metrics_is_a_night_without_any(store):
    lines = [json.loads(line) for line in (store.save_summary(summary(1)) or transfer.lines_of(store))]
    for line in lines:
        line.get("record", {}).pop("metrics", None)
        line["run_id"] = line["run_id"].replace("1", "0")
        if line.get("head"):
            line["head"]["run_id"] = line["run_id"]
    transfer.take(store, [json.dumps(line).encode() for line in lines])
    found = past_of(record(5), "smoke", run_id="judged", standing="night", store=store)
    assert sorted((night.run_id, len(night.measured[0].metrics)) for night in found.nights) == [
        ("night-000", 0),
        ("night-001", 2),
    ]


def test_of_a_disturbed_night_it_is_known_why(kept):
    kept.save_summary(summary(1, record(1, disturbed="other programs took 1.3 of 2 cores")))
    kept.save_summary(summary(2))
    found = past(kept, record(5))
    assert [night.measured[0].disturbed for night in found.nights] == ["other programs took 1.3 of 2 cores", None]


def test_an_excluded_result_is_no_past_until_it_is_included_again(store):
    for night in (1, 2, 3):
        store.save_summary(summary(night, record(night), record(night, variant="hnsw")))
    both = [record(5), record(5, variant="hnsw")]

    def nights():
        found = pasts_of(both, "smoke", run_id="judged", standing="night", store=store)
        return [[int(name[-1]) for name in runs(one)] for one in found.values()]

    assert nights() == [[1, 2, 3], [1, 2, 3]]
    one = Scope("night-002", variant="hybrid")
    notes.say(store, "excluded", one, "the disk was slow", "me@here")
    assert nights() == [[1, 3], [1, 2, 3]]
    notes.say(store, "excluded", Scope("night-003"), "the wrong branch", "me@here")
    assert nights() == [[1], [1, 2]]
    notes.take_back(store, "excluded", one, None, "you@there")
    assert nights() == [[1, 2], [1, 2]]


def test_from_an_accepted_run_on_nothing_before_it_counts(store):
    for night in (1, 2, 3, 4):
        store.save_summary(summary(night, record(night), record(night, variant="hnsw")))

    def nights(judged_night, variant="hybrid", run_id="judged"):
        judged = record(judged_night, variant=variant)
        return [int(name[-1]) for name in runs(past_of(judged, "smoke", run_id=run_id, standing="night", store=store))]

    accepted = Scope("night-003", variant="hybrid")
    notes.say(store, "accepted", accepted, "a slower library, and we want its fix", "me@here")
    assert nights(9) == [3, 4]
    assert nights(9, "hnsw") == [1, 2, 3, 4]
    assert nights(3, run_id="night-003") == [], "the accepted run is the first of its baseline"
    assert nights(2, run_id="night-002") == [1], "what was judged before it stays as it was"
    notes.take_back(store, "accepted", accepted, "it was no shift", "me@here")
    assert nights(9) == [1, 2, 3, 4]


def test_an_accepted_run_by_hand_is_no_baseline_of_nights(store):
    for night in (1, 2):
        store.save_summary(summary(night))
    store.save_summary(summary(3, scheduled=False, name="hand"))
    store.save_summary(summary(3, record(3), scale="full", name="full"))
    for name in ("hand-003", "full-003"):
        notes.say(store, "accepted", Scope(name), "so be it", "me@here")
    assert runs(past_of(record(5), "smoke", run_id="judged", standing="night", store=store)) == [
        "night-001",
        "night-002",
    ]


def test_the_history_is_not_read_for_the_newest_nights_of_it(store, monkeypatch):
    store.save_summary(summary(0, record(0), record(0, variant="hnsw")))
    with psycopg.connect(**store._parameters, autocommit=True) as connection:
        for table, moved in (("runs", "finished_at"), ("results", "measured_at")):
            names = [column for column in COLUMNS[table] if column not in ("run_id", moved)]
            connection.execute(
                f"INSERT INTO nightgate.{table} (run_id, {moved}, {', '.join(names)}) SELECT 'old-' || n, "
                f"{moved} - n * interval '1 day', {', '.join(names)} FROM nightgate.{table}, generate_series(1, 3000) n"
            )
        connection.execute("ANALYZE nightgate.results, nightgate.runs")
        asked = []
        monkeypatch.setattr(store, "rows", lambda *query: asked.append(query) or Store.rows(store, *query))
        assert len(past_of(record(1), "smoke", run_id="judged", standing="night", store=store).nights) == NIGHTS
        for query, values in asked:
            (((plan,),),) = connection.execute("EXPLAIN (ANALYZE, FORMAT JSON) " + query, values).fetchall()
            assert rows(plan["Plan"]) < 12 * NIGHTS, json.dumps(plan, indent=1)


def rows(node) -> float:
    """That were looked at, in all nodes of a plan."""
    own = (node["Actual Rows"] + node.get("Rows Removed by Filter", 0)) * node["Actual Loops"]
    return own + sum(rows(child) for child in node.get("Plans", []))


COLUMNS = {
    "runs": ("run_id", "dag_id", "suite", "scale", "standing", "overrides", "state", "finished_at", "head"),
    "results": ("run_id", "suite", "benchmark", "variant", "device", "status", "judged", "fingerprint", "measured_at", "standing", "record", "dag_id"),
}  # fmt: skip
