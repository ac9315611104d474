"""How often are the verdicts right? Simulated nights, judged by the functions that judge real ones; tables as Markdown.

`make judging` (about ten minutes). The nights of a series scatter by a known amount τ (sd of the logarithm between runs),
and the truth is known, so it can be counted how often an interval holds it and how often a verdict is wrong. Of each run
1,000 queries are drawn in six passes by two processes and estimated as a measurement does it.

Two truths: the intervals speak of all queries like those that were asked, the table of verdicts of the suite's own queries
over all runs, which are the same in every run of a series.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cache
from statistics import NormalDist, fmean, median
from typing import Any

import numpy as np
from scipy.special import ndtr

from nightgate import registry
from nightgate.judge import judge, state_intervals, wanted
from nightgate.judge.past import Measured, Night, Past
from nightgate.judge.scatter import learn
from nightgate.measure import estimates
from nightgate.metrics import MetricSpec
from nightgate.objectives import Limit
from nightgate.record import Look, Metric, Record, Verdict
from nightgate.transcription.metrics import XRT
from nightgate.transcription.repeats import Repeated
from nightgate.vector_search.metrics import LATENCY, RECALL

P95, RECALL_5 = LATENCY[95], RECALL[5]
QUERIES, PASSES, PROCESSES = 1000, 6, (0, 0, 0, 1, 1, 1)
OF_QUERIES, OF_CALLS = 0.17, 0.10  # sd of the logarithm: between queries, and between calls of one
TRUE_P95 = 0.010  # seconds, over all queries
HISTORY, SETTLED = 15, 30  # nights
MOST_NIGHTS = 20  # that a debt is followed
AT = "2026-01-01T00:00:00.000Z"


@dataclass(frozen=True)
class Runs:
    """Runs of one series that nothing has shifted: ``metrics``, the ``truth`` over all inputs, and ``own`` over its own."""

    spec: MetricSpec
    metrics: Sequence[Metric]
    truth: float
    own: float


def latencies(chance: np.random.Generator, count: int) -> Runs:
    """P95 of the same queries in ``count`` runs."""
    level = math.log(TRUE_P95) - NormalDist().inv_cdf(0.95) * math.hypot(OF_QUERIES, OF_CALLS)
    queries = level + chance.normal(0, OF_QUERIES, QUERIES)
    ends = [math.log(TRUE_P95) - 1, math.log(TRUE_P95) + 1]
    for _ in range(30):  # the share of calls below grows with the value
        middle = fmean(ends)
        ends[int(ndtr((middle - queries) / OF_CALLS).mean() > 0.95)] = middle
    found = []
    for _ in range(count):
        seconds = np.exp(queries + chance.normal(0, OF_CALLS, (PASSES, QUERIES)))
        value, n, ci95 = estimates.quantile(seconds, 0.95, processes=PROCESSES)
        part = estimates.shared(seconds, 0.95, processes=PROCESSES)
        found.append(Metric(value=value, unit=P95.unit, n=n, ci95=ci95, shared=part))
    return Runs(P95, found, TRUE_P95, math.exp(fmean(ends)))


def speech(chance: np.random.Generator, count: int) -> Runs:
    """xRT of fourteen clips in five repeats by two processes that differ by 1.5 %."""
    clips = chance.uniform(0.5, 1.5, 14)
    found = []
    for _ in range(count):
        shift = chance.normal(0, 0.015, 2)[[0, 0, 0, 1, 1]][:, None]
        seconds = clips * np.exp(shift + chance.normal(0, 0.03, (5, len(clips))))
        value, n, ci95 = Repeated(seconds).over(10 * float(clips.sum()))
        found.append(Metric(value=value, unit=XRT.unit, n=n, ci95=ci95))
    return Runs(XRT, found, 0.1, 0.1)


def recalls(chance: np.random.Generator, count: int) -> Runs:
    """recall@5 of the same queries, some of which find less in every run."""
    hard = chance.beta(9, 1, QUERIES)
    found = []
    for _ in range(count):
        value, n, ci95 = estimates.mean(hard)
        found.append(Metric(value=value, unit=RECALL_5.unit, n=n, ci95=ci95))
    return Runs(RECALL_5, found, 0.9, float(hard.mean()))


class Series:
    """Measurements of one series, each with the truth shifted by what differs between runs: normal, or of ``two_states`` that
    are twice the standard deviation apart."""

    def __init__(
        self,
        chance: np.random.Generator,
        runs: Runs,
        between: float,
        of_night: float = 0.0,
        *,
        two_states: bool = False,
    ) -> None:
        self.chance, self.runs, self.between, self.of_night = chance, runs, between, of_night
        self.two_states = two_states

    def night(self) -> Callable[[], Measured]:
        """The measurements of one night; a part ``of_night`` of the variance is theirs together."""
        common = self.between * math.sqrt(self.of_night) * self.chance.normal()

        def measure() -> Measured:
            apart = self.chance.choice((-1.0, 1.0)) if self.two_states else self.chance.normal()
            own = self.between * math.sqrt(1 - self.of_night) * apart
            metric = self.runs.metrics[int(self.chance.integers(len(self.runs.metrics)))]
            return Measured({self.runs.spec.name: shifted(metric, self.runs.spec, common + own)})

        return measure

    def history(self, nights: int) -> Past:
        return Past(tuple(Night(f"night-{number}", AT, (self.night()(),)) for number in range(nights)))


def shifted(metric: Metric, spec: MetricSpec, by: float) -> Metric:
    """The same measurement of a system that is slower by exp(``by``), or, of a share, better by ``by``."""

    def move(x: float) -> float:
        return x * math.exp(by) if spec.logarithmic else x + by

    assert metric.ci95
    return metric.model_copy(update={"value": move(metric.value), "ci95": tuple(map(move, metric.ci95))})


def record_of(spec: MetricSpec, measured: Measured) -> Record:
    benchmark = next(name for name, known in registry.installed().items() if spec in known.all_metrics)
    return Record(
        benchmark=benchmark, variant="v", device="cpu", status="measured", gated=True, started_at=AT,
        metrics={name: metric.model_copy() for name, metric in measured.metrics.items()},
    )  # fmt: skip


@dataclass(frozen=True)
class Judged:
    verdict: Verdict
    runs: int
    nights: int
    record: Record


def judged(series: Series, limit: float, past: Past) -> Judged:
    """One night as the street goes: measured, measured again for as long as that is wanted, judged."""
    spec = series.runs.spec
    limits = {spec.name: {"cpu": Limit(op=">=" if spec.higher_is_better else "<", limit=limit)}}
    measure = series.night()
    record = record_of(spec, measure())
    while wanted(record, limits, past):
        record.looks.append(Look(started_at=AT, metrics=dict(measure().metrics)))
    (objective,) = judge(record, limits, gated=True, past=past)
    record.objectives = [objective]
    return Judged(objective.verdict, 1 + len(record.looks), objective.nights, record)


def until_decided(series: Series, limit: float, past: Past, nights: int = MOST_NIGHTS) -> Iterator[Judged]:
    """Night after night, each of which knows those before, until one decides."""
    for number in range(nights):
        found = judged(series, limit, past)
        yield found
        if found.verdict != "inconclusive":
            return
        record = found.record
        points = (Measured(record.metrics), *(Measured(look.metrics) for look in record.looks))
        later = Night(f"later-{number}", AT, points, {one.metric: one for one in record.objectives})
        past = replace(past, nights=(*past.nights, later))


def coverage(
    make: Callable[[np.random.Generator, int], Runs],
    between: float,
    series: int,
    seed: int,
    *,
    history: int = HISTORY,
    two_states: bool = False,
) -> tuple[float, float]:
    """How often ``ci95`` of a run after ``history`` nights holds the truth over all inputs, and its median relative half-width."""
    chance = np.random.default_rng(seed)
    held, widths = [], []
    for _ in range(series):
        one = Series(chance, make(chance, history + 1), between, two_states=two_states)
        record = record_of(one.runs.spec, one.night()())
        state_intervals(record, registry.spec_of, one.history(history))
        metric = record.metrics[one.runs.spec.name]
        assert metric.ci95
        low, high = metric.ci95
        held.append(low <= one.runs.truth <= high)
        widths.append((high - low) / 2 / metric.value)
    return fmean(held), median(widths)


@cache
def sets_of_queries(count: int, seed: int) -> list[Runs]:
    """So many sets of queries, each with runs to draw from."""
    chance = np.random.default_rng(seed)
    return [latencies(chance, 30) for _ in range(count)]


@dataclass(frozen=True)
class Rates:
    """Of the nights of many series at one place: how they ended, and with how many runs. ``within_7``: how many were a
    breach by the seventh night, of ``decided_at`` the median night that decided, and the share decided within 20."""

    passed: float
    breached: float
    runs: float
    within_7: float
    decided: float
    median_night: float


def rates(
    place: float,
    between: float,
    series: int,
    seed: int,
    *,
    of_night: float = 0.0,
    history: int = SETTLED,
    of_all: bool = False,
    two_states: bool = False,
    most_nights: int = MOST_NIGHTS,
) -> Rates:
    """Of a P95 that lies at ``place`` times its limit: that of the suite's queries, or, with ``of_all``, of all like them."""
    chance = np.random.default_rng(seed)
    firsts: list[Judged] = []
    ends: list[tuple[Verdict, int]] = []
    runs = sets_of_queries(max(10, series // 20), seed)
    for number in range(series):
        one = Series(chance, runs[number % len(runs)], between, of_night, two_states=two_states)
        truth = one.runs.truth if of_all else one.runs.own
        nights = list(until_decided(one, truth / place, one.history(history), most_nights))
        firsts.append(nights[0])
        ends.append((nights[-1].verdict, len(nights)))
    decided = [night for verdict, night in ends if verdict != "inconclusive"]
    return Rates(
        passed=fmean(one.verdict == "pass" for one in firsts),
        breached=fmean(one.verdict == "breach" for one in firsts),
        runs=fmean(one.runs for one in firsts),
        within_7=fmean(verdict == "breach" and night <= 7 for verdict, night in ends),
        decided=len(decided) / len(ends),
        median_night=median(decided) if decided else math.nan,
    )


def after_a_step(between: float, step: float, nights_since: int, series: int, seed: int) -> tuple[float, float]:
    """The scatter between runs that is learned so many nights after the level rose by ``step`` (of the logarithm), and what
    the deviation of all nights from their mean would say: root mean squares."""
    chance = np.random.default_rng(seed)
    found, plain = [], []
    for _ in range(series):
        values = chance.normal(0, between, SETTLED)
        values[SETTLED - nights_since :] += step
        nights = (Measured({P95.name: Metric(value=math.exp(value), unit=P95.unit, n=1)}) for value in values)
        past = Past(tuple(Night(str(number), AT, (night,)) for number, night in enumerate(nights)))
        found.append(learn(past, P95).sd)
        plain.append(values.std(ddof=1))
    return math.sqrt(fmean(sd**2 for sd in found)), math.sqrt(fmean(sd**2 for sd in plain))


def seconds_to_judge(nights: int = 365, series: int = 20) -> float:
    """Seconds in which a run with so many series, each with so many nights of history, is judged: the best of three."""
    chance = np.random.default_rng(1)
    one = Series(chance, latencies(chance, 40), 0.03)
    known = registry.installed()["hybrid_ann"]
    names = [spec.name for spec in known.all_metrics if spec.logarithmic][:24]

    def filled(measured: Measured) -> dict[str, Metric]:
        return {name: measured.metrics[P95.name] for name in names}

    past = Past(
        tuple(replace(night, measured=(Measured(filled(night.measured[0])),)) for night in one.history(nights).nights)
    )
    limits = {P95.name: {"cpu": Limit(op="<", limit=1.0)}, "latency_p50": {"cpu": Limit(op="<", limit=1.0)}}
    took = []
    for _ in range(3):
        records = [record_of(P95, Measured(filled(one.night()()))) for _ in range(series)]
        start = time.perf_counter()
        for record in records:
            state_intervals(record, registry.spec_of, past)
            record.objectives = judge(record, limits, gated=True, past=past)
            wanted(record, limits, past)
        took.append(time.perf_counter() - start)
    return min(took)


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--series", type=int, default=1000, help="simulated series a row")
    asked.add_argument("--seed", type=int, default=1)
    given = asked.parse_args()
    print(f"{given.series} series a row, seed {given.seed}.")
    for table in (_coverage, _verdicts, _steps):
        print()
        for line in table(given.series, given.seed):
            print(line, flush=True)
    print(f"\nJudging 20 series with 365 nights each: {seconds_to_judge() * 1000:.0f} ms.")


def _coverage(series: int, seed: int) -> Iterator[str]:
    yield "| | τ | nights of history | the 95 % interval holds the truth | half its width, median |"
    yield "|---|---|---|---|---|"
    kinds = (
        ("P95", latencies, (0.0, 0.03, 0.08)), ("xRT", speech, (0.0, 0.03, 0.08)), ("recall@5", recalls, (0.0, 0.003, 0.008)),
    )  # fmt: skip
    settled = [(title, make, between, HISTORY, False) for title, make, scales in kinds for between in scales]
    young = [("P95", latencies, between, nights, False) for between in (0.03, 0.08) for nights in (3, 6)]
    flipping = [("P95 on a host of two states", latencies, 0.08, nights, True) for nights in (6, HISTORY, SETTLED)]
    for title, make, between, nights, two_states in (*settled, *young, *flipping):
        held, width = coverage(make, between, series, seed, history=nights, two_states=two_states)
        yield f"| {title} | {between:g} | {nights} | {held:.1%} | ±{width:.1%} |"


def _verdicts(series: int, seed: int) -> Iterator[str]:
    yield "| P95 over its limit | τ | pass, breach the same night | runs that night | breach by night 7 | decided in 20 nights | median night |"
    yield "|---|---|---|---|---|---|---|"
    settled: list[tuple[float, float, dict[str, Any]]] = [
        (place, between, {}) for between in (0.03, 0.08) for place in (0.8, 0.9, 0.95, 0.98, 1.0, 1.02, 1.05, 1.1)
    ]
    others = [
        (place, between, changes)
        for changes in ({"of_night": 1 / 3}, {"history": 0}, {"of_all": True}, {"two_states": True})
        for place, between in ((0.95, 0.03), (1.1, 0.03), (0.9, 0.08), (0.95, 0.08), (1.1, 0.08))
    ]
    told = {
        "of_night": ", a third of its square of the night",
        "history": ", no history",
        "of_all": ", of all such queries",
        "two_states": ", two states",
    }
    for place, between, changes in (*settled, *others):
        found = rates(place, between, series, seed, **changes)
        yield (
            f"| {place:.2f} | {between:.0%}{''.join(told[name] for name in changes)} | {found.passed:.1%}, {found.breached:.1%} "
            f"| {found.runs:.1f} | {found.within_7:.1%} | {found.decided:.1%} | {found.median_night:g} |"
        )


def _steps(series: int, seed: int) -> Iterator[str]:
    yield "| nights since a step of 10 %, τ 3 % | learned | deviation from the mean of all |"
    yield "|---|---|---|"
    for since in (0, 5, 15, 25):
        found, plain = after_a_step(0.03, 0.1, since, series, seed)
        yield f"| {since} | {found:.1%} | {plain:.1%} |"


if __name__ == "__main__":
    main()
