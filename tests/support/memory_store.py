"""A results store in memory, with the parts of `nightgate.results.store.Store` that the steps use; it notes what is saved."""

from __future__ import annotations

from contextlib import contextmanager
from types import SimpleNamespace
from typing import ClassVar


class MemoryStore:
    made: ClassVar[list] = []
    kept: ClassVar[dict] = {}
    level: ClassVar[str] = "night"
    away: ClassVar[Exception | None] = None

    def __init__(self, url):
        self.url = url

    def counting(self, suite):
        return self.level

    def records(self, run_id, benchmark, device):
        if self.away:
            raise self.away
        return [record.model_copy(deep=True) for record in self.kept.get((run_id, benchmark, device), [])]

    def save_records(self, run_id, dag_id, scale, records, *, raw=(), anew=False, **named):
        if self.away:
            raise self.away
        copies = [record.model_copy(deep=True) for record in records]
        self.kept[run_id, records[0].benchmark, records[0].device] = sorted(copies, key=lambda record: record.variant)
        variants, judged = [r.variant for r in records], [len(r.objectives) for r in records]
        names = [path.name for path in raw]
        self.made.append(("records", run_id, dag_id, scale, variants, judged, names, anew, named))

    @contextmanager
    def writing(self):
        """What the steps at work say of themselves is not kept."""
        if self.away:
            raise self.away
        yield SimpleNamespace(execute=lambda *_: None)

    def save_cache(self, counted):
        pass

    def save_summary(self, summary, raw=()):
        self.made.append(("summary", summary.run_id, summary.state, [path.name for path in raw]))
