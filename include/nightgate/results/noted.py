"""A note: what people say of results, and where it is read from."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

from nightgate.record import Device, Record
from nightgate.results.queries import TIME

Kind = Literal["excluded", "accepted"]


@dataclass(frozen=True)
class Scope:
    """Some results of a run; an empty field is any."""

    run_id: str
    benchmark: str = ""
    variant: str = ""
    device: Device | Literal[""] = ""

    def holds(self, run_id: str, record: Record) -> bool:
        """Whether ``record`` of that run is one of these."""
        own = (self.benchmark, self.variant, self.device)
        theirs = (record.benchmark, record.variant, record.device)
        return run_id == self.run_id and all(mine in ("", its) for mine, its in zip(own, theirs, strict=True))

    def __str__(self) -> str:
        what = [
            self.benchmark,
            self.variant,
            f"on {self.device}" if self.device and (self.benchmark or self.variant) else self.device,
        ]
        told = " ".join(filter(None, what))
        return f"{told} of {self.run_id}" if told else self.run_id


@dataclass(frozen=True)
class Note:
    """One such saying; times are ISO 8601 in UTC. The last three say who took it back, when and why; None while it holds."""

    kind: Kind
    scope: Scope
    reason: str
    by: str
    at: str
    withdrawn_reason: str | None = None
    withdrawn_by: str | None = None
    withdrawn_at: str | None = None

    @property
    def holds(self) -> bool:
        return self.withdrawn_at is None


NOTES = f"""
SELECT kind, run_id, benchmark, variant, device, reason, noted_by, {TIME.format("noted_at")},
    withdrawn_reason, withdrawn_by, {TIME.format("withdrawn_at")}
FROM nightgate.notes WHERE (withdrawn_at IS NULL OR %(withdrawn)s) AND (%(runs)s::text[] IS NULL OR run_id = ANY(%(runs)s))
ORDER BY noted_at, run_id, kind, benchmark, variant, device
"""


def note_of(row: tuple[Any, ...]) -> Note:
    """Of a row of `NOTES`."""
    return Note(row[0], Scope(*row[1:5]), *row[5:])
