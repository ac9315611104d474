"""How sure, in words: what an interval holds, what an undecided verdict stands for, which runs confirmed a verdict, and what
disturbed a host."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal, NamedTuple

from nightgate import registry
from nightgate.facts import Noise
from nightgate.metrics import MetricSpec
from nightgate.publish.figures import human
from nightgate.record import Metric, Objective, Record

MARK = "†"
"""Behind a figure that was taken while the host was disturbed."""

UNDECIDED = (
    "Undecided: the limit lies inside the interval, so the runs so far can say neither. It is no pass and no breach. "
    "The nights that follow are judged together with this one, until the whole interval lies on one side."
)
"""What the verdict ``inconclusive`` stands for, and what settles it."""

DISTURBED = f"{MARK} was taken while the host was disturbed: it is shown and not judged. What has nothing to do with time is judged."


class Holds(NamedTuple):
    """Half the width of an interval (``whole``), of that of its run alone (``own``), the standard deviation ``between`` runs,
    and from what it is known (``learned``): "±3.1 %", "±2.0 %", "2.4 %", "17 runs"."""

    whole: str
    own: str
    between: str
    learned: str


def word(verdict: str) -> str:
    """A verdict, state or status as people read it: ``inconclusive`` is "undecided"."""
    return "undecided" if verdict == "inconclusive" else verdict


def host(record: Record) -> str | None:
    """How the host was while a record was measured, see `state_of`; None where nobody looked."""
    return state_of(record.facts.noise)


def state_of(noise: Noise | None) -> str | None:
    """The state of a host in words: "other programs took 0.1 of 2 cores · at full speed 62 % of the time, else 1.6 ×
    slower"; None where nobody looked."""
    if noise is None or noise.others is None or not noise.cores:
        return None
    parts = [f"other programs took {noise.others:.1f} of {noise.cores} cores"]
    if noise.at_full_speed is not None:
        slower = f", else {noise.slowdown:.1f} × slower" if noise.slowdown and noise.at_full_speed < 1 else ""
        parts.append(f"at full speed {noise.at_full_speed:.0%} of the time{slower}".replace("%", " %"))
    shares = {
        "taken by the hypervisor": noise.stolen,
        "held back by the cgroup": noise.throttled,
        "slowed for heat": noise.hot,
    }
    parts += [f"{share * 100:.0f} % {name}" for name, share in shares.items() if share and share >= 0.005]
    return " · ".join(parts)


def ended(record: Record) -> str | None:
    """What ended the repetition of a measurement: "until it was known to ±1.8 %"; None where nothing says so."""
    stopped, half = record.facts.stopped, record.facts.half_width
    if stopped is None:
        return None
    known = f"±{_percent(half)}" if half is not None else "no known precision"
    return f"until it was known to {known}" if stopped == "precision" else f"until its budget was spent, at {known}"


def said(objective: Objective, record: Record) -> str:
    """The verdict with how it came about: "pass, confirmed by 2 more runs", "undecided for 3 nights"."""
    before = objective.nights - 1
    if objective.verdict == "inconclusive":
        return f"undecided for {objective.nights} nights" if before else "undecided"
    text: str = objective.verdict
    if objective.verdict in ("pass", "breach"):
        more = len(looks(objective, record)) - 1
        if more > 0:
            text += f", confirmed by {more} more run{'s' * (more > 1)}"
        if before:
            text += f", together with the {f'{before} nights' if before > 1 else 'night'} before"
    return text


def looks(objective: Objective, record: Record) -> list[str]:
    """What each measurement of this night found of an objective's metric, the record's own first; empty if only one did."""
    found = [(record.metrics.get(objective.metric), disturbed(record))]
    found += [(look.metrics.get(objective.metric), look.disturbed) for look in record.looks]
    spec = registry.spec_of(record, objective.metric)
    values = [
        human(metric.value, metric.unit) + (MARK if why and spec.of_speed else "") for metric, why in found if metric
    ]
    return values if len(values) > 1 else []


def holds(metric: Metric, spec: MetricSpec) -> Holds | None:
    """What the 95 % interval of a metric holds; None when there is no interval.

    Of what is told by differences, such as recall, the sizes are in its unit.
    """
    if metric.ci95 is None:
        return None
    whole, between = f"±{_half(metric.ci95, metric, spec)}", metric.between
    if between is None:
        return Holds(whole, whole, "–", "this run alone")
    own = f"±{_half(metric.within95, metric, spec)}" if metric.within95 else "–"
    runs = f"{between.runs} run{'s' * (between.runs != 1)}"
    if between.prior:
        runs = (
            f"assumed, {runs} {'is' if between.runs == 1 else 'are'} too few"
            if between.runs
            else "assumed, no run before"
        )
    return Holds(whole, own, _size(between.sd, 1.0, metric, spec), runs)


def learned(metrics: Iterable[Metric]) -> str | None:
    """One sentence on where the scatter between runs in these intervals comes from; None when they hold none."""
    found = [metric.between for metric in metrics if metric.ci95 and metric.between]
    if not found:
        return None
    runs = [between.runs for between in found if not between.prior]
    parts = []
    if runs:
        few, many = min(runs), max(runs)
        parts.append(f"learned from {few if few == many else f'{few} to {many}'} run{'s' * (many > 1)}")
    if len(runs) < len(found):
        parts.append("assumed where there are too few yet" if runs else "assumed, there are too few yet")
    return f"The intervals hold what differs between runs too: {', '.join(parts)}."


def disturbed(record: Record) -> str | None:
    """Why the speeds of a record count for nothing; None when nothing disturbed its host."""
    return record.facts.noise.disturbed if record.facts.noise else None


def tolerances(records: Iterable[Record]) -> list[str]:
    """As `disturbances`, what would have disturbed a host that was declared as one that others use too."""
    return _causes(records, "tolerated")


def doubtful(record: Record, spec: MetricSpec) -> bool:
    """Whether a figure is shown and counts for nothing, because it is of time and its host was disturbed. One that an
    earlier run took says nothing of this night's host."""
    return spec.of_speed and disturbed(record) is not None and spec.name not in record.facts.earlier


def disturbances(records: Iterable[Record]) -> list[str]:
    """What disturbed the host, a sentence for each cause: "Hybrid ANN on cpu: another program kept 0.9 of 2 cores busy"."""
    return _causes(records, "disturbed")


def _causes(records: Iterable[Record], name: Literal["disturbed", "tolerated"]) -> list[str]:
    causes: dict[str, list[str]] = {}
    for record in records:
        if why := getattr(record.facts.noise, name, None):
            causes.setdefault(why.rstrip("."), []).append(f"{registry.title(record.benchmark)} on {record.device}")
    return [f"{', '.join(dict.fromkeys(where))}: {why}" for why, where in causes.items()]


def _half(ends: tuple[float, float], metric: Metric, spec: MetricSpec) -> str:
    return _size((ends[1] - ends[0]) / 2, metric.value, metric, spec)


def _size(value: float, whole: float, metric: Metric, spec: MetricSpec) -> str:
    """Of what is told by ratios the share of ``whole``, else the size in the unit of the metric."""
    if spec.logarithmic and whole > 0:
        return _percent(value / whole)
    return f"{value:.2g}" if metric.unit == "ratio" else human(value, metric.unit)


def _percent(share: float) -> str:
    """Two digits: 0.0243 → "2.4 %", 0.167 → "17 %"."""
    size = abs(share) * 100
    return f"{size:.0f} %" if size >= 9.95 or size == 0 else f"{size:.1f} %" if size >= 0.095 else f"{size:.2g} %"
