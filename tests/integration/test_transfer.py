"""A store as JSON lines: out and in again exactly, checked before it is written, the same however often."""

from __future__ import annotations

import json

import psycopg
import pytest
from support.nights import record, summary
from support.old_tables import ROWS, SHAPES, of_before

from nightgate.environments.lock import Lock
from nightgate.errors import InputError
from nightgate.results import alerts, beside, notes, transfer
from nightgate.results.alerts import Said
from nightgate.results.beside import Measured, SeriesKey
from nightgate.results.noted import Scope
from nightgate.results.transfer import Taken

LOCK = Lock(python="3.11.7", packages={"alpha": "1.0"}, code="c1", version="0.1.0")
KEY = SeriesKey("hybrid_ann", "hybrid", "cpu", "latency_p50_fast")

EVERYTHING = {
    "runs": "SELECT to_jsonb(own) FROM nightgate.runs AS own ORDER BY run_id",
    "results": "SELECT to_jsonb(own) FROM nightgate.results AS own ORDER BY run_id, benchmark, variant, device",
    "notes": "SELECT to_jsonb(own) FROM nightgate.notes AS own ORDER BY noted_at",
    "beside": "SELECT to_jsonb(own) FROM nightgate.beside AS own ORDER BY run_id, metric",
    "alerts": "SELECT to_jsonb(own) - 'id' FROM nightgate.alerts AS own ORDER BY subject, run_id",
    "environments": "SELECT to_jsonb(own) FROM nightgate.environments AS own ORDER BY digest",
}


def everything(store):
    """Every column of every row, numbers to their last digit."""
    with psycopg.connect(**store._parameters) as connection:
        connection.execute("SET TIME ZONE 'UTC'")
        return {table: [row[0] for row in connection.execute(query.replace("SELECT ", "SELECT (").replace(" FROM", ")::text FROM"))]
                for table, query in EVERYTHING.items()}  # fmt: skip


@pytest.fixture
def full(store):
    """Nights, a breach with its confirming looks, a run by hand, one that is not judged yet, and notes."""
    tiny = record(1, 1.0000000000000002e-9)
    tiny.detail = {"text": 'Ümlaut \n and \\ and "', "numbers": [1e-300, 0.1, 12345678901234567890, -0.0]}
    store.save_summary(summary(1, tiny, record(1, 0.5, variant="hnsw")))
    store.save_summary(summary(2, record(2, 0.03, verdict="breach", looks=(0.031, 0.029)), state="breach"))
    store.save_summary(summary(3, scheduled=False, overrides={"hybrid_ann.k": 5}, name="hand"))
    store.save_records(
        "night-004", "nightly_benchmarks", "full", [record(4, verdict=None)], standing="night", overrides={}
    )
    notes.say(store, "excluded", Scope("night-001", variant="hnsw"), "the disk", "ada@bench")
    notes.say(store, "accepted", Scope("night-002"), "faiss 2", "ada@bench")
    notes.take_back(store, "accepted", Scope("night-002"), "no", "bob@bench")
    return store


@pytest.fixture
def watched(full):
    """The same, with what the watch knows of it."""
    full.save_records("night-005", "nightly_benchmarks", "full", [record(5)], standing="night", environment=LOCK)
    beside.put(full, "night-002", {KEY: Measured(tonight=(1.0, 0.1), control=(0.9,), control_run="night-001")})
    beside.put(full, "night-005", {KEY: Measured(why_not="no control")})
    for run_id, name in (("night-001", "one"), ("night-002", "two"), ("night-002", "three")):
        alerts.begin(full, "nightly", run_id, "regression", {name: Said(sentence=f"{name} is slower.", ratio=1.1)})
    news = alerts.news(full, "nightly")
    alerts.told_by(full, "Webhook 0", news[:2])
    alerts.told(full, news[:1])
    alerts.end(full, "nightly", "night-003", ["regression"], ["one"])
    return full


def exported(store):
    return [line.encode() + b"\n" for line in transfer.lines_of(store)]


def test_another_store_then_holds_just_the_same(full, new_store):
    other = new_store()
    lines = exported(full)
    assert transfer.take(other, lines) == Taken(runs=4, results=5, notes=2)
    assert everything(other) == everything(full)
    assert exported(other) == lines
    assert other.summary("night-002") == full.summary("night-002")


def test_doing_so_again_changes_nothing(full):
    before, lines = everything(full), exported(full)
    for _ in range(2):
        transfer.take(full, lines)
    assert everything(full) == before


def test_what_the_watch_knows_goes_with_it(watched, new_store):
    other, lines = new_store(), exported(watched)
    assert transfer.take(other, lines) == Taken(runs=5, results=6, notes=2, watched=6)
    found = everything(other)
    assert found == everything(watched)
    assert [len(found[table]) for table in ("beside", "alerts", "environments")] == [2, 3, 1]
    assert exported(other) == lines
    for store in (other, watched):
        transfer.take(store, lines)
    assert everything(other) == everything(watched) == found


def test_what_is_told_or_over_in_one_of_two_stores_is_so_in_both(watched, new_store):
    other, before = new_store(), exported(watched)
    transfer.take(other, before)
    alerts.told(watched, alerts.news(watched, "nightly"))
    alerts.end(watched, "nightly", "night-003", ["regression"], ["two"])
    alerts.told(watched, alerts.news(watched, "nightly"))
    transfer.take(other, exported(watched))
    assert alerts.news(other, "nightly") == alerts.news(watched, "nightly") == []
    assert [found[1] for found in alerts.holding(other, "nightly")] == ["three"]
    transfer.take(watched, before)
    assert everything(watched) == everything(other)


def test_a_store_that_holds_it_by_another_run_keeps_its_own(watched, new_store):
    other = new_store()
    other.save_summary(summary(7))
    alerts.begin(other, "nightly", "night-007", "regression", {"two": Said(sentence="it is slower here.")})
    transfer.take(other, exported(watched))
    assert sorted((subject, run_id) for _, subject, run_id, _ in alerts.holding(other, "nightly")) == [
        ("three", "night-002"), ("two", "night-007"),
    ]  # fmt: skip


def test_every_line_says_its_version_and_what_it_is(full):
    lines = [json.loads(line) for line in exported(full)]
    assert {line["schema_version"] for line in lines} == {1}
    assert [(line["kind"], line["run_id"][-3:]) for line in lines] == [
        ("run", "001"), ("result", "001"), ("result", "001"), ("note", "001"),
        ("run", "002"), ("result", "002"), ("note", "002"),
        ("run", "003"), ("result", "003"), ("run", "004"), ("result", "004"),
    ]  # fmt: skip
    assert all("results" not in (line.get("head") or {}) for line in lines)


def test_two_stores_become_one(full, new_store):
    other = new_store()
    other.save_summary(summary(7))
    transfer.take(other, exported(full))
    assert {run.run_id for run in other.runs()} == {"night-001", "night-002", "hand-003", "night-004", "night-007"}


@pytest.mark.parametrize("version", SHAPES)
def test_results_of_older_versions_go_out_and_in(new_store, version):
    old, new = new_store(), new_store()
    of_before(old, version, ROWS)
    transfer.take(new, exported(old))
    assert everything(new) == everything(old)
    assert new.summary(ROWS[0][0]) == old.summary(ROWS[0][0])


def test_of_a_store_without_tables_there_are_no_lines(new_store):
    assert exported(new_store()) == []


def test_the_time_zone_of_a_server_changes_no_line(full, new_store):
    other, lines = new_store(), exported(full)
    with psycopg.connect(**other._parameters, autocommit=True) as connection:
        connection.execute(f"ALTER DATABASE {other._parameters['dbname']} SET TimeZone = 'Asia/Kathmandu'")
    transfer.take(other, lines)
    assert exported(other) == lines
    transfer.take(other, lines)


def changed(line: bytes, **values) -> bytes:
    return json.dumps({**json.loads(line), **values}).encode()


def in_record(line: bytes, **values) -> bytes:
    return changed(line, record={**json.loads(line)["record"], **values})


# of the lines of `full` the first is a run, the second its result and the fourth its note
REFUSED = {
    "no JSON": (1, lambda line: line[:-20], "line 2 is not what this version exports"),
    "no text": (1, lambda line: b"\xff\xfe" + line, "line 2"),
    "a newer version": (1, lambda line: changed(line, schema_version=2), "line 2 is not what this version exports (result.schema_version"),
    "no version": (0, lambda line: b'{"kind": "run", "run_id": "night-001"}', "line 1"),
    "another kind": (1, lambda line: changed(line, kind="model"), "line 2"),
    "a key that nobody knows": (1, lambda line: changed(line, colour="red"), "result.colour"),
    "a record's key that nobody knows": (1, lambda line: in_record(line, colour="red"), "line 2 is not what this version exports (colour"),
    "a record without its variant": (1, lambda line: in_record(line, variant=None), "(variant"),
    "no number": (1, lambda line: line.replace(b'"settings": {', b'"settings": {"x": NaN, ', 1), "NaN is no number"),
    "a zero byte": (1, lambda line: line.replace(b'"settings": {', b'"settings": {"x": "\\u0000", ', 1), "a zero byte"),
    "a time without its zone": (1, lambda line: changed(line, measured_at="2026-01-01T00:00:00"), "measured_at"),
    "a folder outside": (0, lambda line: changed(line, run_id="../night"), "run_id"),
    "the head of another run": (0, lambda line: changed(line, run_id="night-009"), "the head is of another run"),
    "a state without a head": (0, lambda line: changed(line, head=None), "a run has a head just when it was judged"),
    "a note without a reason": (3, lambda line: changed(line, reason=""), "line 4"),
    "a note on another run": (3, lambda line: changed(line, run_id="gone"), "line 4 belongs to run gone, which neither"),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_a_line_that_is_not_understood_is_named_and_nothing_is_written(full, new_store, what):
    place, spoil, told = REFUSED[what]
    lines = exported(full)
    lines[place] = spoil(lines[place].rstrip()) + b"\n"
    other = new_store()
    with pytest.raises(InputError) as caught:
        transfer.take(other, lines)
    assert told in str(caught.value)
    assert f"line {place + 1} " in str(caught.value)
    assert "nothing was imported" in str(caught.value)
    assert other.runs() == []


def test_the_last_line_is_checked_before_the_first_is_written(full, new_store):
    other = new_store()
    with pytest.raises(InputError, match="line 12 is not what"):
        transfer.take(other, [*exported(full), b"{}\n"])
    assert other.runs() == []


def test_a_result_before_its_run_is_refused(full, new_store):
    lines = exported(full)
    with pytest.raises(InputError, match="line 1 belongs to run night-001"):
        transfer.take(new_store(), [lines[1], lines[0]])


def test_a_line_that_stands_twice_is_refused(full, new_store):
    lines = exported(full)
    with pytest.raises(InputError, match="line 12 says again"):
        transfer.take(new_store(), [*lines, lines[1]])


def test_what_is_judged_here_does_not_become_another(full):
    before, lines = everything(full), exported(full)
    other = [*lines[:1], in_record(lines[1], reason="changed"), *lines[2:]]
    with pytest.raises(InputError, match="line 2 would change run night-001, which is judged in this store"):
        transfer.take(full, other)
    further = in_record(lines[1], variant="another")
    with pytest.raises(InputError, match="line 12 would change run night-001"):
        transfer.take(full, [*lines, further])
    head = json.loads(lines[4])["head"]
    with pytest.raises(InputError, match="line 5 would change run night-002"):
        transfer.take(full, [*lines[:4], changed(lines[4], state="pass", head=head | {"state": "pass"}), *lines[5:]])
    assert everything(full) == before


def test_a_run_that_was_not_judged_here_yet_becomes_as_the_lines_have_it(full, new_store):
    early = new_store()
    early.save_records(
        "night-002", "nightly_benchmarks", "smoke", [record(2, 0.03, verdict=None)], standing="night", overrides={}
    )
    transfer.take(early, exported(full))
    assert early.summary("night-002") == full.summary("night-002")
    assert [run.run_id for run in early.runs() if run.state == "breach"] == ["night-002"]


def test_what_was_taken_back_in_either_store_is_taken_back(full, new_store):
    other, scope = new_store(), Scope("night-001", variant="hnsw")
    lines = exported(full)
    transfer.take(other, lines)
    notes.take_back(full, "excluded", scope, "it was fine", "bob@bench")
    transfer.take(other, exported(full))
    assert [note.holds for note in other.notes(withdrawn=True)] == [False, False]
    transfer.take(full, lines)
    assert [note.holds for note in full.notes(withdrawn=True)] == [False, False], "and stays so"
