"""Every objective of a run as the tables of report, board and terminal show it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from nightgate import registry
from nightgate.metrics import MetricSpec
from nightgate.publish import certainty, figures
from nightgate.record import Metric, Objective, Record

GRAVITY = ("breach", "invalid", "inconclusive", "pass")
"""The verdicts, the gravest first."""


def objective_rows(records: Iterable[Record]) -> list[dict[str, Any]]:
    """A row for each objective, the gravest first.

    ``word`` is the verdict as people read it, and ``notes`` what is to be known of it, a line each. ``doubtful``: the value
    was taken while the host was disturbed.
    """
    rows = [_row(record, objective) for record in records for objective in record.objectives]
    return sorted(rows, key=lambda row: GRAVITY.index(row["verdict"]))


def met(objective: Objective, record: Record) -> Metric | None:
    """What an objective was held against its limit, or what was measured where nothing could be; None without a value."""
    measured = record.metrics.get(objective.metric)
    if objective.value is None:
        return measured
    ci95 = objective.ci95 or (measured.ci95 if measured else None)
    unit = registry.spec_of(record, objective.metric).unit
    return Metric(value=objective.value, unit=unit, n=measured.n if measured else 1, ci95=ci95)


def value_text(metric: Metric | None, record: Record, spec: MetricSpec) -> str:
    """A value, marked where it counts for nothing; "–" where there is none."""
    if metric is None:
        return "–"
    return figures.human(metric.value, metric.unit) + certainty.MARK * certainty.doubtful(record, spec)


def unjudged(objective: Objective, record: Record, spec: MetricSpec) -> bool:
    """Whether an objective could not be judged because the host was disturbed: a run on a quiet one may have come after."""
    return objective.verdict == "invalid" and certainty.doubtful(record, spec)


def _row(record: Record, objective: Objective) -> dict[str, Any]:
    spec, metric = registry.spec_of(record, objective.metric), met(objective, record)
    doubtful = unjudged(objective, record, spec)
    value = figures.human(metric.value, metric.unit) + certainty.MARK * doubtful if metric else "–"
    return {
        "benchmark": registry.title(record.benchmark),
        "variant": record.variant,
        "device": record.device,
        "metric": spec.title,
        "limit": figures.limit_text(objective, spec),
        "value": value,
        "interval": (metric and figures.interval(metric)) or "–",
        "headroom": "–" if doubtful else figures.headroom(objective, spec),
        "used": None if doubtful else figures.used(objective, objective.value, spec),
        "verdict": objective.verdict,
        "word": certainty.word(objective.verdict),
        "notes": _notes(record, objective),
        "reason": objective.reason,
        "doubtful": doubtful,
        "nights": objective.nights,
        "key": (record.benchmark, record.variant, record.device, objective.metric),
        "raw": objective.value,
        "unit": spec.unit,
    }


def _notes(record: Record, objective: Objective) -> list[str]:
    reason = objective.reason if objective.verdict != "pass" else None
    said, values = certainty.said(objective, record), certainty.looks(objective, record)
    known = said == certainty.word(objective.verdict) or said in (reason or "")
    runs = f"the runs of this night: {' · '.join(values)}" if values else ""
    return [line for line in (reason, "; ".join(filter(None, ("" if known else said, runs)))) if line]
