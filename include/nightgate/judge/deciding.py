"""One objective of one record: the looks of the night, one after the other, until they decide.

Each look is judged with those before it, first the night alone, then together with the undecided nights directly before.
The first decision stands, so that a later look changes nothing, and a night that comes later never does.
"""

from __future__ import annotations

import math
import operator
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from nightgate.judge.past import Measured, Night, Past
from nightgate.judge.scatter import Point, Scatter, learn, own_interval, valid
from nightgate.judge.sequential import LOOKS, POOLED, Mean, Side, boundaries, newest
from nightgate.metrics import MetricSpec
from nightgate.objectives import Limit
from nightgate.record import Metric, Op, Record, Verdict

COMPARE: Mapping[Op, Callable[[float, float], bool]] = {
    "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
}  # fmt: skip


@dataclass(frozen=True)
class Decision:
    """``verdict`` on the ``mean``, of so many undecided ``nights`` and this one, at the ``look`` of the night that decided,
    or the last. ``None``: undecided."""

    verdict: Verdict | None
    mean: Mean
    nights: int
    look: int


@dataclass(frozen=True)
class Case:
    """What there is to judge of one metric: the valid looks of the ``night``, the looks of undecided nights before it
    (``debt``), and how the series scatters."""

    spec: MetricSpec
    limit: Limit
    night: tuple[Point, ...]
    debt: tuple[tuple[Point, ...], ...]
    owed: int
    scatter: Scatter

    def decide(self) -> Decision:
        """The first decision, or the last mean without one. There is at least one look."""
        decision = None
        for decision in self._decisions():
            if decision.verdict is not None:
                break
        assert decision
        return decision

    def hopeless(self) -> bool:
        """Whether no further run can decide, because what all of them share (the same queries, the same clips) is too near
        the limit already."""
        shared = Mean(
            (
                tuple(
                    Point(one.value, one.below * one.shared**0.5, one.above * one.shared**0.5, 1.0)
                    for one in self.night
                ),
            ),
            Scatter(0.0, 0.0, self.scatter.freedom, 0, False, 0.0),
        )
        return self._verdict(shared, *boundaries(LOOKS, pooled=False)) is None

    @property
    def bound(self) -> float:
        """The limit on the scale of the metric."""
        if not self.spec.logarithmic:
            return self.limit.limit
        return math.log(self.limit.limit) if self.limit.limit > 0 else -math.inf

    def _decisions(self) -> Iterator[Decision]:
        for look in range(1, len(self.night) + 1):
            tonight = self.night[:look]
            alone = Mean((tonight,), self.scatter)
            yield Decision(self._verdict(alone, *boundaries(look, pooled=False)), alone, 0, look)
            if self.debt:
                pool = newest((*self.debt, tonight))
                pooled = Mean(pool, self.scatter)
                yield Decision(self._verdict(pooled, *boundaries(look, pooled=True)), pooled, self.owed, look)

    def _verdict(self, mean: Mean, inside: float, outside: float) -> Verdict | None:
        holds, bound = COMPARE[self.limit.op], self.bound
        if mean.certain:
            return "pass" if holds(mean.value, bound) else "breach"
        bad, good, sign = _sides(self.limit.op)
        if holds(mean.value + sign * mean.reach(bad, inside), bound):
            return "pass"
        far = math.isfinite(outside) and not holds(mean.value - sign * mean.reach(good, outside), bound)
        return "breach" if far else None


def case(record: Record, spec: MetricSpec, limit: Limit, past: Past) -> Case:
    """What there is to judge of the metric ``spec`` of ``record``."""
    debt = _debt(past.nights, spec, limit)
    return Case(
        spec, limit, tuple(valid(measured(record), spec)), tuple(tuple(points) for points in debt), len(debt), learn(past, spec)
    )  # fmt: skip


def measured(record: Record) -> tuple[Measured, ...]:
    """All measurements of the night, the record's own first."""
    own = Measured(record.metrics, getattr(record.facts.noise, "disturbed", None))
    return (own, *(Measured(look.metrics, look.disturbed) for look in record.looks))


def told(metric: Metric, scatter: Scatter) -> bool:
    """Whether an interval can be stated of one run: it has its own, it is a single number, or the history of the series
    holds whatever else its few samples hide."""
    return own_interval(metric) is not None or metric.n == 1 or not scatter.prior


def wants_another(case: Case, record: Record) -> bool:
    """Whether one more run tonight can help the objective, see `judge.wanted`."""
    made = measured(record)
    if len(made) >= LOOKS:
        return False
    if not case.night:
        return len(made) < 2 and case.spec.name in record.metrics  # disturbed; twice is enough
    if made[-1].disturbed and made[-2].disturbed if len(made) > 1 else False:
        return False
    found = case.decide()
    if found.verdict is not None or case.hopeless():
        return False
    outside = not COMPARE[case.limit.op](case.night[0].value, case.bound)
    return outside or sum(map(len, case.debt)) + len(case.night) < POOLED


def _debt(nights: Sequence[Night], spec: MetricSpec, limit: Limit) -> list[list[Point]]:
    """The looks of the nights directly before that could not decide this limit, oldest first. A night whose speeds count for
    nothing neither pays nor ends a debt."""
    owed: list[list[Point]] = []
    for night in reversed(nights):
        before = night.verdicts.get(spec.name)
        if before is None or (before.op, before.limit) != (limit.op, limit.limit):
            break
        if before.verdict == "invalid":
            continue
        if before.verdict != "inconclusive":
            break
        if points := valid(night.measured, spec):
            owed.append(points)
    return owed[::-1]


def _sides(op: Op) -> tuple[Side, Side, float]:
    """On which side of the mean a worse truth lies, on which a better one, and the sign of worse."""
    return ("above", "below", 1.0) if op in ("<", "<=") else ("below", "above", -1.0)
