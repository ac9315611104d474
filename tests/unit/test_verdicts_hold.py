"""What must be true of every verdict, whatever was measured: tried on seeded series of many kinds."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from nightgate import registry
from nightgate.judge import judge, state_intervals, wanted
from nightgate.judge.past import Measured, Night, Past
from nightgate.objectives import Limit
from nightgate.record import Look, Record
from nightgate.vector_search.latency import add_latencies
from nightgate.vector_search.metrics import LATENCY, RECALL

ORDER = {"pass": 0, "inconclusive": 1, "breach": 2}
LIMIT = 0.010
LIMITS = {"latency_p95": {"cpu": Limit(op="<", limit=LIMIT)}}
PROCESSES = (0, 0, 1, 1)


def calls(chance, level, between=0.0):
    """int64 ns, (4 passes, 200 queries), whose P95 is about ``level`` seconds."""
    logs = chance.normal(0, 0.12, 200) + chance.normal(0, 0.08, (4, 200)) + chance.normal(0, between)
    return (level * 1e9 * np.exp(logs - 0.237)).astype(np.int64)


def record(*measurements):
    """One record: the first of ``measurements`` (calls as above) is its own, the others are looks."""
    made = [
        Record(benchmark="hybrid_ann", variant="v", device="cpu", status="measured", gated=True) for _ in measurements
    ]
    for one, durations in zip(made, measurements, strict=True):
        add_latencies(one, durations, processes=PROCESSES)
        del one.metrics["latency_p99"]  # of 200 queries it has no interval
    made[0].looks = [Look(started_at="", metrics=dict(one.metrics)) for one in made[1:]]
    return made[0]


def past(chance, level, between, nights):
    """Nights as they are judged one after the other, each with what was known before it."""
    found = Past()
    for number in range(nights):
        one = record(calls(chance, level, between))
        said = {o.metric: o for o in judge(one, LIMITS, gated=True, past=found)}
        night = Night(f"night-{number}", f"{number:03}", (Measured(one.metrics),), said)
        found = replace(found, nights=(*found.nights, night))
    return found


def verdict(one, of_past=Past(), limits=LIMITS):  # noqa: B008
    (objective,) = judge(one, limits, gated=True, past=of_past)
    return objective


@pytest.mark.parametrize("seed", range(4))
def test_more_samples_over_the_limit_never_improve_a_verdict(seed):
    chance = np.random.default_rng(seed)
    for level in (0.0075, 0.0090, 0.0099, 0.0105, 0.0120):
        known = past(chance, level, 0.03, int(chance.integers(0, 20)))
        runs = [calls(chance, level, 0.03) for _ in range(int(chance.integers(1, 5)))]
        before, worse = verdict(record(*runs), known), [one.copy() for one in runs]
        for share in (0.01, 0.05, 0.2):
            for one in worse:
                raised = chance.random(one.shape) < share
                one[raised] = np.maximum(one[raised], int(LIMIT * 1e9 * chance.uniform(1.0, 1.5)))
            after = verdict(record(*worse), known)
            assert ORDER[after.verdict] >= ORDER[before.verdict], (level, share)
            before = after


@pytest.mark.parametrize("seed", range(3))
def test_one_more_look_over_the_limit_never_improves_a_verdict(seed):
    chance = np.random.default_rng(100 + seed)
    for level in (0.0080, 0.0094, 0.0100, 0.0106):
        known = past(chance, level, 0.04, int(chance.integers(0, 20)))
        runs = [calls(chance, level, 0.04)]
        before = verdict(record(*runs), known)
        for _ in range(3):
            high = calls(chance, level, 0.04)
            factor = max(1.0, 1.001 * LIMIT / record(high).metrics["latency_p95"].value)
            runs.append((high * factor).astype(np.int64))
            after = verdict(record(*runs), known)
            assert ORDER[after.verdict] >= ORDER[before.verdict], level
            before = after


def test_in_which_order_the_queries_stand_changes_nothing():
    chance = np.random.default_rng(7)
    for level in (0.0085, 0.0099, 0.0110):
        known, runs = past(chance, level, 0.02, 12), [calls(chance, level, 0.02) for _ in range(2)]
        order = chance.permutation(200)
        mixed = record(*(one[:, order] for one in runs))
        plain = record(*runs)
        one, other = verdict(mixed, known), verdict(plain, known)
        assert one.ci95 == pytest.approx(other.ci95, rel=1e-12)
        assert one.model_copy(update={"ci95": None, "reason": None}) == other.model_copy(
            update={"ci95": None, "reason": None}
        )
        assert wanted(mixed, LIMITS, known) == wanted(plain, LIMITS, known)


def scaled(known, factor):
    nights = []
    for night in known.nights:
        (one,) = night.measured
        metrics = {
            name: metric.model_copy(
                update={"value": metric.value * factor, "ci95": tuple(end * factor for end in metric.ci95)}
            )
            for name, metric in one.metrics.items()
        }
        said = {name: o.model_copy(update={"limit": o.limit * factor}) for name, o in night.verdicts.items()}
        nights.append(replace(night, measured=(Measured(metrics),), verdicts=said))
    return Past(tuple(nights))


def test_scaling_times_and_limits_scales_bounds_and_changes_no_verdict():
    chance, seen = np.random.default_rng(8), set()
    for level in (0.0080, 0.0097, 0.0100, 0.0115):
        known, runs = past(chance, level, 0.05, 16), [calls(chance, level, 0.05) // 1000 * 1000 for _ in range(2)]
        limits = {"latency_p95": {"cpu": Limit(op="<", limit=LIMIT * 8)}}
        one, eight = (
            verdict(record(*runs), known),
            verdict(record(*(8 * run for run in runs)), scaled(known, 8), limits),
        )
        assert (eight.verdict, eight.looks, eight.nights) == (one.verdict, one.looks, one.nights)
        assert eight.value == pytest.approx(8 * one.value)
        assert eight.ci95 == (pytest.approx(8 * one.ci95[0]), pytest.approx(8 * one.ci95[1]))
        seen.add(one.verdict)
    assert len(seen) > 1, "asymmetric cases"


def test_a_night_that_is_added_later_changes_no_verdict_of_the_past():
    chance = np.random.default_rng(9)
    known = past(chance, 0.0098, 0.05, 24)
    for later in (0.001, 0.0098, 0.5):
        longer = list(known.nights)
        for number in range(3):
            one = record(calls(chance, later))
            said = {o.metric: o for o in judge(one, LIMITS, gated=True, past=Past(tuple(longer)))}
            longer.append(Night(f"later-{number}", f"9{number}", (Measured(one.metrics),), said))
        for number, night in enumerate(longer[:24]):
            again = record(calls(np.random.default_rng(1), 0.01))
            again.metrics = dict(night.measured[0].metrics)
            (objective,) = judge(again, LIMITS, gated=True, past=Past(tuple(longer[:number])))
            assert objective == night.verdicts["latency_p95"]


def test_intervals_are_no_narrower_than_those_of_the_run_alone_and_hold_the_value():
    chance = np.random.default_rng(10)
    for nights in (0, 1, 3, 12, 40):
        one = record(calls(chance, 0.01))
        state_intervals(one, registry.spec_of, past(chance, 0.01, 0.03, nights))
        for metric in one.metrics.values():
            assert metric.ci95[0] <= metric.within95[0] <= metric.value <= metric.within95[1] <= metric.ci95[1]
            assert math.isfinite(metric.between.sd)
    assert {LATENCY[95].name, "qps"} <= set(one.metrics) and RECALL[5].name not in one.metrics
