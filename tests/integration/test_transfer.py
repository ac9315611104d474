"""A store as JSON lines: out and in again exactly, checked before it is written, the same however often."""

from __future__ import annotations

import json

import psycopg
import pytest
from support.nights import record, summary
from support.old_tables import ROWS, SHAPES, of_before

from nightgate.errors import InputError
from nightgate.results import notes, transfer
from nightgate.results.noted import Scope
from nightgate.results.transfer import Taken

EVERYTHING = {
    "runs": "SELECT to_jsonb(own) FROM nightgate.runs AS own ORDER BY run_id",
    "results": "SELECT to_jsonb(own) FROM nightgate.results AS own ORDER BY run_id, benchmark, variant, device",
    "notes": "SELECT to_jsonb(own) FROM nightgate.notes AS own ORDER BY noted_at",
}


def everything(store):
    """Every column of every row, numbers to their last digit."""
    with psycopg.connect(**store._parameters) as connection:
        connection.execute("SET TIME ZONE 'UTC'")
        return {table: [row[0] for row in connection.execute(query.replace("to_jsonb(own)", "to_jsonb(own)::text"))]
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
