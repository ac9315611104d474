"""What people say of results: with its reason, name and time, to be taken back, and never in place of anything."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from support.nights import record, summary

from nightgate.errors import InputError
from nightgate.results import notes
from nightgate.results.noted import Note, Scope

RUN = "night-001"


@pytest.fixture
def kept(store):
    for night in (1, 2):
        store.save_summary(summary(night, record(night), record(night, variant="hnsw", status="skipped", metrics={})))
    return store


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def test_it_stands_with_its_reason_its_name_and_its_time(kept):
    scope = Scope(RUN, "hybrid_ann", "hybrid", "cpu")
    notes.say(kept, "excluded", scope, "the disk was slow", "ada@bench")
    notes.say(kept, "accepted", Scope("night-002"), "faiss 2", "bob@bench")
    first, second = kept.notes()
    assert (first.kind, first.scope, first.reason, first.by, first.holds) == (
        "excluded",
        scope,
        "the disk was slow",
        "ada@bench",
        True,
    )
    assert abs(moment(first.at) - datetime.now(UTC)) < timedelta(minutes=5)
    assert first.at.endswith("Z")
    assert (second.kind, second.scope, second.reason) == ("accepted", Scope("night-002"), "faiss 2")
    assert kept.notes([RUN]) == [first]
    assert kept.notes([]) == []
    assert kept.summary(RUN) == summary(1, record(1, variant="hnsw", status="skipped", metrics={}), record(1))


def test_what_is_taken_back_is_kept(kept):
    scope = Scope(RUN)
    notes.say(kept, "excluded", scope, "the disk was slow", "ada@bench")
    notes.take_back(kept, "excluded", scope, "it was not", "bob@bench")
    assert kept.notes() == []
    (note,) = kept.notes(withdrawn=True)
    assert (note.reason, note.withdrawn_by, note.withdrawn_reason, note.holds) == (
        "the disk was slow",
        "bob@bench",
        "it was not",
        False,
    )
    assert moment(note.withdrawn_at) >= moment(note.at)
    notes.say(kept, "excluded", scope, "it was all the same", "ada@bench")
    assert [note.holds for note in kept.notes(withdrawn=True)] == [False, True]


def test_saving_the_run_again_loses_no_note(kept):
    notes.say(kept, "accepted", Scope(RUN), "faiss 2", "ada@bench")
    kept.save_summary(summary(1, state="breach"))
    assert [note.scope.run_id for note in kept.notes()] == [RUN]


@pytest.mark.parametrize(
    ("scope", "reason", "told"),
    [
        (Scope("night-01"), "x", "the store has no run 'night-01'; did you mean 'night-00"),
        (Scope(RUN, "transcription"), "x", "the store has nothing of transcription of night-001. Next step: name one of hybrid_ann hnsw on cpu"),
        (Scope(RUN, device="gpu"), "x", "the store has nothing of gpu of night-001"),
        (Scope(RUN, variant="hnsw"), "x", "nothing of hnsw of night-001 was measured"),
        (Scope(RUN), " ", "no reason is given"),
    ],
)  # fmt: skip
def test_what_cannot_be_said_is_refused_with_the_cause(kept, scope, reason, told):
    with pytest.raises(InputError) as caught:
        notes.say(kept, "excluded", scope, reason, "ada@bench")
    assert told in str(caught.value)
    assert kept.notes() == []


def test_it_is_said_once_and_taken_back_as_it_was_said(kept):
    scope = Scope(RUN, variant="hybrid")
    notes.say(kept, "excluded", scope, "the disk was slow", "ada@bench")
    with pytest.raises(InputError, match=r"hybrid of night-001 is excluded already, by ada@bench: the disk was slow"):
        notes.say(kept, "excluded", scope, "again", "ada@bench")
    with pytest.raises(
        InputError, match=r"night-001 is not excluded. Next step: say just what was said: hybrid of night-001"
    ):
        notes.take_back(kept, "excluded", Scope(RUN), None, "ada@bench")
    with pytest.raises(InputError, match="is not accepted. Next step: see"):
        notes.take_back(kept, "accepted", scope, None, "ada@bench")
    assert [note.holds for note in kept.notes(withdrawn=True)] == [True]


def test_a_scope_holds_for_its_results_alone():
    assert Scope("a", "hybrid_ann").holds("a", record(1))
    assert not Scope("a", "hybrid_ann").holds("b", record(1))
    assert not Scope("a", variant="hnsw").holds("a", record(1))
    assert not Scope("a", device="gpu").holds("a", record(1))


def test_an_empty_database_has_no_notes(new_store):
    assert new_store().notes() == []


def test_who_says_it_is_named_with_the_host(monkeypatch):
    monkeypatch.setattr("getpass.getuser", lambda: "ada")
    monkeypatch.setattr("socket.gethostname", lambda: "bench")
    assert notes.whoever() == "ada@bench"

    def nobody():
        raise KeyError("uid not found")

    monkeypatch.setattr("getpass.getuser", nobody)
    monkeypatch.setattr("os.getuid", lambda: 1234)
    assert notes.whoever() == "1234@bench"


def test_a_note_says_whether_it_holds():
    assert Note("excluded", Scope("a"), "r", "me", "2026-01-01T00:00:00.000Z").holds
