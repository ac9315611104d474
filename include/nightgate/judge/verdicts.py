"""Does an objective hold, and how sure are we?

The verdict compares the whole 95 % interval with the limit, so each side has a 97.5 % confidence of its own:

    pass          the whole interval is on the good side
    breach        the whole interval is on the bad side
    inconclusive  the limit lies inside the interval, or there were too few samples to state one
    invalid       there is no number to judge

A number that stands for itself (``n`` = 1, such as a file size) is compared as it is.
"""

from __future__ import annotations

import operator
from collections.abc import Iterable, Mapping
from typing import Any

from nightgate.objectives import limit_of
from nightgate.record import Objective, Record, Verdict
from nightgate.suite import Limit

_GRAVEST: tuple[Verdict, ...] = ("breach", "invalid", "inconclusive")
_COMPARE = {"<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge}


def judge(
    record: Record, limits: Mapping[str, Mapping[str, Limit]], *, gated: bool, expected: bool = False
) -> list[Objective]:
    """The verdict on each objective (metric → device or variant → limit) that applies to ``record``.

    A control (``gated`` false) has none, it is reported and does not gate; nor has a skipped record, unless it was
    ``expected`` because the host did measure others like it: what is missing never passes.
    """
    if not gated or (record.status == "skipped" and not expected):
        return []
    applicable = {metric: limit_of(of, record.variant, record.device) for metric, of in limits.items()}
    return [_judge_one(record, metric, limit) for metric, limit in applicable.items() if limit]


def night(records: Iterable[Record]) -> Verdict:
    """The state of the whole run: the gravest of its verdicts.

    A run in which nothing was judged is invalid, and so is one in which a gated variant failed that no objective is about.
    """
    records = list(records)
    verdicts = {objective.verdict for record in records for objective in record.objectives}
    if any(_failed_unjudged(record) for record in records):
        verdicts.add("invalid")
    for grave in _GRAVEST:
        if grave in verdicts:
            return grave
    return "pass" if verdicts else "invalid"


def unmet(records: Iterable[Record]) -> list[str]:
    """One sentence for each objective that does not pass, and each gated variant that failed without one, the gravest first."""
    found: list[tuple[int, str]] = []
    for record in records:
        for o in record.objectives:
            if o.verdict != "pass":
                value = "no value" if o.value is None else f"{o.value:.4g}"
                sentence = (
                    f"{record.benchmark} {record.variant} on {record.device}: {o.metric} is {value}, "
                    f"the objective is {o.op} {o.limit:g}: {o.verdict}"
                )
                found.append((_GRAVEST.index(o.verdict), f"{sentence} ({o.reason})" if o.reason else sentence))
        if _failed_unjudged(record):
            what = f"{record.benchmark} {record.variant} on {record.device} failed: {record.reason or 'no reason was given'}"
            found.append((_GRAVEST.index("invalid"), what))
    return [sentence for _, sentence in sorted(found)]


def _failed_unjudged(record: Record) -> bool:
    return record.status == "failed" and record.gated and not record.objectives


def _judge_one(record: Record, metric: str, limit: Limit) -> Objective:
    def verdict(of: Verdict, value: float | None, reason: str | None = None) -> Objective:
        return Objective(metric=metric, op=limit.op, limit=limit.limit, value=value, verdict=of, reason=reason)

    def breach(value: float) -> Objective:
        return verdict("breach", value, record.reason)  # what the benchmark itself knows of the cause

    if record.status != "measured":
        return verdict("invalid", None, record.reason or "it was not measured")
    measured: Any = record.metrics.get(metric)
    if measured is None:
        return verdict("invalid", None, f"the measurement gave no {metric}")
    holds = _COMPARE[limit.op]
    if measured.ci95 is None:
        if measured.n > 1:
            return verdict("inconclusive", measured.value, f"{measured.n} samples are too few to state an interval")
        return verdict("pass", measured.value) if holds(measured.value, limit.limit) else breach(measured.value)
    sides = {holds(end, limit.limit) for end in measured.ci95}
    if sides == {True}:
        return verdict("pass", measured.value)
    if sides == {False}:
        return breach(measured.value)
    low, high = measured.ci95
    return verdict("inconclusive", measured.value, f"the limit lies inside the 95 % interval, {low:.4g} to {high:.4g}")
