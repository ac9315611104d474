"""What people said of results, as the board shows it."""

from __future__ import annotations

from collections.abc import Iterable

from nightgate.publish.figures import clock
from nightgate.record import Record
from nightgate.results.noted import Note

_KINDS = {"excluded": "Excluded", "accepted": "Accepted as the new baseline"}


def sentences(run_id: str, notes: Iterable[Note]) -> list[str]:
    """A sentence for each note on a run: "Excluded, hybrid_ann hybrid on cpu: the disk was replaced (ada, 22 Nov 2026)"."""
    return [_sentence(note) for note in notes if note.scope.run_id == run_id and note.holds]


def excluded(run_id: str, record: Record, notes: Iterable[Note]) -> bool:
    """Whether no other night is judged by this result."""
    return any(note.kind == "excluded" and note.holds and note.scope.holds(run_id, record) for note in notes)


def _sentence(note: Note) -> str:
    scope = note.scope
    of = " ".join(filter(None, (scope.benchmark, scope.variant, scope.device and f"on {scope.device}")))
    day = clock(note.at).partition(",")[0]
    return f"{_KINDS[note.kind]}{of and f', {of}'}: {note.reason} ({note.by}, {day})"
