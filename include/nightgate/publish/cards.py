"""What the report shows of each benchmark: its charts, its data, and every figure with the variants side by side."""

from __future__ import annotations

import logging
import shlex
import zipfile
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nightgate.publish import charts, figures
from nightgate.record import RECALLS, Record, Summary

if TYPE_CHECKING:
    import numpy as np

log = logging.getLogger(__name__)

_SAMPLES = "durations_ns"  # int64 nanoseconds, (passes or repeats, queries or clips)

SECTIONS: dict[str, tuple[str | tuple[str, str], ...]] = {
    "Speech": ("xrt", "wer", "cer", "xrt_p95", "rtfx", "batch_xrt", "batch_rtfx", "first_segment_latency"),
    "Recall": (*RECALLS, "recall_easy", "recall_middle", "recall_hard", "recall_p5"),
    "One query at a time": ("latency_p50", "latency_p95", "latency_p99", "qps"),
    "Stage by stage: mean time · share of the true neighbours still there": (
        ("route_seconds", "route_recall"), ("scan_seconds", "scan_recall"), ("rerank_seconds", "recall_at_100"),
    ),
    "Open loop": ("open_loop_p50", "open_loop_p95", "open_loop_p99"),
    "Batches": ("throughput_qps",),
    "Cold, after a restart of the server": ("cold_start_first", "cold_start_p50"),
    "Cost": (
        "build_seconds", "build_peak_rss_bytes", "load_seconds", "rows_per_second", "index_bytes", "peak_rss_bytes", "first_touch", "prepare_seconds",
        "measure_seconds",
    ),
}  # fmt: skip
"""The figures of a card in the order they are read, with headings; a pair shares a row."""


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
        found.append({
            "title": figures.benchmark_title(benchmark), "device": device, "records": records, "data": _data(records),
            "charts": [drawn for drawn in (_tradeoff(records), _spread(records, folder)) if drawn],
            "columns": [
                (record.variant, "gated" if record.gated else "control", _setting(record)) for record in records
            ],
            "sections": _sections(records), "command": shlex.join(command),
        })  # fmt: skip
    return found


def _sections(records: list[Record]) -> list[dict[str, Any]]:
    """The headings with their rows: a title and one cell per record. What no record has is left out."""
    found = []
    for heading, lines in SECTIONS.items():
        pairs = [(line,) if isinstance(line, str) else line for line in lines]
        rows = [
            (figures.metric_title(names[0]), [_cell(record, names) for record in records])
            for names in pairs
            if any(names[0] in record.metrics for record in records)
        ]
        if rows and heading == "Open loop":
            shares = [_fact(record, "open_loop", "utilisation") for record in records]
            rows.append(("Utilisation", ["–" if share is None else f"{share * 100:.0f} %" for share in shares]))
        if rows and heading == "Batches":
            rows = _crowds(records) or rows
        if rows:
            found.append({"heading": _explained(heading, records), "rows": rows})
    return found


def _crowds(records: list[Record]) -> list[tuple[str, list[str]]]:
    """A row for each number of clients that was tried."""
    tried = [{level["clients"]: level for level in record.detail.get("clients") or ()} for record in records]
    rows = []
    for clients in sorted(set().union(*tried)):
        levels = [levels.get(clients) for levels in tried]
        cells = [
            f"{figures.human(one['queries_per_second'], 'per_second')} · {figures.human(one['latency_p95'], 'seconds')}"
            if one else "–" for one in levels
        ]  # fmt: skip
        rows.append((f"{clients} client{'s' * (clients != 1)}", cells))
    return rows


def _cell(record: Record, names: tuple[str, ...]) -> str:
    if names[0] not in record.metrics:
        return "–"
    return " · ".join(figures.human(m.value, m.unit) for name in names if (m := record.metrics.get(name)))


def _explained(heading: str, records: list[Record]) -> str:
    """A heading with the conditions the figures below it were taken under."""
    for record in records:
        rate, threads = _fact(record, "open_loop", "rate"), _fact(record, "throughput", "threads")
        if heading == "Open loop" and rate:
            return f"Open loop: {figures.human(rate, 'per_second')}, latency since the scheduled moment"
        if heading == "Batches" and threads:
            return f"Batches of {_fact(record, 'throughput', 'batch')} on {threads} thread{'s' * (threads != 1)}"
        if heading == "Batches" and record.detail.get("clients"):
            return "Several clients at once, each asks again when it is answered: answers per second · P95 latency"
    return heading


def _fact(record: Record, group: str, name: str) -> Any:
    found = record.detail.get(group)
    return found.get(name) if isinstance(found, Mapping) else None


def _setting(record: Record) -> str:
    setting = record.detail.get("setting")
    return figures.named(setting) if isinstance(setting, Mapping) else ""


def _data(records: list[Record]) -> str:
    """What the vectors were, and how hard: one sentence, empty when nothing is known."""
    known = next((data for record in records if isinstance(data := record.detail.get("data"), Mapping)), {})
    parts = []
    if "file" in known:
        parts.append(" with the queries of ".join(str(known[key]) for key in ("file", "queries_file") if key in known))
    if "rows" in known and "dim" in known:
        parts.append(f"{known['rows']:,} × {known['dim']:,} vectors")
    if "metric" in known:
        parts.append(str(known["metric"]))
    if held_out := sum((known.get("held_out") or {}).values()):
        parts.append(f"{held_out:,} more held out as queries")
    if repeated := known.get("queries_in_base"):
        parts.append(f"{repeated:,} of the measured queries also stand in the base")
    if "local_dimension" in known:
        parts.append(f"local dimension {_or_infinite(known['local_dimension'], 1)}")
    if contrast := known.get("relative_contrast"):
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
    target = next((t for record in records if (t := record.detail.get("recall_target"))), None)
    chart = charts.tradeoff(drawn, target, _limit(records, "latency_p95"))
    note = (
        "Each small dot is one setting, measured on the tuning queries; a line joins the best of its variant, and the band "
        "is the Pareto front over all variants: nothing below or right of it was found. The large dots are what was chosen."
    )
    missed = [
        f"{curve.name} (at best {max(recall for recall, _ in curve.points):.3f})"
        for curve, record in zip(curves, records, strict=True)
        if curve.points and record.detail.get("tuning_reached_target") is False
    ]
    if missed and target:
        note += f" No setting reaches {target:g} with its margin for {', '.join(missed)}."
    return Markup(chart), note


def _curve(record: Record, place: int) -> charts.Curve:
    """What the tuning of a record tried, where latency was measured with it."""
    tried = [p for p in record.detail.get("curve") or () if p.get("recall") is not None and p.get("latency_p95")]
    chosen = [p for p in tried if p.get("setting") == record.detail.get("setting")]
    points = [(p["recall"], p["latency_p95"]) for p in tried]
    at = (chosen[0]["recall"], chosen[0]["latency_p95"]) if chosen else None
    return charts.Curve(record.variant, points, at, record.gated, place)


def _spread(records: list[Record], folder: Path) -> tuple[str, str] | None:
    """The chart of the raw samples and a sentence that explains it; None when there are none to draw."""
    from markupsafe import Markup

    found = [(place, record, _durations(record, folder)) for place, record in enumerate(records)]
    drawn = [(place, record, seconds) for place, record, seconds in found if seconds is not None]
    if not drawn:
        return None

    def series(place: int, record: Record, values: np.ndarray) -> charts.Series:
        return charts.Series(record.variant, values, record.gated, place)

    if all("latency_p95" in record.metrics for _, record, _ in drawn):
        lines = [series(place, record, seconds.ravel()) for place, record, seconds in drawn]
        sizes = {line.values.size for line in lines}
        counts = f"{lines[0].values.size:,} queries each" if len(sizes) == 1 else ""
        counts = counts or " · ".join(f"{line.name} {line.values.size:,} queries" for line in lines)
        chart = charts.quantiles(lines, _limit(records, "latency_p95"))
        note = f"Each point of a curve is the time within which that share of the queries was answered. {counts}."
        return Markup(chart), note
    audio = [record.detail.get("audio_seconds") for _, record, _ in drawn]
    if all("xrt" in record.metrics for _, record, _ in drawn) and all(audio):
        dots = [series(place, record, s.sum(axis=1) / a) for (place, record, s), a in zip(drawn, audio, strict=True)]
        chart = charts.repeats(dots, _limit(records, "xrt"), "ratio", "xRT of every repeat")
        return Markup(chart), "Each dot is the xRT of one repeat over all clips, the bar their mean."
    return None


def _durations(record: Record, folder: Path) -> np.ndarray | None:
    """Seconds, in the shape they were kept in; None when the file is missing, torn or holds no such samples."""
    import numpy as np

    if not record.samples:
        return None
    try:
        with np.load(folder / Path(record.samples).name) as arrays:
            seconds = arrays[f"{record.variant}/{_SAMPLES}"] / 1e9
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        log.warning("no chart for %s: its samples cannot be read (%s)", record.variant, error)
        return None
    return seconds if seconds.ndim == 2 and seconds.size > 1 else None


def _limit(records: Iterable[Record], metric: str) -> float | None:
    found = [o.limit for record in records for o in record.objectives if o.metric == metric]
    return found[0] if found else None
