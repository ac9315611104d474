"""What the board shows of runs: a line for each, and the objectives of the newest night beside the nights before it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from nightgate.measure.durations import NIGHT_SECONDS
from nightgate.publish import certainty, figures, noted, report
from nightgate.publish.absent import skips
from nightgate.publish.rows import objective_rows
from nightgate.record import Record
from nightgate.results import files
from nightgate.results.noted import Note
from nightgate.results.store import Run
from nightgate.series import differing


@dataclass(frozen=True)
class ListedRun:
    """One run in the list. ``unmet``, ``undecided``, ``disturbed``, ``skipped``, ``notes`` and
    ``overrides`` are words, one item each."""

    run: Run
    state: str
    duration: str
    objectives: int
    held: int
    unmet: list[str]
    undecided: list[str]
    disturbed: list[str]
    skipped: list[str]
    notes: list[str]
    overrides: list[str]
    has_report: bool


@dataclass(frozen=True)
class TrackedObjective:
    """An objective of the newest night, as the report shows it (``now``), and its past.

    ``before`` is the value of the night before; ``since`` is when the night began from which on its verdict is the same.
    """

    now: dict[str, Any]
    before: str | None
    since: str | None


@dataclass(frozen=True)
class JudgedSuite:
    """The newest judged night of a suite. ``disturbed``, ``skipped`` and ``notes`` are sentences, ``learned`` one."""

    newest: Run
    headline: str
    rows: list[TrackedObjective]
    disturbed: list[str]
    skipped: list[str]
    notes: list[str]
    learned: str | None


def listed(run: Run, notes: Sequence[Note] = ()) -> ListedRun:
    rows = objective_rows(run.results)
    duration = "–"
    if run.started_at and run.finished_at:
        duration = figures.human(figures.epoch(run.finished_at) - figures.epoch(run.started_at), "seconds")
    return ListedRun(
        run=run,
        state=run.state or _unjudged(run),
        duration=duration,
        objectives=len(rows),
        held=sum(row["verdict"] == "pass" for row in rows),
        unmet=_named(rows, "breach", "invalid"),
        undecided=_named(rows, "inconclusive"),
        disturbed=certainty.disturbances(run.results),
        skipped=skips(run.results),
        notes=noted.sentences(run.run_id, notes),
        overrides=_overrides(run),
        has_report=run.reported or files.report_path(run.run_id).exists(),
    )


def judged(newest: Run, nights: Sequence[Run], notes: Sequence[Note] = ()) -> JudgedSuite:
    rows = tracked(newest, nights, notes)
    headline = report.headline(str(newest.state), [row.now for row in rows])
    return JudgedSuite(
        newest, headline, rows, certainty.disturbances(newest.results), skips(newest.results),
        noted.sentences(newest.run_id, notes), certainty.learned(figures.of_objectives(newest.results)),
    )  # fmt: skip


def tracked(newest: Run, nights: Sequence[Run], notes: Sequence[Note] = ()) -> list[TrackedObjective]:
    """The objectives of ``newest``, each with its past.

    Only judged nights of its suite that did the same work at the same scale on the same host are looked at, and nothing of
    them that was excluded.
    """
    same = (newest.suite, newest.scale)
    older = [run for run in nights[nights.index(newest) + 1 :] if run.state and (run.suite, run.scale) == same]
    past = [(run, {row["key"]: row for row in objective_rows(run.results)}, _by_series(run)) for run in older]
    own = _by_series(newest)
    objectives = []
    for row in objective_rows(newest.results):
        series = row["key"][:3]
        earlier = [
            (run, rows[row["key"]])
            for run, rows, records in past
            if row["key"] in rows
            and _comparable(own[series], records[series])
            and not noted.excluded(run.run_id, records[series], notes)
        ]
        since = newest
        for run, then in earlier:
            if then["verdict"] != row["verdict"]:
                break
            since = run
        objectives.append(TrackedObjective(row, earlier[0][1]["value"] if earlier else None, since.started_at))
    return objectives


def _named(rows: Sequence[Mapping[str, Any]], *verdicts: str) -> list[str]:
    """The objectives with one of these verdicts: "P95 latency of hybrid on cpu", "… for 3 nights"."""
    return [
        f"{row['metric']} of {row['variant']} on {row['device']}"
        + (f" for {row['nights']} nights" if row["verdict"] == "inconclusive" and row["nights"] > 1 else "")
        for row in rows
        if row["verdict"] in verdicts
    ]


def _unjudged(run: Run) -> str:
    """What to call a run without a verdict: after the time-out of the DAG nothing of it can be under way any more."""
    old = run.recorded_at is not None and datetime.now(UTC) - run.recorded_at > timedelta(seconds=NIGHT_SECONDS)
    return "unfinished" if old else "running"


def _overrides(run: Run) -> list[str]:
    """What a run did otherwise than the suite, an item each."""
    if run.standing != "ad-hoc":
        return []
    if run.overrides is None:
        return ["not known"]
    return [f"{path} {figures.plain(value)}" for path, value in run.overrides.items()]


def _by_series(run: Run) -> dict[tuple[str, str, str], Record]:
    return {(record.benchmark, record.variant, record.device): record for record in run.results}


def _comparable(first: Record, second: Record) -> bool:
    hosts = [record.host.fingerprint if record.host else None for record in (first, second)]
    return hosts[0] == hosts[1] and not differing(first, second)
