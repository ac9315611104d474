"""Numbers for people: units, names, and how much of an objective's limit is used."""

from __future__ import annotations

import math
from datetime import UTC, datetime

from nightgate.record import UNITS, Metric, Objective, Record

BENCHMARKS = {
    "transcription": "Transcription",
    "hybrid_ann": "Hybrid ANN",
    "pgvector_search": "pgvector search",
}

METRICS = {
    "xrt": "xRT",
    "wer": "Word error rate",
    "recall_at_100": "Recall@100",
    "recall_at_5": "Recall@5",
    "recall_p5": "Recall, worst 5 %",
    "latency_p50": "P50 latency",
    "latency_p95": "P95 latency",
    "latency_p99": "P99 latency",
    "first_touch": "First touch",
    "route_seconds": "Routing",
    "scan_seconds": "Scan",
    "rerank_seconds": "Rerank",
    "build_seconds": "Build",
    "load_seconds": "Load",
    "index_bytes": "Index size",
    "peak_rss_bytes": "Peak memory",
    "qps": "Queries",
    "rows_per_second": "Rows loaded",
}


_STEPS = {
    "seconds": ((1, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns")),
    "bytes": ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1, "B")),
}


def benchmark_title(name: str) -> str:
    return BENCHMARKS.get(name, name.replace("_", " "))


def metric_title(name: str) -> str:
    return METRICS.get(name, name.replace("_", " "))


def human(value: float, unit: str, *, trim: bool = False) -> str:
    """``value`` in ``unit`` as one reads it, with three digits: 0.0012 seconds → "1.20 ms", 1_150_000_000 bytes → "1.15 GB".

    ``trim`` drops zeros at the end, for limits and axes: 0.02 seconds → "20 ms".
    """
    if unit == "seconds" and abs(value) >= 90:
        minutes, rest = divmod(round(value), 60)
        return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min {rest} s"
    if unit in _STEPS:
        size, name = next((step for step in _STEPS[unit] if abs(value) >= step[0] * 0.9995), _STEPS[unit][-1])
        number, name = value / size, f" {name}"
    else:
        number, name = value, {"ratio": "", "per_second": " /s"}.get(unit, f" {unit}".rstrip())
    text = _three(number)
    if unit == "ratio" and text == "1.00" and value != 1:
        text = f"{value:.5g}"  # 0.9995 is not 1
    if trim and "." in text:
        text = text.rstrip("0").rstrip(".")
    return text + name


def interval(metric: Metric) -> str | None:
    """The 95 % interval of a metric as one reads it, or None when none could be stated."""
    if metric.ci95 is None:
        return None
    low, high = (human(bound, metric.unit) for bound in metric.ci95)
    number, _, unit = low.rpartition(" ")
    same_unit = number and high.endswith(f" {unit}") and number.count(" ") == 0
    return f"{number} – {high}" if same_unit else f"{low} – {high}"


def limit_text(objective: Objective) -> str:
    sign = {"<=": "≤", ">=": "≥"}.get(objective.op, objective.op)
    return f"{sign} {human(objective.limit, UNITS.get(objective.metric, ''), trim=True)}"


def used(objective: Objective, value: float | None) -> float | None:
    """The share of what the limit allows that ``value`` uses up: 1 is at the limit, more is past it.

    For an upper limit that is value / limit. For a lower limit on a ratio it is the share of the allowed misses,
    (1 - value) / (1 - limit): recall 0.96 against 0.92 uses half of them. None when it cannot be said.
    """
    if value is None:
        return None
    if objective.op in ("<", "<="):
        return value / objective.limit if objective.limit > 0 else None
    if UNITS.get(objective.metric) == "ratio" and objective.limit < 1:
        return max(0.0, (1 - value) / (1 - objective.limit))
    return objective.limit / value if value > 0 else None


def headroom(objective: Objective) -> str:
    """What the limit still leaves, in per cent; "–" when there is no value."""
    share = used(objective, objective.value)
    if share is None:
        return "–"
    left = (1 - share) * 100
    if left < -999:
        return f"limit × {share:,.0f}"
    return f"{left:.0f} %".replace("-", "−")  # as wide as a digit


def gated(record: Record) -> bool:
    """Whether objectives gate this record: its own settings name its variant among the gated ones."""
    variants = record.settings.get("variants")
    return record.variant in variants if variants is not None else bool(record.objectives)


def slowest_xrt(records: list[Record]) -> dict[str, float]:
    """Device → the highest xRT among the gated engines measured on it (`whisper_xrt`)."""
    found: dict[str, float] = {}
    for record in records:
        metric = record.metrics.get("xrt")
        if record.benchmark == "transcription" and record.status == "measured" and metric and gated(record):
            found[record.device] = max(metric.value, found.get(record.device, 0.0))
    return found


def epoch(timestamp: str) -> float:
    """Seconds since 1970 of a timestamp as the records write it."""
    moment = datetime.fromisoformat(timestamp)
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def clock(timestamp: str | None) -> str:
    """``2026-11-22T02:00:00.000Z`` → "22 Nov 2026, 02:00 UTC"."""
    if not timestamp:
        return "–"
    return datetime.fromtimestamp(epoch(timestamp), UTC).strftime("%-d %b %Y, %H:%M UTC")


def _three(value: float) -> str:
    """Three significant digits, zeros kept."""
    size = abs(value)
    if size >= 99.95 or value == 0:
        return f"{value:,.0f}"
    return f"{value:.{min(12, 2 - math.floor(math.log10(size * 1.0005)))}f}"
