"""What is said when recall and latency cannot hold together: what comes closest, and which index would hold both."""

from __future__ import annotations

import math
from collections.abc import Sequence

from nightgate.facts import Point, Tuning
from nightgate.record import Record


def shortfall(record: Record, beside: Sequence[Record]) -> str | None:
    """Why the objectives cannot hold together at this number of lists, with what comes closest, or None.

    Args:
        beside: the other records of the run, among which an index with more lists may hold both.
    """
    settings, tuning = record.settings, record.facts.tuning
    if tuning is None or not tuning.curve or "latency_p95" not in record.metrics:
        return None
    wanted, limit, curve = settings["recall_target"], settings["latency_target"], tuning.curve
    where = f"at lists={record.detail['build']['lists']}" if "probes" in curve[0].setting else ""
    if not tuning.reached:
        best = max(curve, key=lambda point: point.recall)
        what = f"recall {wanted:g} with its margin is out of reach {where}".rstrip() + f": {_said(best)} comes closest"
    elif record.metrics["latency_p95"].value >= limit:
        chosen = _chosen(tuning)
        nearest = [point for point in curve if _p95(point) < limit and point is not chosen]
        less = f", {_said(max(nearest, key=lambda point: point.recall))}" if nearest else ""
        both = f"recall {wanted:g} and P95 {limit * 1e3:g} ms do not hold together {where}".rstrip()
        what = f"{both}: {_said(chosen)}{less}"
    else:
        return None
    return f"{what}; {_better(record, beside)}"


def _better(record: Record, beside: Sequence[Record]) -> str:
    """Another index that was measured in this run and holds both, or pgvector's own advice."""
    for other in beside:
        tuning = other.facts.tuning
        if other.status == "measured" and other.variant != record.variant and tuning and tuning.reached:
            chosen = _chosen(tuning)
            if _p95(chosen) < record.settings["latency_target"]:
                return f"{other.variant} holds both: {_said(chosen)}"
    vectors = record.facts.vectors
    rows = (vectors and vectors.rows) or record.settings["rows"]
    advised = max(1, round(rows / 1000) if rows <= 1_000_000 else round(rows**0.5))
    return f"pgvector advises lists={advised} for {rows:,} rows"


def _chosen(tuning: Tuning) -> Point:
    assert tuning.chosen, "the measured setting was one of those that were tried"
    return tuning.chosen


def _p95(point: Point) -> float:
    return math.inf if point.latency_p95 is None else point.latency_p95


def _said(point: Point) -> str:
    ((name, value),) = point.setting.items()
    return f"{name}={value} gives recall {point.recall:.3f} in P95 {_p95(point) * 1e3:.1f} ms"
