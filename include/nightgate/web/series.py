"""The page of one metric of one series: its course over the nights, and what is to be known of each."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from nightgate import registry
from nightgate.duet.ratio import ratio
from nightgate.metrics import MetricSpec
from nightgate.publish import certainty, charts, figures, noted
from nightgate.record import STORED, Metric, Record
from nightgate.results import alerts, beside, queries
from nightgate.results.alerts import Held
from nightgate.results.beside import Measured, SeriesKey
from nightgate.results.courses import Point, courses
from nightgate.results.noted import Note
from nightgate.results.store import Store
from nightgate.web.objectives import nights_of, other_versions

_NIGHTS = 365
_SHORT = 10  # characters of a revision


@dataclass(frozen=True)
class Line:
    """One night of the list, in words. ``said`` are sentences."""

    run_id: str
    at: str
    value: str
    interval: str
    limit: str
    verdict: str | None
    hollow: bool
    host: str
    revision: str
    said: list[str]


@dataclass(frozen=True)
class Page:
    """What the page shows; ``lines`` are the newest night first."""

    title: str
    who: str
    suite: str
    scale: str
    host: str
    verdict: str | None
    lead: str
    picture: str
    lines: list[Line]


def page(
    store: Store, suite: str, scale: str, benchmark: str, variant: str, device: str, metric: str, host: str
) -> Page | None:
    """The page of a series, or None where the store knows nothing of it. An empty scale or host is that of the newest night."""
    wanted = {
        "suite": suite,
        "scale": scale,
        "benchmark": benchmark,
        "variant": variant,
        "device": device,
        "host": host,
    }
    with store.together():
        rows = store.rows(queries.NEWEST_OF_SERIES, wanted)
        if not rows:
            return None
        (_, night, scale, stored), *_ = rows
        record = Record.model_validate(stored, context=STORED)
        if metric not in record.metrics:
            return None
        host = record.host.fingerprint if record.host else host
        (points,) = courses(store, [(record, metric)], scale, night=night, most=_NIGHTS, facts=True)
        notes = store.notes({point.run_id for point in points})
        held = _held(store, record, metric, scale)
        measured = _beside(store, record, metric, points)
    spec = registry.spec_of(record, metric)
    nights = nights_of(points, record, spec, notes, held)
    newest = points[-1].objective if points else None
    return Page(
        title=spec.title,
        who=f"{registry.title(benchmark)}, {variant} on {device}",
        suite=suite,
        scale=scale,
        host=host,
        verdict=newest.verdict if newest else None,
        lead=_lead(points, spec, held),
        picture=charts.course(nights, spec.unit, f"{spec.title} over {len(nights)} nights") if nights else "",
        lines=_lines(points, record, spec, notes, _found(held, measured, spec)),
    )


def _held(store: Store, record: Record, metric: str, scale: str) -> list[Held]:
    """What the watch has found of a series on the host of ``record``."""
    key = SeriesKey(record.benchmark, record.variant, record.device, metric)
    here = alerts.subject(str(key), scale, record.host.fingerprint if record.host else "")
    return [one for one in alerts.of_subject(store, record.suite, here) if one.kind == "regression"]


def _beside(store: Store, record: Record, metric: str, points: Sequence[Point]) -> dict[str, Measured]:
    """Run → what it measured beside its control."""
    key = SeriesKey(record.benchmark, record.variant, record.device, metric)
    found = beside.of_runs(store, [point.run_id for point in points])
    return {run_id: one for (run_id, of), one in found.items() if of == key}


def _found(held: Sequence[Held], measured: Mapping[str, Measured], spec: MetricSpec) -> dict[str, list[str]]:
    """Run → what the watch has to say of it, in sentences."""
    said = defaultdict[str, list[str]](list)
    for run_id, one in measured.items():
        control = f"its control{f' ({one.control_run})' if one.control_run else ''}"
        if of := ratio(one.control, one.tonight, spec):
            apart = figures.times if of.logarithmic else figures.signed
            said[run_id].append(f"Measured in turns with {control}: {apart(of.value, (of.low, of.high))}.")
        else:
            said[run_id].append(f"Not measured beside {control}: {one.why_not or 'too few rounds count'}.")
    for shift in held:
        causes = f" Probably: {shift.said.causes[0]}." if shift.said.causes else ""
        said[shift.run_id].append(f"The watch: {shift.said.sentence}{causes}")
        if shift.over_run_id:
            said[shift.over_run_id].append("The watch: as before again.")
    return dict(said)


def _lead(points: Sequence[Point], spec: MetricSpec, held: Sequence[Held]) -> str:
    values = [point.metric.value for point in points if point.metric and not (point.disturbed and spec.of_speed)]
    nights = f"{len(points)} night{'s' * (len(points) != 1)}"
    if not values:
        return f"{nights}, none of which counts."
    low, high = (figures.human(end, spec.unit) for end in (min(values), max(values)))
    now = " ".join(one.said.sentence for one in held if one.over_run_id is None)
    return f"{nights}, between {low} and {high}. {now}".rstrip()


def _lines(
    points: Sequence[Point], record: Record, spec: MetricSpec, notes: Sequence[Note], found: Mapping[str, list[str]]
) -> list[Line]:
    lines, before = [], None
    for point in points:
        lines.append(_line(point, before, record, spec, notes, found.get(point.run_id, [])))
        before = point
    return lines[::-1]


def _line(
    point: Point, before: Point | None, record: Record, spec: MetricSpec, notes: Sequence[Note], found: Sequence[str]
) -> Line:
    objective, metric = point.objective, point.metric
    value = objective.value if objective and objective.value is not None else metric.value if metric else None
    ends = (objective.ci95 if objective else None) or (metric.ci95 if metric else None)
    shown = Metric(value=value, unit=spec.unit, n=1, ci95=ends) if value is not None else None
    of = [note for note in notes if note.scope.holds(point.run_id, record)]
    changed = other_versions(before.versions, point.versions) if before else []
    said = [
        *noted.sentences(point.run_id, of),
        *found,
        point.disturbed or "",
        *changed,
        (objective.reason or "") if objective else "",
    ]
    return Line(
        run_id=point.run_id,
        at=point.at,
        value=figures.human(value, spec.unit) if value is not None else "–",
        interval=(shown and figures.interval(shown)) or "–",
        limit=figures.limit_text(objective, spec) if objective else "–",
        verdict=objective.verdict if objective else None,
        hollow=bool(point.disturbed) and spec.of_speed,
        host=certainty.state_of(point.noise) or "–",
        revision=(point.revision or "–")[:_SHORT],
        said=[one for one in said if one],
    )
