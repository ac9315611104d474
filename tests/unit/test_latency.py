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


def test_latencies_are_quantiles_in_seconds_of_all_passes_as_sure_as_one():
    one = record()
    # 3 passes over 1000 queries: 1 … 3000 µs in no order
    times = np.random.default_rng(2).permutation(np.arange(1, 3001)).reshape(3, 1000) * 1000
    add_latencies(one, times)
    # ranks of 1000 independent queries: p50 469 … 532, p95 936 … 964, p99 983 … 997 (Hahn & Meeker), times three
    assert {name: (of.value, of.n, of.ci95, of.unit) for name, of in one.metrics.items()} == {
        "latency_p50": (0.001501, 3000, (0.001407, 0.001596), "seconds"),
        "latency_p95": (0.002851, 3000, (0.002808, 0.002892), "seconds"),
        "latency_p99": (0.002971, 3000, (0.002949, 0.002991), "seconds"),
    }


def test_latencies_under_load_are_quantiles_in_seconds_of_independent_requests():
    one = record()
    add_open_loop(one, {"saturated": False, "utilisation": 0.4}, np.arange(1000, 0, -1) * 1000, rate=50, seconds=20)
    assert {name: (of.value, of.n, of.ci95) for name, of in one.metrics.items()} == {
        "open_loop_p50": (0.000501, 1000, (0.000469, 0.000532)),
        "open_loop_p95": (0.000951, 1000, (0.000936, 0.000964)),
        "open_loop_p99": (0.000991, 1000, (0.000983, 0.000997)),
    }
    assert one.detail["open_loop"] == {"rate": 50, "seconds": 20, "saturated": False, "utilisation": 0.4}


def test_what_is_known_of_a_loop(caplog):
    times, late = np.array([5, 7, 20]), np.array([3_000, 900_000, 5_000])
    seen = Load(times, times, late, arrivals=4, elapsed_ns=64, saturated=True)
    assert open_loop_answer(seen) == {"utilisation": 0.5, "saturated": True, "lateness_p50_seconds": 5e-6}
    one = record()
    add_open_loop(one, open_loop_answer(seen), times, rate=2.5, seconds=3)
    assert one.detail["open_loop"] == {"rate": 2.5, "seconds": 3, **open_loop_answer(seen)}
    assert caplog.messages == ["hybrid cannot serve 2.5 queries per second, so no open-loop latency is stated"]


def test_the_interval_of_a_share_ends_where_shares_do():
    # 0.2 of five: s = 0.447214, t·s/√5 = 0.555289
    value, n, (low, high) = share(np.array([0, 0, 0, 0, 1]))
    assert (value, n, low) == (0.2, 5, 0.0)
    assert abs(high - 0.755289) < 1e-6
    value, n, (low, high) = share(np.array([1, 1, 1, 1, 0]))
    assert (value, n, high) == (0.8, 5, 1.0)
    assert abs(low - 0.244711) < 1e-6
    assert share(np.array([0.5, 0.25])) == (0.375, 2, None)
