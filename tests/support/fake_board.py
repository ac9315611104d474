"""The board's store without a server, nights to put into it, and a browser that asks."""

from __future__ import annotations

import hashlib
import zlib
from contextlib import contextmanager
from typing import ClassVar

from fastapi.testclient import TestClient
from support.specs import add

from nightgate.artifacts.counted import Counted
from nightgate.record import Host, Objective, Record, Summary
from nightgate.results.courses import Point
from nightgate.results.noted import Note
from nightgate.results.past import key_of
from nightgate.results.store import Run, Snapshot
from nightgate.series import series_of
from nightgate.web import app as web

HOST = Host(fingerprint="abc", cpu="a cpu", cores=2, memory_bytes=2**34)
OTHER = HOST.model_copy(update={"fingerprint": "other"})


class FakeStore:
    """What the app asks of the store, without a server."""

    answers: tuple[list[Run], Snapshot] = ([], Snapshot())
    error: Exception | None = None
    said: tuple[Note, ...] = ()
    known_caches: tuple[Counted, ...] = ()
    at_work: ClassVar[list[tuple]] = []
    holding: ClassVar[list[tuple]] = []
    files: ClassVar[dict[tuple[str, str], bytes]] = {}

    def __init__(self, url):
        assert url == "postgresql://store"

    def __enter__(self):
        return self

    def __exit__(self, *_):
        pass

    def nights(self, limit, brief=False):
        return [run for run in self._answer(0) if run.standing != "ad-hoc"][:limit]

    def others(self, limit, brief=False):
        return [run for run in self._answer(0) if run.standing == "ad-hoc"][:limit]

    def notes(self, runs):
        return [note for note in self.said if note.scope.run_id in runs]

    @contextmanager
    def together(self):
        yield

    def run(self, run_id):
        return next((run for run in self._answer(0) if run.run_id == run_id), None)

    def summary(self, run_id):
        run = self.run(run_id)
        return run and Summary(
            run_id=run_id, dag_id=run.dag_id, suite=run.suite, scale=run.scale, state=run.state, started_at=run.started_at,
            finished_at=run.finished_at, host=HOST, results=run.results,
        )  # fmt: skip

    def beside(self, run):
        ids = [one.run_id for one in self.answers[0]]
        place = ids.index(run.run_id)
        return (ids[place + 1] if place + 1 < len(ids) else None), (ids[place - 1] if place else None)

    def snapshot(self):
        return self._answer(1)

    def caches(self):
        return list(self.known_caches)

    def rows(self, query, values):
        if self.error:
            raise self.error
        if "FROM nightgate.under_way" in query:
            return [row for row in self.at_work if row[0] in values[0]]
        if "FROM nightgate.alerts" in query:
            return list(self.holding)
        assert "FROM nightgate.files" in query
        content = self.files.get(values)
        return [(zlib.compress(content), hashlib.sha256(content).hexdigest())] if content else []

    def _answer(self, number):
        if self.error:
            raise self.error
        return self.answers[number]


def courses(store, asked, scale, *, night, most, facts=False):
    """As `nightgate.results.courses.courses`, from the answers of the fake store."""
    found = []
    for record, metric in asked:
        of = [
            Point(run.run_id, run.finished_at, one.metrics.get(metric), one.objectives[0] if one.objectives else None,
                  one.facts.noise.disturbed if one.facts.noise else None, one.facts.provenance.versions)
            for run in reversed(store.answers[0]) for one in run.results
            if key_of(one) == key_of(record) and series_of(one, run.scale) == series_of(record, scale) and run.suite == record.suite
        ]  # fmt: skip
        found.append(of[-most:])
    return found


def client(**more):
    return TestClient(
        web.create_app(lambda: "postgresql://store", **more), "http://localhost", client=("127.0.0.1", 50000)
    )


def night(
    number,
    verdict="pass",
    p95=0.0012,
    scale="smoke",
    host=HOST,
    standing="night",
    overrides=None,
    rows=50_000,
    digest="d",
):
    settings, facts = {"rows": rows, "variants": ["hybrid"]}, {"inputs": {"data": digest}}
    record = Record(
        benchmark="hybrid_ann",
        variant="hybrid",
        device="cpu",
        status="measured",
        host=host,
        settings=settings,
        facts=facts,
    )
    add(record, "latency_p95", p95, 3000, (p95 * 0.9, p95 * 1.1))
    record.objectives = [Objective(metric="latency_p95", op="<", limit=0.02, value=p95, verdict=verdict)]
    day = f"2026-11-{number:02d}"
    return Run(
        f"night-{number}",
        "nightly_benchmarks",
        scale,
        verdict,
        f"{day}T02:00:00Z",
        f"{day}T02:02:00Z",
        [record],
        standing,
        overrides,
    )
