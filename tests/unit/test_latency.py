"""What both vector benchmarks say of their times."""

from __future__ import annotations

import numpy as np

from nightgate.measure.load import Load
from nightgate.record import Record
from nightgate.vectors.latency import add_latencies, add_open_loop, open_loop_answer, share


def record():
    return Record(benchmark="hybrid_ann", variant="hybrid", device="cpu", status="measured")


def test_passes_over_the_same_queries_do_not_narrow_the_interval():
    rng = np.random.default_rng(1)
    queries = rng.integers(1_000_000, 9_000_000, size=(1, 200))
    once, thrice = record(), record()
    add_latencies(once, queries)
    add_latencies(thrice, np.repeat(queries, 3, axis=0))
    for name in ("latency_p50", "latency_p95"):
        assert thrice.metrics[name].ci95 == once.metrics[name].ci95
        assert thrice.metrics[name].n == 3 * once.metrics[name].n


def test_a_loop_that_could_not_keep_up_states_no_latency():
    late = record()
    add_open_loop(late, {"saturated": True}, np.array([1, 2]), rate=100, seconds=1)
    assert late.metrics == {} and late.detail["open_loop"]["rate"] == 100
    add_open_loop(late, {"saturated": False}, np.full(200, 2_000_000), rate=100, seconds=2)
    assert late.metrics["open_loop_p95"].value == 0.002


def test_a_loop_that_was_never_idle_has_no_lateness():
    times = np.array([5, 6])
    busy = Load(times, times, np.array([], np.int64), arrivals=2, elapsed_ns=11, saturated=False)
    assert open_loop_answer(busy)["lateness_p50_seconds"] is None
    assert open_loop_answer(busy)["utilisation"] == 1.0


def test_a_share_stays_within_0_and_1():
    value, n, (low, high) = share(np.array([1, 1, 1, 1, 0.8]))
    assert (value, n) == (0.96, 5) and low < value and high == 1
