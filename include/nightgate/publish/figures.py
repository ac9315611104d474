"""Numbers for people: units, names, and how much of an objective's limit is used."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any

from nightgate.record import RECALLS, UNITS, Metric, Objective, Record

BENCHMARKS = {
    "transcription": "Transcription",
    "hybrid_ann": "Hybrid ANN",
    "pgvector_search": "pgvector search",
}

METRICS = {
    "xrt": "xRT",
    "wer": "Word error rate",
    "cer": "Character error rate",
    "xrt_p95": "P95 xRT",
    "rtfx": "RTFx",
    "batch_xrt": "Batch xRT",
    "batch_rtfx": "Batch RTFx",
    "first_segment_latency": "First segment",
    **{name: f"Recall@{depth}" for name, depth in RECALLS.items()},
    "recall_easy": "Recall, easy queries",
    "recall_middle": "Recall, middle queries",
    "recall_hard": "Recall, hard queries",
    "recall_p5": "Recall, worst 5 %",
    "route_recall": "Recall after routing",
    "scan_recall": "Recall after the scan",
    "latency_p50": "P50 latency",
    "latency_p95": "P95 latency",
    "latency_p99": "P99 latency",
    "qps": "Queries",
    "route_seconds": "Routing",
    "scan_seconds": "Scan",
    "rerank_seconds": "Rerank",
    "open_loop_p50": "P50, open loop",
    "open_loop_p95": "P95, open loop",
    "open_loop_p99": "P99, open loop",
    "throughput_qps": "Throughput",
    "prepare_seconds": "Preparing, all variants",
    "measure_seconds": "Measuring, all variants",
    "build_seconds": "Build",
    "build_peak_rss_bytes": "Peak memory of the build",
    "load_seconds": "Load",
    "rows_per_second": "Rows loaded",
    "index_bytes": "Index size",
    "peak_rss_bytes": "Peak memory",
    "first_touch": "First touch",
    "cold_start_first": "First query",
    "cold_start_p50": "P50 of the first queries",
}

HEADLINES: dict[str, tuple[str, ...]] = {
    "transcription": ("xrt", "wer", "cer", "batch_xrt", "xrt_p95", "first_segment_latency"),
    "hybrid_ann": ("recall_at_100", "latency_p50", "latency_p95", "throughput_qps", "build_seconds", "index_bytes"),
    "pgvector_search": ("recall_at_5", "latency_p50", "latency_p95", "throughput_qps", "build_seconds", "index_bytes"),
}
"""What one wants to know first of each benchmark, in this order. See `headlines`."""

_SHORT = {"wer": "WER", "cer": "CER", "index_bytes": "Index"}

_STEPS = {
    "seconds": ((1, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns")),
    "bytes": ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1, "B")),
}
_LONG = 600  # characters of one setting or detail
_MINUTES = 90  # seconds from which a time is read in minutes


def headlines(benchmark: str, records: Iterable[Record]) -> list[str]:
    """Those of `HEADLINES` that some record has; recall at the depth that was asked for, where that was chosen."""
    found: dict[str, None] = {}
    records = list(records)
    for name in HEADLINES.get(benchmark, ()):
        for record in records:
            k = record.settings.get("k") if name in RECALLS else None
            own = f"recall_at_{k}" if k else name
            if own in record.metrics:
                found[own] = None
    return list(found)


def benchmark_title(name: str) -> str:
    return BENCHMARKS.get(name, name.replace("_", " "))


def metric_title(name: str) -> str:
    return METRICS.get(name, name.replace("_", " "))


def short_title(name: str) -> str:
    """A metric's name where there is little room."""
    return _SHORT.get(name) or metric_title(name)


def human(value: float, unit: str, *, trim: bool = False) -> str:
    """``value`` in ``unit`` as one reads it, with three digits: 0.0012 seconds → "1.20 ms", 1_150_000_000 bytes → "1.15 GB".

    ``trim`` drops zeros at the end, for limits and axes: 0.02 seconds → "20 ms".
    """
    if unit == "seconds" and abs(value) >= _MINUTES:
        minutes, rest = divmod(round(value), 60)
        return f"{minutes // 60} h {minutes % 60} min" if minutes >= 60 else f"{minutes} min {rest} s"
    size, name = _step(value, unit)
    text = _three(value / size)
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


def with_interval(metric: Metric) -> str:
    """Value and 95 % interval in one: "0.080 (0.071–0.089)", "2.49 ms (2.43–2.57)"; the value alone without one."""
    if metric.ci95 is None:
        return human(metric.value, metric.unit)
    low, high = metric.ci95
    size, name = _step(metric.value, metric.unit)
    if high <= low or (metric.unit == "seconds" and metric.value >= _MINUTES):
        return f"{human(metric.value, metric.unit)} ({human(low, metric.unit)}–{human(high, metric.unit)})"
    value, low_text, high_text = _even(metric.value / size, low / size, high / size)
    return f"{value}{name} ({low_text}–{high_text})"


def times(ratio: float, ci95: tuple[float, float] | None) -> str:
    """A ratio and its interval: "1.52 × (1.47–1.57)"."""
    value, _, ends = with_interval(Metric(value=ratio, unit="ratio", n=1, ci95=ci95)).partition(" ")
    return f"{value} × {ends}".rstrip()


def signed(difference: float, ci95: tuple[float, float] | None) -> str:
    """A difference and its interval: "+0.012 (0.004–0.020)", "−0.012 (−0.028 to 0.004)"."""
    text = with_interval(Metric(value=difference, unit="ratio", n=1, ci95=ci95))
    if "(-" in text:
        text = text.replace("–", " to ")
    return ("+" * (difference > 0) + text).replace("-", "−")


def headline(record: Record) -> str:
    """A record in one line: "pywhispercpp on cpu: xRT 0.080 (0.071–0.089), WER 0.060 (0.041–0.084)"."""
    who = f"{record.variant} on {record.device}"
    if record.status != "measured":
        return f"{who}: {record.status}: {record.reason or 'no reason was given'}"
    names = headlines(record.benchmark, [record])
    return f"{who}: " + ", ".join(f"{short_title(name)} {with_interval(record.metrics[name])}" for name in names)


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


def named(values: Mapping[str, Any]) -> str:
    """A few values with their names, such as a setting: "lists 64, refine 5"."""
    return ", ".join(f"{name} {value}" for name, value in values.items())


def slowest_xrt(records: list[Record]) -> dict[str, float]:
    """Device → the highest xRT among the gated engines measured on it (`whisper_xrt`)."""
    found: dict[str, float] = {}
    for record in records:
        metric = record.metrics.get("xrt")
        if record.benchmark == "transcription" and record.status == "measured" and metric and record.gated:
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


def plain(value: Any) -> str:
    """A setting or detail as text: short, and never a wall."""
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "–"}[value]
    if isinstance(value, int):
        return f"{value:,}" if abs(value) >= 10_000 else str(value)
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, (list, tuple)) and not any(isinstance(item, (list, tuple, Mapping)) for item in value):
        text = ", ".join(plain(item) for item in value) or "none"
    elif isinstance(value, Mapping):
        text = named({key: plain(item) for key, item in value.items()}) or "none"
    else:
        text = value if isinstance(value, str) else json.dumps(value, default=str)
    return text if len(text) <= _LONG else f"{text[:_LONG]} … ({len(text):,} characters)"


def _step(value: float, unit: str) -> tuple[float, str]:
    """What ``value`` is divided by to be read, and what follows the number."""
    if unit in _STEPS:
        size, name = next((step for step in _STEPS[unit] if abs(value) >= step[0] * 0.9995), _STEPS[unit][-1])
        return size, f" {name}"
    return 1, {"ratio": "", "per_second": " /s"}.get(unit, f" {unit}".rstrip())


def _even(value: float, low: float, high: float) -> tuple[str, str, str]:
    """All three with the same decimals, low < high.

    The interval says how many mean something: those that show two digits of its width, but not more than three digits
    of the value unless one digit of the width needs them.
    """
    of_width = -math.floor(math.log10(high - low))  # decimals that show one digit of it
    of_value = 2 - math.floor(math.log10(abs(value) * 1.0005)) if value else of_width + 1
    decimals = min(12, max(0, of_width, min(of_width + 1, of_value)))
    return f"{value:,.{decimals}f}", f"{low:,.{decimals}f}", f"{high:,.{decimals}f}"


def _three(value: float) -> str:
    """Three significant digits, zeros kept."""
    size = abs(value)
    if size >= 99.95 or value == 0:
        return f"{value:,.0f}"
    return f"{value:.{min(12, 2 - math.floor(math.log10(size * 1.0005)))}f}"
