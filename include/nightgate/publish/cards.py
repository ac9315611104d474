"""What the report shows of each benchmark: its charts, its data, and every figure with the variants side by side."""

from __future__ import annotations

import logging
import shlex
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nightgate import registry
from nightgate.errors import ArtifactError
from nightgate.measure import samples
from nightgate.metrics import BATCHES, COST, OPEN_LOOP, MetricSpec, Quantile, Repeats
from nightgate.publish import certainty, charts, figures
from nightgate.publish.rows import value_text
from nightgate.publish.speedups import speedups
from nightgate.record import Record, Summary

if TYPE_CHECKING:
    import numpy as np

log = logging.getLogger(__name__)

_TAIL = 0.95  # the quantile whose limit the chart shows


def cards(summary: Summary, folder: Path) -> list[dict[str, Any]]:
    """One card per benchmark and device that was measured. ``folder`` holds the run's ``.npz`` files."""
    groups: dict[tuple[str, str], list[Record]] = {}
    for record in summary.results:
        if record.status == "measured":
            groups.setdefault((record.benchmark, record.device), []).append(record)
    found = []
    for (benchmark, device), records in groups.items():
        records.sort(key=lambda record: (not record.gated, record.variant))
        command = ["nightgate", "measure", benchmark, "--scale", summary.scale, "--device", device]
        found.append(
            {
                "title": registry.title(benchmark),
                "device": device,
                "records": records,
                "data": _data(records),
                "charts": [drawn for drawn in (_tradeoff(records), _spread(records, folder)) if drawn],
                "columns": [
                    (record.variant, "gated" if record.gated else "control", _setting(record)) for record in records
                ],
                "sections": _sections(records, summary.results),
                "command": shlex.join(command),
                "disturbed": certainty.disturbances(records),
                "conditions": _conditions(records),
                "looks": _looks(records),
                "intervals": _intervals(records),
            }
        )
    return found


def _sections(records: list[Record], run: list[Record]) -> list[dict[str, Any]]:
    """The headings with their rows: a title and one cell per record, in the order of the declarations, cost last."""
    headings: dict[str, list[MetricSpec]] = {}
    for name in registry.in_order(records, [name for record in records for name in record.metrics]):
        spec = next(registry.spec_of(record, name) for record in records if name in record.metrics)
        if spec.section:
            headings.setdefault(spec.section, []).append(spec)
    found = []
    for heading, specs in sorted(headings.items(), key=lambda item: item[0] == COST):
        rows = [(spec.title, [_cell(record, (spec.name, spec.beside)) for record in records]) for spec in specs]
        if heading == OPEN_LOOP:
            loops = [record.facts.open_loop for record in records]
            rows.append(("Utilisation", [f"{loop.utilisation * 100:.0f} %" if loop else "–" for loop in loops]))
        if heading == BATCHES:
            rows = _crowds(records) or rows
        found.append({"heading": _explained(heading, records), "rows": rows})
    if faster := speedups(records, run):
        found.append({"heading": faster[0], "rows": faster[1]})
    return found


def _conditions(records: list[Record]) -> list[str]:
    """How it was measured: with what the variants took turns, for how long each was repeated, how the host was meanwhile.
    What several share is told once."""
    turns = [f"{record.variant} {record.facts.turns}" for record in records if record.facts.turns]
    ended = [f"{record.variant} {how}" for record in records if (how := certainty.ended(record))]
    host = dict.fromkeys(line for record in records if (line := certainty.host(record)))
    told = (("In turns", turns), ("Repeated", ended), ("The host meanwhile", host))
    return [f"{what}: {'; '.join(known)}." for what, known in told if known]


def _looks(records: list[Record]) -> dict[str, Any]:
    """The confirming runs of a card beside the first ones: the ``titles`` of the metrics, and a row per run; or nothing."""
    again = [record for record in records if record.looks]
    if not again:
        return {}
    judged = {objective.metric for record in again for objective in record.objectives}
    measured = {name for record in again for look in record.looks for name in look.metrics}
    names = registry.in_order(again, sorted(measured & (judged | set(figures.headlines(again)))))
    rows = []
    for record in again:
        runs = [("first", record.metrics, certainty.disturbed(record))]
        runs += [(f"{n} more", look.metrics, look.disturbed) for n, look in enumerate(record.looks, start=1)]
        for run, metrics, why in runs:
            cells = [
                "–"
                if name not in metrics
                else figures.with_interval(metrics[name])
                + certainty.MARK * bool(why and registry.spec_of(record, name).of_speed)
                for name in names
            ]
            rows.append({"variant": record.variant, "run": run, "cells": cells, "disturbed": why})
    return {"titles": [registry.spec_of(again[0], name).title for name in names], "rows": rows}


def _intervals(records: list[Record]) -> list[dict[str, Any]]:
    """What the interval of every metric holds, metric by metric; nothing where they are of one run alone."""
    if not any(metric.between for record in records for metric in record.metrics.values()):
        return []
    found = []
    for name in registry.in_order(records, [name for record in records for name in record.metrics]):
        for record in records:
            spec, metric = registry.spec_of(record, name), record.metrics.get(name)
            if metric and (holds := certainty.holds(metric, spec)):
                found.append(
                    {
                        "metric": spec.title,
                        "variant": record.variant,
                        "value": value_text(metric, record, spec),
                        "interval": figures.interval(metric) or "–",
                        "holds": holds,
                    }
                )
    return found


def _crowds(records: list[Record]) -> list[tuple[str, list[str]]]:
    """A row for each number of clients that was tried."""
    tried = [{crowd.clients: crowd for crowd in record.facts.crowds} for record in records]
    rows = []
    for clients in sorted(set().union(*tried)):
        cells = [
            f"{figures.human(one.queries_per_second, 'per_second')} · {figures.human(one.latency_p95, 'seconds')}"
            if (one := crowds.get(clients))
            else "–"
            for crowds in tried
        ]
        rows.append((f"{clients} client{'s' * (clients != 1)}", cells))
    return rows


def _cell(record: Record, names: tuple[str, ...]) -> str:
    if names[0] not in record.metrics:
        return "–"
    shown = " · ".join(
        value_text(m, record, registry.spec_of(record, name)) for name in names if (m := record.metrics.get(name))
    )
    earlier = record.facts.earlier.get(names[0])
    return f"{shown} ({earlier[:10]})" if earlier else shown


def _explained(heading: str, records: list[Record]) -> str:
    """A heading with the conditions the figures below it were taken under."""
    for facts in (record.facts for record in records):
        if heading == OPEN_LOOP and facts.open_loop:
            rate = figures.human(facts.open_loop.rate, "per_second")
            return f"Open loop: {rate}, latency since the scheduled moment"
        if heading == BATCHES and facts.batches:
            size, threads = facts.batches[0].size, facts.batches[0].threads
            return f"Batches of {size} on {threads} thread{'s' * (threads != 1)}"
        if heading == BATCHES and facts.crowds:
            return "Several clients at once, each asks again when it is answered: answers per second · P95 latency"
    return heading


def _setting(record: Record) -> str:
    return figures.named(record.facts.tuning.setting) if record.facts.tuning else ""


def _data(records: list[Record]) -> str:
    """What the vectors were, and how hard: one sentence, empty when nothing is known."""
    known = next((vectors for record in records if (vectors := record.facts.vectors)), None)
    if known is None:
        return ""
    parts = []
    if known.file:
        parts.append(" with the queries of ".join(filter(None, (known.file, known.queries_file))))
    if known.rows and known.dim:
        parts.append(f"{known.rows:,} × {known.dim:,} vectors")
    if known.metric:
        parts.append(known.metric)
    if held_out := sum((known.held_out or {}).values()):
        parts.append(f"{held_out:,} more held out as queries")
    if known.queries_in_base:
        parts.append(f"{known.queries_in_base:,} of the measured queries also stand in the base")
    if "local_dimension" in known.model_fields_set:
        parts.append(f"local dimension {_or_infinite(known.local_dimension, 1)}")
    if contrast := known.relative_contrast:
        values = ", ".join(_or_infinite(value, 2) for value in contrast.values())
        parts.append(f"relative contrast {values} at k = {', '.join(map(str, contrast))}")
    return " · ".join(parts)


def _or_infinite(value: float | None, decimals: int) -> str:
    return "∞" if value is None else f"{value:.{decimals}f}"


def _tradeoff(records: list[Record]) -> tuple[str, str] | None:
    """The chart of recall and latency and a sentence that explains it; None when no curve was kept."""
    from markupsafe import Markup

    curves = [_curve(record, place) for place, record in enumerate(records)]
    drawn = [curve for curve in curves if curve.points]
    if not drawn:
        return None
    target = next((t for record in records if record.facts.tuning and (t := record.facts.tuning.target)), None)
    chart = charts.tradeoff(drawn, target, _limit(records, _tail(records)))
    note = (
        "Each small dot is one setting, measured on the tuning queries; a line joins the best of its variant, and the band "
        "is the Pareto front over all variants: nothing below or right of it was found. The large dots are what was chosen."
    )
    missed = [
        f"{curve.name} (at best {max(recall for recall, _ in curve.points):.3f})"
        for curve, record in zip(curves, records, strict=True)
        if curve.points and record.facts.tuning and not record.facts.tuning.reached
    ]
    if missed and target:
        note += f" No setting reaches {target:g} with its margin for {', '.join(missed)}."
    return Markup(chart), note


def _tail(records: list[Record]) -> str:
    """The name of the metric that is the 95th percentile of single queries."""
    specs = [registry.spec_of(record, name) for record in records for name in record.metrics]
    return next((s.name for s in specs if isinstance(s.samples, Quantile) and s.samples.q == _TAIL), "")


def _curve(record: Record, place: int) -> charts.Curve:
    """What the tuning of a record tried, where latency was measured with it."""
    tuning = record.facts.tuning
    points = [(p.recall, p.latency_p95) for p in (tuning.curve if tuning else ()) if p.latency_p95]
    chosen = tuning and tuning.chosen
    at = (chosen.recall, chosen.latency_p95) if chosen and chosen.latency_p95 else None
    return charts.Curve(record.variant, points, at, record.gated, place)


def _spread(records: list[Record], folder: Path) -> tuple[str, str] | None:
    """The chart of the raw samples of the first headline metric that keeps any, and a sentence that explains it; None when
    there are none to draw."""
    specs = [registry.spec_of(records[0], name) for name in figures.headlines(records)]
    for spec in sorted(specs, key=lambda spec: not (isinstance(spec.samples, Quantile) and spec.samples.q == _TAIL)):
        if isinstance(spec.samples, (Quantile, Repeats)) and (chart := _drawn(spec, spec.samples, records, folder)):
            return chart
    return None


def _drawn(spec: MetricSpec, kept: Quantile | Repeats, records: list[Record], folder: Path) -> tuple[str, str] | None:
    from markupsafe import Markup

    lines = [
        charts.Series(record.variant, values, record.gated, place)
        for place, record in enumerate(records)
        if spec.name in record.metrics and (values := _kept(record, folder, kept)) is not None
    ]
    if not lines:
        return None
    limit = _limit(records, spec.name)
    if isinstance(kept, Repeats):
        chart = charts.repeats(lines, limit, spec.unit, f"{spec.title} of every repeat")
        return Markup(chart), f"Each dot is the {spec.title} of one repeat, the bar their mean."
    sizes = {line.values.size for line in lines}
    counts = f"{lines[0].values.size:,} calls each" if len(sizes) == 1 else ""
    counts = counts or " · ".join(f"{line.name} {line.values.size:,} calls" for line in lines)
    note = f"Each point of a curve is the time within which that share of the calls returned. {counts}."
    return Markup(charts.quantiles(lines, limit)), note


def _kept(record: Record, folder: Path, kept: Quantile | Repeats) -> np.ndarray | None:
    """The raw samples, flat and in the unit of the metric; None when the file is missing, torn or holds none."""
    if not record.samples:
        return None
    try:
        values = samples.read(folder / Path(record.samples).name, record.variant)[kept.array].ravel()
    except (ArtifactError, KeyError) as error:
        log.warning("no chart for %s: its samples cannot be read (%s)", record.variant, error)
        return None
    if values.size < 2:
        return None
    if isinstance(kept, Quantile):
        return values / 1e9
    return 1 / values if kept.inverted else values


def _limit(records: Iterable[Record], metric: str) -> float | None:
    found = [o.limit for record in records for o in record.objectives if o.metric == metric]
    return found[0] if found else None
