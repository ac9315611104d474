"""What the board shows of runs: the newest night of each suite, scale and host, and a line for each run."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from nightgate import registry
from nightgate.measure import durations
from nightgate.measure.durations import NIGHT_SECONDS
from nightgate.publish import certainty, figures, noted, sentences
from nightgate.publish.absent import skips
from nightgate.record import Objective, Record, Verdict
from nightgate.results import alerts, under_way
from nightgate.results.noted import Note
from nightgate.results.store import Run, Store
from nightgate.results.under_way import AtWork
from nightgate.web.objectives import TrackedObjective, sentence, tracked


@dataclass(frozen=True)
class ListedRun:
    """One run in the list. ``unmet``, ``undecided``, ``disturbed``, ``skipped``, ``notes``, ``overrides`` and ``at_work`` are
    words, one item each."""

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
    at_work: list[str]


@dataclass(frozen=True)
class JudgedSuite:
    """The newest judged night of a suite at one scale on one host. ``trust`` says in words whether the host can be trusted.
    ``regressions``, ``disturbed``, ``skipped`` and ``notes`` are sentences, ``learned`` one."""

    newest: Run
    host: str
    headline: str
    sentence: str
    trust: list[str]
    rows: list[TrackedObjective]
    regressions: list[str]
    disturbed: list[str]
    skipped: list[str]
    notes: list[str]
    learned: str | None


def listed(run: Run, notes: Sequence[Note] = (), at_work: Sequence[AtWork] = ()) -> ListedRun:
    objectives = [(record, objective) for record in run.results for objective in record.objectives]
    left = under_way.left_of(run, at_work)
    duration = "–" if left is None else f"about {durations.human(left)} left"
    if run.started_at and run.finished_at:
        duration = figures.human(figures.epoch(run.finished_at) - figures.epoch(run.started_at), "seconds")
    return ListedRun(
        run=run,
        state=run.state or unjudged(run),
        duration=duration,
        objectives=len(objectives),
        held=sum(objective.verdict == "pass" for _, objective in objectives),
        unmet=[*_named(objectives, "breach"), *_named(objectives, "invalid")],
        undecided=_named(objectives, "inconclusive"),
        disturbed=certainty.disturbances(run.results),
        skipped=skips(run.results),
        notes=noted.sentences(run.run_id, notes),
        overrides=_overrides(run),
        at_work=[step_text(one) for one in at_work],
    )


def judged(newest: Run, store: Store) -> JudgedSuite:
    rows = tracked(newest, store)
    return JudgedSuite(
        newest,
        host_of(newest),
        sentences.headline(str(newest.state), [row.now for row in rows]),
        sentence(rows),
        sorted({text for record in newest.results if record.gated and (text := certainty.host(record))}),
        rows,
        regressions(newest, store),
        certainty.disturbances(newest.results),
        skips(newest.results),
        noted.sentences(newest.run_id, store.notes([newest.run_id])),
        certainty.learned(figures.of_objectives(newest.results)),
    )


def regressions(newest: Run, store: Store) -> list[str]:
    """What the watch has confirmed on this host and still holds, each with what is the likeliest cause."""
    here = alerts.subject("", newest.scale, host_of(newest))
    held = [
        said
        for kind, subject, _, said in alerts.holding(store, newest.suite)
        if kind == "regression" and subject.endswith(here)
    ]
    return [f"{said.sentence} {f'Probably: {said.causes[0]}.' if said.causes else ''}".rstrip() for said in held]


def step_text(one: AtWork) -> str:
    """What a step is at: "measure of Hybrid ANN on cpu: process 1 of 2; about 40 s left"."""
    return f"{one.step} of {registry.title(one.benchmark)} on {one.device}, {one.host}: {one.words}"


def newest_of_each(nights: Sequence[Run]) -> list[Run]:
    """The newest judged run of each suite, scale and host; ``nights`` are the newest first."""
    found = {(run.suite, run.scale, host_of(run)): run for run in reversed(nights) if run.state}
    return [found[key] for key in sorted(found)]


def host_of(run: Run) -> str:
    """The fingerprint of the host that measured a run; empty where none did."""
    return next((record.host.fingerprint for record in run.results if record.host and record.status == "measured"), "")


def _named(objectives: Sequence[tuple[Record, Objective]], verdict: Verdict) -> list[str]:
    """Those with this verdict: "P95 latency of hybrid on cpu", "… for 3 nights"."""
    return [
        f"{registry.spec_of(record, objective.metric).title} of {record.variant} on {record.device}"
        + (f" for {objective.nights} nights" if verdict == "inconclusive" and objective.nights > 1 else "")
        for record, objective in objectives
        if objective.verdict == verdict
    ]


def unjudged(run: Run) -> str:
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
