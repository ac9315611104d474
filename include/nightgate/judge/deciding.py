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
from nightgate.judge.scatter import NONE, Point, Scatter, learn, valid
from nightgate.judge.sequential import LOOKS, PATIENCE, Mean, Side, boundaries, mean_of, newest
from nightgate.metrics import MetricSpec
from nightgate.objectives import Limit
from nightgate.record import Op, Record, Verdict

COMPARE: Mapping[Op, Callable[[float, float], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}


_FAR = 1.96  # standard errors that the mean of further looks may move by


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
        """Whether no further run can decide: what all of them share (the same queries, the same clips) leaves too much open,
        wherever within its scatter their mean comes to lie."""
        shared = [
            one._replace(below=one.below * one.shared**0.5, above=one.above * one.shared**0.5) for one in self.night
        ]
        mean, common = (
            mean_of([self.night], self.scatter),
            mean_of([[one._replace(shared=1.0) for one in shared]], NONE),
        )
        aside = mean._replace(below=0.0, above=0.0).reach("above", _FAR)
        inside, outside = boundaries(LOOKS, pooled=False)
        places = (common._replace(value=mean.value + shift) for shift in (-aside, aside))
        return all(self._verdict(place, inside, outside) is None for place in places)

    @property
    def bound(self) -> float:
        """The limit on the scale of the metric."""
        if not self.spec.logarithmic:
            return self.limit.limit
        return math.log(self.limit.limit) if self.limit.limit > 0 else -math.inf

    def _decisions(self) -> Iterator[Decision]:
        for look in range(1, len(self.night) + 1):
            tonight = self.night[:look]
            alone = mean_of((tonight,), self.scatter)
            yield Decision(self._verdict(alone, *boundaries(look, pooled=False)), alone, 0, look)
            if self.debt:
                pooled = mean_of(newest((*self.debt, tonight)), self.scatter)
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
    debt = _debt(past.nights, spec, limit, record.facts.provenance.versions)
    return Case(
        spec,
        limit,
        tuple(valid(measured(record), spec)),
        tuple(tuple(points) for points in debt),
        len(debt),
        learn(past, spec),
    )


def measured(record: Record) -> tuple[Measured, ...]:
    """All measurements of the night, the record's own first."""
    own = Measured(record.metrics, getattr(record.facts.noise, "disturbed", None))
    return (own, *(Measured(look.metrics, look.disturbed) for look in record.looks))


def wants_another(case: Case, record: Record) -> bool:
    """Whether one more run tonight can help the objective, see `judge.wanted`."""
    made = measured(record)
    gave_up = case.spec.of_speed and len(made) > 1 and all(one.disturbed for one in made[-2:])
    if len(made) >= LOOKS or gave_up:
        return False
    if not case.night:
        return case.spec.of_speed and any(one.disturbed for one in made)
    if case.decide().verdict is not None or case.hopeless():
        return False
    outside = not COMPARE[case.limit.op](case.night[0].value, case.bound)
    return outside or sum(map(len, case.debt)) + len(case.night) < PATIENCE


def _debt(nights: Sequence[Night], spec: MetricSpec, limit: Limit, versions: Mapping[str, str]) -> list[list[Point]]:
    """The looks of the nights directly before that could not decide this limit, oldest first. A night whose speeds count for
    nothing neither pays nor ends a debt; one of other versions says nothing of what is measured now, and ends it."""
    owed: list[list[Point]] = []
    for night in reversed(nights):
        before = night.verdicts.get(spec.name)
        if before is None or (before.op, before.limit) != (limit.op, limit.limit) or night.versions != versions:
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
