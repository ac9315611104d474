"""An objective of the newest night, and what the nights of its series before it say of it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from nightgate import registry
from nightgate.judge.comparison import between_runs
from nightgate.metrics import MetricSpec
from nightgate.publish import certainty, charts, figures, noted, sentences
from nightgate.publish.figures import clock, human
from nightgate.publish.rows import objective_rows
from nightgate.record import Record
from nightgate.results.alerts import Held
from nightgate.results.courses import Point, courses
from nightgate.results.noted import Note
from nightgate.results.store import Run, Store
from nightgate.web import compare

_NIGHTS = 30  # of a picture in a row


@dataclass(frozen=True)
class TrackedObjective:
    """An objective of the newest night, as the report shows it (``now``), and its past.

    ``change`` is what became of it since ``good``, the last night before that passed, in words. ``since`` is the night from which
    on its verdict is the same, ``nights`` how many these are. ``picture`` is its course as SVG, ``page`` where more of it is, ``compared`` where it is held against ``good``.
    """

    now: dict[str, Any]
    change: str
    good: Point | None
    since: Point | None
    nights: int
    picture: str
    page: str
    compared: str | None


def tracked(newest: Run, store: Store) -> list[TrackedObjective]:
    """The objectives of ``newest``, the gravest first, each with the nights of its series before it: of its suite, at its scale,
    on its host, with the same work."""
    rows = objective_rows(newest.results)
    records = {(record.benchmark, record.variant, record.device): record for record in newest.results}
    asked = [(records[row["key"][:3]], row["key"][3]) for row in rows]
    found = courses(store, asked, newest.scale, night=newest.standing == "night", most=_NIGHTS)
    notes = store.notes({point.run_id for points in found for point in points})
    return [
        _tracked(row, record, points, newest, notes)
        for row, (record, _), points in zip(rows, asked, found, strict=True)
    ]


def _tracked(
    row: dict[str, Any], record: Record, points: Sequence[Point], newest: Run, notes: Sequence[Note]
) -> TrackedObjective:
    counted = [point for point in points if not noted.excluded(point.run_id, record, notes)]
    same: list[Point] = []
    for point in reversed(counted):
        if point.objective is None or point.objective.verdict != row["verdict"]:
            break
        same.append(point)
    before = [point for point in counted if point.run_id != newest.run_id]
    good = next((point for point in reversed(before) if point.objective and point.objective.verdict == "pass"), None)
    spec = registry.spec_of(record, row["key"][3])
    words = f"{row['metric']} of {row['variant']} on {row['device']} over the last {len(points)} nights"
    return TrackedObjective(
        now=row,
        change=_change(record, spec, good),
        good=good,
        since=same[-1] if same else None,
        nights=len(same),
        picture=charts.spark(nights_of(points, record, spec, notes), words),
        page=page_of(newest, record, spec.name),
        compared=compare.of_runs(good.run_id, newest.run_id) if good else None,
    )


def page_of(run: Run, record: Record, metric: str) -> str:
    """The address of the page of a series, relative to the board."""
    of = {
        "suite": run.suite,
        "scale": run.scale,
        "benchmark": record.benchmark,
        "variant": record.variant,
        "device": record.device,
        "metric": metric,
        "host": record.host.fingerprint if record.host else "",
    }
    return f"series?{urlencode(of)}"


def nights_of(
    points: Sequence[Point], record: Record, spec: MetricSpec, notes: Sequence[Note], held: Sequence[Held] = ()
) -> list[charts.Night]:
    """The nights of a series as its pictures show them. A night without a number has no place in them.

    Args:
        held: what the watch has found of it.
    """
    shifts = {one.over_run_id: "as before" for one in held} | {one.run_id: "worse" for one in held}
    made: list[charts.Night] = []
    before: Mapping[str, str] = {}
    for point in points:
        metric, objective = point.metric, point.objective
        judged_value = objective.value if objective and objective.value is not None else None
        value = judged_value if judged_value is not None else metric.value if metric else None
        if value is None:
            continue
        ends = (objective.ci95 if objective else None) or (metric.ci95 if metric else None)
        hollow = bool(point.disturbed) and spec.of_speed
        excluded = noted.excluded(point.run_id, record, notes)
        changed = ", ".join(other_versions(before, point.versions))
        before = point.versions or before
        facts = [
            clock(point.at),
            human(value, spec.unit),
            certainty.word(objective.verdict) if objective else "not judged",
            "excluded" if excluded else "",
            point.disturbed or "",
            changed,
        ]
        made.append(
            charts.Night(
                at=point.at,
                value=value,
                label=", ".join(filter(None, facts)),
                low=ends[0] if ends else None,
                high=ends[1] if ends else None,
                limit=objective.limit if objective else None,
                verdict=objective.verdict if objective else None,
                to=f"runs/{quote(point.run_id, safe='')}",
                hollow=hollow,
                excluded=excluded,
                accepted=_accepted(point.run_id, record, notes),
                changed=changed or None,
                shifted=shifts.get(point.run_id),
            )
        )
    return made


def _accepted(run_id: str, record: Record, notes: Sequence[Note]) -> bool:
    return any(note.kind == "accepted" and note.holds and note.scope.holds(run_id, record) for note in notes)


def other_versions(before: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    """What is another than before, of what both know: "faiss 1.14.0 → 1.15.0"."""
    return [f"{name} {before[name]} → {of}" for name, of in now.items() if before.get(name, of) != of]


def _change(record: Record, spec: MetricSpec, good: Point | None) -> str:
    """What became of a metric since the last good night, by what runs of its series differ by anyway."""
    now = record.metrics.get(spec.name)
    if good is None or good.metric is None or now is None:
        return "no good night before" if good is None else "–"
    if certainty.doubtful(record, spec):
        return "not compared: the host was disturbed"
    # of neighbours: by all of them a step would hide itself from the second night on
    known = now.between and now.between.model_copy(update={"apart": None, "farthest": None})
    then = good.metric.model_copy(update={"between": known, "within95": good.metric.ci95})
    found = between_runs(then, now.model_copy(update={"between": known}), spec)
    if not found.real:
        return "no difference can be told"
    if found.scale == "difference":
        return figures.signed(found.value, found.interval)
    return f"{(found.value - 1) * 100:+.0f} %".replace("-", "−")


def sentence(rows: Sequence[TrackedObjective]) -> str:
    """What there is to know of the gravest objective, or of the tightest where all hold."""
    if not rows:
        return ""
    worst = rows[0]
    now = worst.now
    who = f"{now['benchmark']}, {now['variant']} on {now['device']}: {now['metric']}"
    if now["verdict"] == "pass":
        return sentences.tightest([row.now for row in rows]) or ""
    if now["raw"] is None:
        return f"{who} has no value. {now['reason'] or ''}".strip()
    words = [f"{who} is {now['value']}, the limit {now['limit']}{sentences.past(now)}"]
    if worst.nights > 1:
        words.append(f"for {worst.nights} nights")
    words.append(f"last good {_day(worst.good.at)}" if worst.good else "never good before")
    return ", ".join(words) + "."


def _day(at: str) -> str:
    return clock(at).split(",")[0]
