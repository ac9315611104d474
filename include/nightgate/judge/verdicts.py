"""Does an objective hold, and how sure are we?

    pass          the mean of the night's runs lies inside its limit, and further than chance takes it there
    breach        it lies outside, and further than chance takes it there, in two runs or more
    inconclusive  neither: the nights to come are added until it is decided
    invalid       there is no number to judge, or the host was disturbed and the number is a speed

How far chance reaches is what one run leaves open and what differs between runs: `judge.scatter`. How often one may look is
in `judge.sequential`. A number that stands for itself (``n`` = 1, such as a file size, of a series in which it never
differed) is compared as it is.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping

from nightgate import registry
from nightgate.judge.deciding import COMPARE, Case, Decision, case, measured, wants_another
from nightgate.judge.past import Past
from nightgate.judge.scatter import Scatter, learn, own_interval, point, stands
from nightgate.judge.sequential import mean_of
from nightgate.metrics import MetricSpec
from nightgate.objectives import Limit, limit_of
from nightgate.record import Between, Metric, Objective, Record, Verdict

_GRAVEST: tuple[Verdict, ...] = ("breach", "invalid", "inconclusive")

Limits = Mapping[str, Mapping[str, Limit]]
"""Metric → variant or device → limit."""


def judge(
    record: Record,
    limits: Limits,
    *,
    gated: bool,
    expected: bool = False,
    past: Past = Past(),  # noqa: B008
) -> list[Objective]:
    """The verdict on each objective that applies to ``record``: a limit of its variant, else of its device.

    A control (``gated`` false) has none, it is reported and does not gate; nor has a skipped record, unless it was
    ``expected`` because the host did measure others like it: what is missing never passes.

    Args:
        past: what is known of the record's series from before this night.
    """
    if not gated or (record.status == "skipped" and not expected):
        return []
    return [_judge_one(record, metric, limit, past) for metric, limit in _applicable(record, limits).items()]


def wanted(record: Record, limits: Limits, past: Past) -> tuple[str, ...]:
    """The metrics of which one more measurement of this night is wanted, in new processes: the night has not decided them,
    or the first found their speeds on a disturbed host. No more than four measurements, and none where all of them would
    share what leaves it open, as the clips of an error rate."""
    if record.status != "measured":
        return ()
    asked = {}
    for metric, limit in _applicable(record, limits).items():
        if metric not in record.metrics:
            continue
        asked[metric] = wants_another(case(record, registry.spec_of(record, metric), limit, past), record)
    return tuple(metric for metric, wants in asked.items() if wants)


def state_intervals(record: Record, spec_of: Callable[[Record, str], MetricSpec], past: Past) -> None:
    """Let the intervals of ``record`` and of its looks hold what differs between runs as well: ``ci95``, with ``within95``
    and ``between`` beside it. Done again it changes nothing."""
    for name in {name for one in measured(record) for name in one.metrics}:
        spec = spec_of(record, name)
        scatter = learn(past, spec)
        for metrics in (record.metrics, *(look.metrics for look in record.looks)):
            if metric := metrics.get(name):
                _state(metric, spec, scatter)


def night(records: Iterable[Record]) -> Verdict:
    """The state of the whole run: the gravest of its verdicts.

    A run in which nothing was judged is invalid, and so is one in which a gated variant failed that no objective is about.
    """
    records = list(records)
    verdicts = {objective.verdict for record in records for objective in record.objectives}
    if any(failed_unjudged(record) for record in records):
        verdicts.add("invalid")
    for grave in _GRAVEST:
        if grave in verdicts:
            return grave
    return "pass" if verdicts else "invalid"


def _applicable(record: Record, limits: Limits) -> dict[str, Limit]:
    found = {metric: limit_of(of, record.variant, record.device) for metric, of in limits.items()}
    return {metric: limit for metric, limit in found.items() if limit is not None}


def failed_unjudged(record: Record) -> bool:
    """Whether a gated variant failed that no objective is about."""
    return record.status == "failed" and record.gated and not record.objectives


def _judge_one(record: Record, name: str, limit: Limit, past: Past) -> Objective:
    def verdict(of: Verdict, value: float | None, reason: str | None = None) -> Objective:
        return Objective(metric=name, op=limit.op, limit=limit.limit, value=value, verdict=of, reason=reason)

    if record.status != "measured":
        return verdict("invalid", None, record.reason or "it was not measured")
    metric = record.metrics.get(name)
    if metric is None:
        return verdict("invalid", None, f"the measurement gave no {name}")
    spec = registry.spec_of(record, name)
    one = case(record, spec, limit, past)
    if not one.night:
        of, why = _why_nothing_counts(record, metric, spec)
        return verdict(of, metric.value, why)
    found = one.decide()
    ends = None if found.mean.certain else found.mean.interval()
    stated = ends and (_back(spec, ends[0]), _back(spec, ends[1]))
    judged = verdict(found.verdict or "inconclusive", _value(found, spec, metric))
    judged.ci95, judged.looks, judged.nights = stated, found.mean.looks, found.nights + 1
    if found.verdict is None:
        judged.reason = _why_undecided(one, found, judged)
    elif found.verdict == "breach":
        judged.reason = record.reason  # what the benchmark itself knows of the cause
    return judged


def _value(found: Decision, spec: MetricSpec, metric: Metric) -> float:
    """The mean; of the record's own measurement alone its very value, which no logarithm has rounded."""
    value = _back(spec, found.mean.value)
    return metric.value if math.isclose(value, metric.value, rel_tol=1e-12) else value


def _back(spec: MetricSpec, value: float) -> float:
    """From the scale of comparison to that of the metric."""
    if spec.logarithmic:
        return math.exp(value)
    return min(1.0, max(0.0, value)) if spec.share else max(0.0, value)


def _why_nothing_counts(record: Record, metric: Metric, spec: MetricSpec) -> tuple[Verdict, str]:
    """What to say where no look can be judged."""
    disturbed = [one.disturbed for one in measured(record) if one.disturbed]
    if disturbed and spec.of_speed:
        again = " (measured again, and disturbed again)" if len(disturbed) > 1 else ""
        return "invalid", f"the host was disturbed: {disturbed[0]}{again}"
    if stands(metric):
        return "invalid", f"{metric.value:g} is no {metric.unit} that can be judged"
    return "inconclusive", f"{metric.n} samples are too few to state an interval"


def _why_undecided(case: Case, found: Decision, judged: Objective) -> str:
    runs = f"{judged.looks} run{'s' * (judged.looks > 1)}" + f" of {judged.nights} nights" * (judged.nights > 1)
    assert judged.ci95  # what stands for itself is decided
    low, high = judged.ci95
    within = COMPARE[case.limit.op](low, case.limit.limit) != COMPARE[case.limit.op](high, case.limit.limit)
    outside = not COMPARE[case.limit.op](found.mean.value, case.bound)
    if within:
        why = f"the limit lies inside the 95 % interval of {runs}"
    elif outside and judged.looks == 1:
        why = "outside, but not confirmed by a second run"
    else:
        why = f"the limit lies too near the 95 % interval of {runs}"
    if case.scatter.prior and case.scatter.sd > 0:
        scale = f"{case.scatter.sd:.1%}" if case.spec.logarithmic else f"{case.scatter.sd:.2g}"
        why += f"; runs are assumed to differ by {scale}, too few are known"
    return why + (f"; undecided for {judged.nights} nights" if judged.nights > 1 else "")


def _state(metric: Metric, spec: MetricSpec, scatter: Scatter) -> None:
    own, at = own_interval(metric), point(metric, spec)
    if at is None or (scatter.runs == 0 and scatter.sd == 0):
        return
    metric.within95 = own
    metric.between = Between(
        sd=scatter.beside(at), apart=scatter.apart, farthest=scatter.farthest, runs=scatter.runs, prior=scatter.prior
    )
    mean = mean_of(((at,),), scatter)
    if stands(metric) and not mean.certain:
        low, high = mean.interval()
        metric.ci95 = (_back(spec, low), _back(spec, high))
    else:
        metric.ci95 = own
