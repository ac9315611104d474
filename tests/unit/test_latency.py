"""What every vector search says of its times."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from nightgate.facts import OpenLoop
from nightgate.measure import estimates
from nightgate.measure.load import Load
from nightgate.record import Record
from nightgate.vector_search.latency import add_latencies, add_open_loop, rate, share
from nightgate.vector_search.timed import told_of


def record():
    return Record(benchmark="hybrid_ann", variant="hybrid", device="cpu", status="measured")


def loop(*, saturated=False, rate=100.0):
    return OpenLoop(rate=rate, seconds=2, utilisation=0.4, saturated=saturated, lateness_p50_seconds=None)


def test_passes_over_the_same_queries_do_not_narrow_the_interval():
    rng = np.random.default_rng(1)
    queries = rng.integers(1_000_000, 9_000_000, size=(1, 200))
    once, thrice = record(), record()
    add_latencies(once, queries)
    add_latencies(thrice, np.repeat(queries, 3, axis=0))
    for name in ("latency_p50", "latency_p95"):
        width, alone = (of.metrics[name].ci95[1] - of.metrics[name].ci95[0] for of in (thrice, once))
        assert width == pytest.approx(alone, rel=0.15), "by ranks the one, by clusters the other"
        assert (thrice.metrics[name].shared, once.metrics[name].shared) == (1, 1)
        assert thrice.metrics[name].n == 3 * once.metrics[name].n


def test_a_loop_that_could_not_keep_up_states_no_latency():
    late = record()
    add_open_loop(late, loop(saturated=True), np.array([1, 2]))
    assert late.metrics == {}
    add_open_loop(late, loop(), np.full(200, 2_000_000))
    assert late.metrics["open_loop_p95"].value == 0.002


def test_a_loop_that_was_never_idle_has_no_lateness():
    times = np.array([5, 6])
    busy = Load(times, times, np.array([], np.int64), arrivals=2, elapsed_ns=11, saturated=False)
    told = told_of(busy, 50.0, 2.0)
    assert (told.lateness_p50_seconds, told.utilisation, told.rate, told.seconds) == (None, 1.0, 50.0, 2.0)


def test_a_share_stays_within_0_and_1():
    value, n, (low, high) = share(np.array([1, 1, 1, 1, 0.8]))
    assert (value, n) == (0.96, 5) and low < value and high == 1


def test_latencies_are_quantiles_in_seconds_of_all_passes_as_sure_as_one():
    one = record()
    # 3 passes over 1000 queries: 1 … 3000 µs in no order
    times = np.random.default_rng(2).permutation(np.arange(1, 3001)).reshape(3, 1000) * 1000
    add_latencies(one, times)
    qps = one.metrics.pop("qps")
    assert (qps.value, qps.n) == (pytest.approx(1e9 / times.mean()), 3000) and qps.ci95[0] < qps.value < qps.ci95[1]
    assert {name: (of.value, of.n, of.unit) for name, of in one.metrics.items()} == {
        "latency_p50": (0.001501, 3000, "seconds"), "latency_p95": (0.002851, 3000, "seconds"), "latency_p99": (0.002971, 3000, "seconds"),
    }  # fmt: skip
    for percentile in (50, 95, 99):
        found = one.metrics[f"latency_p{percentile}"]
        q = percentile / 100
        assert found.ci95 == estimates.quantile(times / 1e9, q)[2]
        assert found.shared == estimates.shared(times / 1e9, q)


def test_which_process_timed_a_pass_is_in_the_interval():
    times = np.random.default_rng(3).integers(1000, 2000, (4, 500))
    times[2:] += 100
    one, two = record(), record()
    add_latencies(one, times)
    add_latencies(two, times, processes=(0, 0, 1, 1))
    for name in ("latency_p50", "qps"):
        assert (
            two.metrics[name].ci95[0]
            < one.metrics[name].ci95[0]
            < one.metrics[name].ci95[1]
            < two.metrics[name].ci95[1]
        )


def test_latencies_under_load_are_quantiles_in_seconds_of_independent_requests():
    one = record()
    add_open_loop(one, loop(), np.arange(1000, 0, -1) * 1000)
    assert {name: (of.value, of.n, of.ci95) for name, of in one.metrics.items()} == {
        "open_loop_p50": (0.000501, 1000, (0.000469, 0.000532)),
        "open_loop_p95": (0.000951, 1000, (0.000936, 0.000964)),
        "open_loop_p99": (0.000991, 1000, (0.000983, 0.000997)),
    }


def test_what_is_known_of_a_loop(caplog):
    times, late = np.array([5, 7, 20]), np.array([3_000, 900_000, 5_000])
    seen = Load(times, times, late, arrivals=4, elapsed_ns=64, saturated=True)
    told = told_of(seen, 2.5, 3)
    assert told == OpenLoop(rate=2.5, seconds=3, utilisation=0.5, saturated=True, lateness_p50_seconds=5e-6)
    one = record()
    add_open_loop(one, told, times)
    assert one.metrics == {}
    assert caplog.messages == ["hybrid cannot serve 2.5 queries per second, so no open-loop latency is stated"]


# queries per second


def qps(durations):
    one = record()
    add_latencies(one, durations)
    return one.metrics["qps"]


def test_queries_per_second_have_the_interval_of_the_mean_time_turned_round():
    steady = np.array([[10, 11, 12, 13, 14, 15], [12, 13, 14, 15, 16, 17]], dtype=np.int64) * 1_000_000
    _, _, (low, high) = estimates.mean_of_passes(steady / 1e9)
    found = qps(steady)
    assert (found.value, found.n) == (pytest.approx(1000 / 13.5, rel=1e-12), 12)
    assert found.ci95 == (pytest.approx(1 / high), pytest.approx(1 / low))


def test_where_the_mean_time_may_be_nothing_queries_per_second_have_no_interval(monkeypatch):
    durations = np.array([[1, 2, 3, 4, 5, 60], [3, 2, 3, 8, 5, 40]], dtype=np.int64) * 1_000_000
    assert estimates.mean_of_passes(durations)[2][0] < 0
    found = qps(durations)
    assert (found.value, found.ci95) == (pytest.approx(6000 / (2 + 2 + 3 + 6 + 5 + 50), rel=1e-12), None)
    monkeypatch.setattr(estimates, "mean_of_passes", lambda *_, **__: (0.5, 3, (0.0, 1.0)))
    assert (qps(durations).value, qps(durations).ci95) == (2.0, None)


def throughput(seconds, queries=1000):
    """Passes of ``queries`` queries, each of so many seconds."""
    value, n, ci95 = rate(queries / np.array(seconds))
    return SimpleNamespace(value=value, n=n, ci95=ci95)


def test_the_throughput_lies_within_its_interval_though_one_pass_was_held_up():
    found = throughput([1.0] * 100 + [200.0])
    assert found.value == pytest.approx(1000 * 101 / 300)
    assert found.ci95 is None or found.ci95[0] <= found.value <= found.ci95[1]
    found = throughput([1.0] * 100 + [10.0])
    assert found.ci95[0] < found.value < found.ci95[1]


def test_the_interval_of_the_throughput_is_that_of_the_seconds_turned_round():
    seconds = np.array([1.0, 1.2, 0.9, 1.1, 1.3, 0.8])
    found = throughput(seconds)
    half = 2.570582 * seconds.std(ddof=1) / 6**0.5
    assert (found.value, found.n) == (pytest.approx(1000 / 1.05), 6)
    assert found.ci95 == pytest.approx((1000 / (1.05 + half), 1000 / (1.05 - half)), rel=1e-6)


def test_few_passes_state_no_interval_of_the_throughput():
    found = throughput([1.0, 2.0])
    assert (found.value, found.n, found.ci95) == (pytest.approx(2000 / 3), 2, None)


def test_seconds_that_may_be_none_at_all_give_the_throughput_no_interval():
    assert throughput([1.0, 1.0, 1.0, 1.0, 50.0]).ci95 is None


def test_the_interval_of_a_share_ends_where_shares_do():
    # 0.2 of five: s = 0.447214, t·s/√5 = 0.555289
    value, n, (low, high) = share(np.array([0, 0, 0, 0, 1]))
    assert (value, n, low) == (0.2, 5, 0.0)
    assert abs(high - 0.755289) < 1e-6
    value, n, (low, high) = share(np.array([1, 1, 1, 1, 0]))
    assert (value, n, high) == (0.8, 5, 1.0)
    assert abs(low - 0.244711) < 1e-6
    assert share(np.array([0.5, 0.25])) == (0.375, 2, None)
