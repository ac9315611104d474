from __future__ import annotations

import pytest

from nightgate.publish import noted
from nightgate.record import Record
from nightgate.results.noted import Note, Scope

AT = "2026-11-22T09:00:00.000Z"


def note(kind="excluded", run_id="night-1", withdrawn=None, **scope):
    return Note(kind, Scope(run_id, **scope), "the disk was replaced", "ada@bench", AT, withdrawn_at=withdrawn)


@pytest.mark.parametrize(
    ("said", "text"),
    [
        (note(), "Excluded: the disk was replaced (ada@bench, 22 Nov 2026)"),
        (note("accepted"), "Accepted as the new baseline: the disk was replaced (ada@bench, 22 Nov 2026)"),
        (
            note(benchmark="hybrid_ann", variant="hybrid", device="cpu"),
            "Excluded, hybrid_ann hybrid on cpu: the disk was replaced (ada@bench, 22 Nov 2026)",
        ),
    ],
)
def test_a_note_in_words(said, text):
    assert noted.sentences("night-1", [said]) == [text]


def test_a_note_on_another_run_or_one_that_was_taken_back_is_not_told():
    assert noted.sentences("night-1", [note(run_id="night-2"), note(withdrawn=AT)]) == []


def test_what_is_excluded():
    record = Record(benchmark="hybrid_ann", variant="hybrid", device="cpu", status="measured")
    assert noted.excluded("night-1", record, [note()])
    assert noted.excluded("night-1", record, [note(variant="hnsw"), note(benchmark="hybrid_ann")])
    for other in (note("accepted"), note(run_id="night-2"), note(device="gpu"), note(withdrawn=AT)):
        assert not noted.excluded("night-1", record, [other])
