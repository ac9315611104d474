"""Numbers for people: units, names, and how much of an objective's limit is used."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from nightgate import registry
from nightgate.metrics import MetricSpec
from nightgate.objectives import Limit
from nightgate.record import Host, Metric, Objective, Record

_STEPS = {
    "seconds": ((1, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns")),
    "bytes": ((1e12, "TB"), (1e9, "GB"), (1e6, "MB"), (1e3, "kB"), (1, "B")),
}
_FIRST = 6  # metrics of a benchmark that is not here any more
_LONG = 600  # characters of one setting or detail
_MINUTES = 90  # seconds from which a time is read in minutes


def headlines(records: Sequence[Record]) -> list[str]:
    """The metrics that one wants to know first of records of one benchmark, as it declares them."""
    if not records:
        return []
    known = registry.installed().get(records[0].benchmark)
    names = known.headline(records) if known else tuple(records[0].metrics)[:_FIRST]
    return list(names)


def of_objectives(records: Iterable[Record]) -> list[Metric]:
    """What was measured of every metric that an objective is about."""
    return [m for record in records for o in record.objectives if (m := record.metrics.get(o.metric))]


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
    names = headlines([record])
    return f"{who}: " + ", ".join(
        f"{registry.spec_of(record, name).short_title} {with_interval(record.metrics[name])}" for name in names
    )


def gpu_text(host: Host) -> str:
    """The GPU of a host in one line: its name, its memory, and what its driver is and allows."""
    if host.gpu_fault:
        return host.gpu_fault
    facts = host.gpu_facts
    if facts is None:
        return host.gpu or "none"
    parts = [
        facts.name,
        f"{facts.memory_bytes / 2**30:.0f} GiB",
        facts.driver and f"driver {facts.driver}",
        facts.cuda and f"CUDA {facts.cuda}",
        facts.compute_capability and f"compute capability {facts.compute_capability}",
        facts.power_limit_watts and f"up to {facts.power_limit_watts:.0f} W",
        facts.max_sm_clock_mhz and f"{facts.max_sm_clock_mhz} MHz",
        facts.max_memory_clock_mhz and f"memory {facts.max_memory_clock_mhz} MHz",
    ]
    return ", ".join(part for part in parts if part)


def limit_text(objective: Objective | Limit, spec: MetricSpec) -> str:
    sign = {"<=": "≤", ">=": "≥"}.get(objective.op, objective.op)
    return f"{sign} {human(objective.limit, spec.unit, trim=True)}"


def used(objective: Objective, value: float | None, spec: MetricSpec) -> float | None:
    """The share of what the limit allows that ``value`` uses up: 1 is at the limit, more is past it.

    For an upper limit that is value / limit. For a lower limit on a share it is what is missing of what may be missing,
    (1 - value) / (1 - limit): recall 0.96 against 0.92 uses half of it. None when it cannot be said.
    """
    if value is None:
        return None
    if objective.op in ("<", "<="):
        return value / objective.limit if objective.limit > 0 else None
    if spec.share and objective.limit < 1:
        return max(0.0, (1 - value) / (1 - objective.limit))
    return objective.limit / value if value > 0 else None


def headroom(objective: Objective, spec: MetricSpec) -> str:
    """What the limit still leaves, in per cent; "–" when there is no value."""
    share = used(objective, objective.value, spec)
    if share is None:
        return "–"
    left = (1 - share) * 100
    if left < -999:
        return f"limit × {share:,.0f}"
    return f"{left:.0f} %".replace("-", "−")  # as wide as a digit


def named(values: Mapping[str, Any]) -> str:
    """A few values with their names, such as a setting: "lists 64, refine 5"."""
    return ", ".join(f"{name} {value}" for name, value in values.items())


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
