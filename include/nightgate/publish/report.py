"""The report of a run: one HTML page that needs nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from nightgate import registry
from nightgate.facts import Noise
from nightgate.publish import certainty, charts, figures, sentences
from nightgate.publish.absent import absent, skips
from nightgate.publish.cards import cards
from nightgate.publish.rows import GRAVITY, met, objective_rows, unjudged
from nightgate.publish.templates import templates
from nightgate.record import Record, Summary

_HERE = Path(__file__).parent


def render_report(summary: Summary, folder: Path) -> str:
    """The page as text. ``folder`` holds the run's ``.npz`` files; a chart whose samples are missing is left out."""
    from markupsafe import Markup

    rows = objective_rows(summary.results)
    bars = _bars(summary.results)
    return (
        templates(_HERE)
        .get_template("report.html")
        .render(
            summary=summary,
            rows=rows,
            headline=sentences.headline(summary.state, rows),
            lead=sentences.lead(rows),
            learned=certainty.learned(figures.of_objectives(summary.results)),
            objectives_chart=Markup(charts.objectives(bars)) if bars else "",
            cards=cards(summary, folder),
            absent=absent(summary.results),
            skipped=skips(summary.results),
            disturbed=certainty.disturbances(summary.results),
            tolerated=certainty.tolerances(summary.results),
            tiles=_tiles(summary, rows),
        )
    )


def _tiles(summary: Summary, rows: list[dict[str, Any]]) -> list[tuple[str, str]]:
    held = sum(row["verdict"] == "pass" for row in rows)
    undecided = sum(row["verdict"] == "inconclusive" for row in rows)
    measured = sum(record.status == "measured" for record in summary.results)
    seconds = figures.epoch(summary.finished_at) - figures.epoch(summary.started_at)
    tiles = [
        (f"{held} of {len(rows)}", f"objectives hold, {undecided} undecided" if undecided else "objectives hold"),
        (f"{measured} of {len(summary.results)}", "variants measured"),
        (figures.human(seconds, "seconds"), "from start to verdict"),
    ]
    return [*tiles, *_host_tile([noise for record in summary.results if (noise := record.facts.noise)])]


def _host_tile(seen: Sequence[Noise]) -> list[tuple[str, str]]:
    """How busy the host was with others; of records of before anybody looked, how much the canary scattered."""
    if busy := [(noise.others, noise.cores) for noise in seen if noise.others is not None and noise.cores]:
        others, cores = max(busy)
        return [(f"{others:.1f} of {cores}", "cores busy with other programs, at most")]
    spreads = [canary.spread for noise in seen for canary in (noise.canary_before, noise.canary_after) if canary]
    return [(f"{max(spreads) * 100:.1f} %", "widest noise canary spread")] if spreads else []


def _bars(records: Iterable[Record]) -> list[charts.Bar]:
    bars = []
    for record in records:
        for objective in record.objectives:
            spec, metric = registry.spec_of(record, objective.metric), met(objective, record)
            value = figures.used(objective, metric.value if metric else None, spec)
            if value is None or metric is None:
                continue
            ends = [figures.used(objective, end, spec) for end in metric.ci95 or ()]
            known = [end for end in ends if end is not None] or [value]
            label = f"{spec.title} · {record.variant} · {record.device}"
            text = f"{figures.human(metric.value, spec.unit)}, limit {figures.limit_text(objective, spec)}"
            hollow = unjudged(objective, record, spec)
            bars.append(charts.Bar(label, value, min(known), max(known), text, objective.verdict, hollow))
    return sorted(bars, key=lambda bar: GRAVITY.index(bar.verdict))
