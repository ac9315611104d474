"""The course of a series out of a real store, and the board's pages that show it."""

from __future__ import annotations

import re

import pytest
from fastapi.testclient import TestClient
from support.nights import HOST, at, record, summary

from nightgate.record import Summary
from nightgate.results import alerts, beside, notes
from nightgate.results.alerts import Said
from nightgate.results.beside import Measured, SeriesKey
from nightgate.results.courses import courses
from nightgate.results.noted import Scope
from nightgate.results.store import Store
from nightgate.web import app, series


def course(store, newest, metric="latency_p95", *, most=30, facts=False, night=True, scale="smoke"):
    (points,) = courses(store, [(newest, metric)], scale, night=night, most=most, facts=facts)
    return points


def saved(store, *nights):
    for one in nights:
        store.save_summary(one if isinstance(one, Summary) else summary(*one))
    return nights


def test_the_nights_of_a_series_oldest_first_the_newest_among_them(store):
    second = record(2, 0.0015, verdict="inconclusive")
    second.facts.provenance.versions = {"faiss": "1.9"}
    second.facts.provenance.revision = "0123456789abcdef"
    saved(
        store,
        (3, record(3, 0.0013)),
        (1, record(1, 0.0011)),
        (2, second),
        (4, record(4, 0.0099, disturbed="a program")),
    )
    points = course(store, record(4))
    assert [(one.run_id, one.at, one.metric.value) for one in points] == [
        ("night-001", at(1, 3), 0.0011), ("night-002", at(2, 3), 0.0015), ("night-003", at(3, 3), 0.0013), ("night-004", at(4, 3), 0.0099),
    ]  # fmt: skip
    assert [one.objective.verdict for one in points] == ["pass", "inconclusive", "pass", "pass"]
    assert [one.disturbed for one in points] == [None, None, None, "a program"]
    assert [one.versions for one in points] == [{}, {"faiss": "1.9"}, {}, {}]
    assert {one.revision for one in points} == {None} and {one.noise for one in points} == {None}, "nobody asked for it"
    known = course(store, record(4), facts=True)
    assert [one.revision for one in known] == [None, "0123456789abcdef", None, None]
    assert known[3].noise.disturbed == "a program"
    assert [one.run_id for one in course(store, record(3))] == ["night-001", "night-002", "night-003"]
    assert [one.run_id for one in course(store, record(4), most=2)] == ["night-003", "night-004"]
    recall = course(store, record(4), "recall_at_100")
    assert {one.metric.value for one in recall} == {0.93} and {one.objective for one in recall} == {None}


def test_two_series_at_once_each_get_their_own(store):
    saved(store, (1, record(1, 0.001), record(1, 0.004, "hnsw")), (2, record(2, 0.002), record(2, 0.005, "hnsw")))
    asked = [
        (record(2, variant="hnsw"), "latency_p95"),
        (record(2), "latency_p95"),
        (record(2, variant="none"), "latency_p95"),
        (record(2), "recall_at_100"),
    ]
    found = courses(store, asked, "smoke", night=True, most=9)
    assert [[one.metric.value for one in points] for points in found] == [
        [0.004, 0.005],
        [0.001, 0.002],
        [],
        [0.93, 0.93],
    ]


OTHERS = {
    "suite": summary(1, record(1, suite="own")),
    "scale": summary(1, scale="full"),
    "host": summary(1, record(1, host=HOST.model_copy(update={"fingerprint": "other"}))),
    "work": summary(1, record(1, settings={"rows": 60_000})),
    "by hand": summary(1, scheduled=False),
}


@pytest.mark.parametrize("other", OTHERS.values(), ids=OTHERS)
def test_what_is_another_series_is_not_in_it(store, other):
    saved(store, other, (2,))
    assert [one.run_id for one in course(store, record(2))] == ["night-002"]


def test_what_was_excluded_is_in_it_and_marked_on_the_page(own_database):
    store = Store(own_database)
    saved(store, *[(day, record(day, 0.001 * day)) for day in (1, 2, 3, 4)])
    notes.say(store, "excluded", Scope("night-002", "hybrid_ann"), "the fan failed", by="ada")
    notes.say(store, "accepted", Scope("night-003"), "a new library", by="ada")
    assert len(course(store, record(4))) == 4
    client = TestClient(app.create_app(lambda: own_database), "http://localhost", client=("127.0.0.1", 5))
    board = client.get("/").text
    (address,) = re.findall(r'href="(series\?[^"]+)"', board)
    page = client.get("/" + address.replace("&amp;", "&")).text
    assert page.count("<circle") == 3 and page.count("dot excluded") == 1 and "new baseline" in page
    assert "Excluded, hybrid_ann: the fan failed" in page and "4 nights, between 1.00 ms and 4.00 ms." in page
    assert [int(found) for found in re.findall(r'<td class="nowrap"><a href="runs/night-00(\d)"', page)] == [4, 3, 2, 1]
    gone = client.get("/" + address.replace("&amp;", "&").replace("latency_p95", "latency_p50"))
    assert gone.status_code == 404 and "there is no latency_p50 of hybrid_ann hybrid on cpu" in gone.json()["detail"]
    assert client.get("/series?suite=x").status_code == 422


def test_what_the_watch_found_stands_in_its_night(own_database):
    store = Store(own_database)
    saved(store, *[(day, record(day, 0.001 * day)) for day in (1, 2, 3, 4, 5)])
    key = SeriesKey("hybrid_ann", "hybrid", "cpu", "latency_p95")
    mine, other = (alerts.subject(str(key), scale, HOST.fingerprint) for scale in ("smoke", "full"))
    slower = Said(sentence="It is 10 % slower.", causes=("faiss 1.9 → 1.10", "kernel 1 → 2"), **key._asdict())
    again = slower.model_copy(update={"sentence": "It is 20 % slower."})
    alerts.begin(store, "nightly", "night-002", "regression", {mine: slower, other: slower})
    alerts.begin(
        store, "nightly", "night-002", "breach", {mine: slower.model_copy(update={"sentence": "It is breached."})}
    )
    alerts.end(store, "nightly", "night-003", ["regression"], [mine])
    alerts.begin(store, "nightly", "night-005", "regression", {mine: again})
    beside.put(store, "night-002", {
        key: Measured(tonight=(0.0011, 0.00112, 0.00108), control=(0.001, 0.001, 0.00101), control_run="night-001"),
        key._replace(metric="recall_at_100"): Measured(why_not="of another metric"),
    })  # fmt: skip
    beside.put(store, "night-004", {key: Measured(why_not="its code was not kept")})
    page = series.page(store, "nightly", "smoke", "hybrid_ann", "hybrid", "cpu", "latency_p95", "")
    assert {line.run_id: line.said for line in page.lines} == {
        "night-001": [],
        "night-002": [
            "Measured in turns with its control (night-001): 1.10 × (1.03–1.16).",
            "The watch: It is 10 % slower. Probably: faiss 1.9 → 1.10.",
        ],
        "night-003": ["The watch: as before again."],
        "night-004": ["Not measured beside its control: its code was not kept."],
        "night-005": ["The watch: It is 20 % slower. Probably: faiss 1.9 → 1.10."],
    }
    assert page.lead == "5 nights, between 1.00 ms and 5.00 ms. It is 20 % slower."
    assert page.picture.count('class="shifted"') == 3
    assert re.findall(r">(worse|as before)<", page.picture) == ["worse", "as before", "worse"]
    assert series.page(store, "nightly", "smoke", "hybrid_ann", "hybrid", "cpu", "recall_at_100", "").lead.endswith(".")
    assert store.snapshot().regressed == [], "of a suite whose nights have ended nothing is said"
    store.save_summary(summary(9).model_copy(update={"finished_at": "2099-11-02T02:02:00Z"}))
    held = store.snapshot().regressed
    assert [(one["scale"], one["host"], one["metric"], one["variant"]) for one in held] == [
        ("full", HOST.fingerprint, "latency_p95", "hybrid"), ("smoke", HOST.fingerprint, "latency_p95", "hybrid"),
    ]  # fmt: skip


def test_the_runs_before_and_after_one_are_of_its_own_kind(store):
    saved(store, (1,), (2,), summary(3, scale="full"), summary(4, scheduled=False), (5,))
    assert store.beside(store.run("night-002")) == ("night-001", "night-005")
    assert store.beside(store.run("night-001")) == (None, "night-002")
    assert store.run("nobody") is None


def test_a_list_of_runs_holds_their_verdicts_and_not_what_was_measured(store):
    saved(store, (1, record(1, 0.0011, disturbed="a program")), summary(2, record(2), scheduled=False))
    (brief,), (whole,) = store.nights(brief=True), store.nights()
    (mine,), (full,) = brief.results, whole.results
    assert (mine.objectives, mine.host, mine.gated, mine.status) == (
        full.objectives,
        full.host,
        full.gated,
        full.status,
    )
    assert mine.facts.noise.disturbed == "a program" and full.metrics and not mine.metrics
    assert [run.run_id for run in store.others(brief=True)] == ["night-002"]
