"""The page of one metric of one series: its course over the nights, and what is to be known of each."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from nightgate import registry
from nightgate.metrics import MetricSpec
from nightgate.publish import certainty, charts, figures, noted
from nightgate.record import STORED, Metric, Record
from nightgate.results import queries
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
    spec = registry.spec_of(record, metric)
    nights = nights_of(points, record, spec, notes)
    newest = points[-1].objective if points else None
    return Page(
        title=spec.title, who=f"{registry.title(benchmark)}, {variant} on {device}", suite=suite, scale=scale, host=host,
        verdict=newest.verdict if newest else None, lead=_lead(points, spec),
        picture=charts.course(nights, spec.unit, f"{spec.title} over {len(nights)} nights") if nights else "",
        lines=_lines(points, record, spec, notes),
    )  # fmt: skip


def _lead(points: Sequence[Point], spec: MetricSpec) -> str:
    values = [point.metric.value for point in points if point.metric and not (point.disturbed and spec.of_speed)]
    nights = f"{len(points)} night{'s' * (len(points) != 1)}"
    if not values:
        return f"{nights}, none of which counts."
    low, high = (figures.human(end, spec.unit) for end in (min(values), max(values)))
    return f"{nights}, between {low} and {high}."


def _lines(points: Sequence[Point], record: Record, spec: MetricSpec, notes: Sequence[Note]) -> list[Line]:
    lines, before = [], None
    for point in points:
        lines.append(_line(point, before, record, spec, notes))
        before = point
    return lines[::-1]


def _line(point: Point, before: Point | None, record: Record, spec: MetricSpec, notes: Sequence[Note]) -> Line:
    objective, metric = point.objective, point.metric
    value = objective.value if objective and objective.value is not None else metric.value if metric else None
    ends = (objective.ci95 if objective else None) or (metric.ci95 if metric else None)
    shown = Metric(value=value, unit=spec.unit, n=1, ci95=ends) if value is not None else None
    of = [note for note in notes if note.scope.holds(point.run_id, record)]
    changed = other_versions(before.versions, point.versions) if before else []
    said = [
        *noted.sentences(point.run_id, of),
        point.disturbed or "",
        *changed,
        (objective.reason or "") if objective else "",
    ]
    return Line(
        run_id=point.run_id, at=point.at, value=figures.human(value, spec.unit) if value is not None else "–",
        interval=(shown and figures.interval(shown)) or "–", limit=figures.limit_text(objective, spec) if objective else "–",
        verdict=objective.verdict if objective else None, hollow=bool(point.disturbed) and spec.of_speed,
        host=certainty.state_of(point.noise) or "–", revision=(point.revision or "–")[:_SHORT], said=[one for one in said if one],
    )  # fmt: skip
