"""The report of a run: one HTML page that needs nothing else."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from nightgate import __version__, registry
from nightgate.facts import Noise
from nightgate.publish import certainty, charts, figures
from nightgate.publish.absent import absent, skips
from nightgate.publish.cards import cards
from nightgate.publish.rows import GRAVITY, met, objective_rows, unjudged
from nightgate.record import Record, Summary

_HERE = Path(__file__).parent


def render_report(summary: Summary, folder: Path) -> str:
    """The page as text. ``folder`` holds the run's ``.npz`` files; a chart whose samples are missing is left out."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    loader = FileSystemLoader(_HERE)
    environment = Environment(
        loader=loader, autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {
        "clock": figures.clock,
        "human": figures.human,
        "plain": figures.plain,
        "gpu": figures.gpu_text,
        "word": certainty.word,
    }
    environment.tests["listing"] = _is_listing
    rows = objective_rows(summary.results)
    bars = _bars(summary.results)
    return environment.get_template("report.html").render(
        summary=summary, rows=rows, version=__version__, style=Markup((_HERE / "style.css").read_text()),
        headline=headline(summary.state, rows), lead=_lead(rows),
        learned=certainty.learned(figures.of_objectives(summary.results)), objectives_chart=Markup(charts.objectives(bars)) if bars else "", certainty=certainty,
        cards=cards(summary, folder), absent=absent(summary.results), skipped=skips(summary.results),
        disturbed=certainty.disturbances(summary.results), tolerated=certainty.tolerances(summary.results), tiles=_tiles(summary, rows),
    )  # fmt: skip


def headline(state: str, rows: list[dict[str, Any]]) -> str:
    """The verdict on the run in a few words."""
    count = sum(row["verdict"] == state for row in rows)
    one = count == 1
    if state == "pass":
        return "The objective holds" if one else f"All {count} objectives hold"
    if state == "breach":
        return "1 objective is breached" if one else f"{count} objectives are breached"
    if state == "inconclusive":
        rest = len(rows) - count
        held = f", the other {f'{rest} hold' if rest > 1 else 'holds'}" if rest else ""
        return ("1 objective is undecided" if one else f"{count} objectives are undecided") + held
    invalid = [row for row in rows if row["verdict"] == "invalid"]
    if invalid and all(row["doubtful"] for row in invalid):
        return f"The host was disturbed: {len(invalid)} objective{'s are' if len(invalid) > 1 else ' is'} not judged"
    return "Not everything could be measured" if rows else "Nothing was judged"


def _lead(rows: list[dict[str, Any]]) -> list[str]:
    """What stands under the headline: each objective that is not met, or the tightest when all are."""
    unmet = [row for row in rows if row["verdict"] != "pass"]
    if unmet:
        return [_sentence(row) for row in unmet]
    sentence = tightest(rows)
    return [sentence] if sentence else []


def tightest(rows: list[dict[str, Any]]) -> str | None:
    """A sentence on the objective that uses most of what its limit allows; None where that cannot be said of any."""
    known = [row for row in rows if row["used"] is not None]
    if not known:
        return None
    tight = max(known, key=lambda row: row["used"])
    return (
        f"The tightest is {tight['metric']} of {tight['benchmark']}, {tight['variant']} on {tight['device']}: "
        f"{tight['value']} against {tight['limit']}, {tight['headroom']} headroom."
    )


def _sentence(row: Mapping[str, Any]) -> str:
    """Of an objective that is not met."""
    who = f"{row['benchmark']}, {row['variant']} on {row['device']}"
    if row["verdict"] == "invalid" and row["doubtful"]:
        return f"{who}: {row['metric']} is not judged."
    if row["raw"] is None:
        return f"{who}: no {row['metric']}. {row['reason'] or ''}"
    text = f"{who}: {row['metric']} is {row['value']} (95 % interval {row['interval']}), the limit {row['limit']}."
    if row["verdict"] == "inconclusive":
        text += " Undecided." if row["nights"] == 1 else f" Undecided for {row['nights']} nights."
    return text


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


def _is_listing(value: Any) -> bool:
    """Whether a value is a list of mappings with the same keys, such as a tuning curve: a table of its own."""
    items = value if isinstance(value, (list, tuple)) else ()
    return bool(items) and all(isinstance(item, Mapping) and item.keys() == items[0].keys() for item in items)
