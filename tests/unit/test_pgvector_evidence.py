"""What the pgvector benchmark says when recall and latency cannot hold together."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import t
from support.specs import add

from nightgate.errors import ServiceUnavailable
from nightgate.measure import estimates
from nightgate.pgvector_search import evidence
from nightgate.pgvector_search.evidence import Evidence, shortfall
from nightgate.pgvector_search.settings import Settings
from nightgate.record import Record

SETTINGS = Settings(variants=("ivfflat",), rows=1_000_000).model_dump(mode="json")


def record(variant, curve, *, chosen, reached=True, p95=None, lists=100, rows=1_000_000):
    """``curve``: probes → (recall, P95 in ms)."""
    points = [{"setting": {"probes": p}, "recall": r, "latency_p95": ms / 1e3} for p, (r, ms) in curve.items()]
    made = Record(
        benchmark="pgvector_search", variant=variant, device="cpu", status="measured",
        settings=SETTINGS | {"rows": rows},
        detail={
            "curve": points, "setting": {"probes": chosen}, "tuning_reached_target": reached, "build": {"lists": lists},
        },
    )  # fmt: skip
    add(made, "latency_p95", (p95 or curve[chosen][1]) / 1e3)
    return made


def test_what_holds_needs_no_words():
    assert shortfall(record("ivfflat", {3: (0.91, 12), 4: (0.93, 22)}, chosen=4), []) is None


def test_recall_that_costs_too_much_names_both_neighbours_and_the_better_index():
    slow = record("ivfflat", {3: (0.89, 26), 4: (0.93, 33)}, chosen=4)
    lists1000 = record("ivfflat_lists1000", {8: (0.94, 4.1), 12: (0.96, 5)}, chosen=8, lists=1000)
    assert shortfall(slow, [slow, lists1000]) == (
        "recall 0.9 and P95 30 ms do not hold together at lists=100: probes=4 gives recall 0.930 in P95 33.0 ms, "
        "probes=3 gives recall 0.890 in P95 26.0 ms; ivfflat_lists1000 holds both: probes=8 gives recall 0.940 in P95 4.1 ms"
    )


def test_the_measured_latency_decides_and_not_that_of_the_tuning():
    assert "do not hold together" in shortfall(record("ivfflat", {4: (0.93, 29)}, chosen=4, p95=31), [])
    assert shortfall(record("ivfflat", {4: (0.93, 31)}, chosen=4, p95=29), []) is None


def test_recall_out_of_reach_names_the_best():
    far = record("ivfflat", {10: (0.7, 60), 20: (0.85, 110)}, chosen=20, reached=False)
    assert shortfall(far, [far]) == (
        "recall 0.9 with its margin is out of reach at lists=100: probes=20 gives recall 0.850 in P95 110.0 ms comes "
        "closest; pgvector advises lists=1000 for 1,000,000 rows"
    )


@pytest.mark.parametrize(
    ("rows", "advised"), [(400, 1), (50_000, 50), (1_000_000, 1000), (1_002_001, 1001), (4_000_000, 2000)]
)
def test_the_advice_is_pgvectors_rule(rows, advised):
    far = record("ivfflat", {20: (0.85, 110)}, chosen=20, reached=False, rows=rows)
    assert f"lists={advised} " in shortfall(far, [])


def test_an_index_that_misses_one_of_both_is_no_advice():
    slow = record("ivfflat", {4: (0.93, 33)}, chosen=4)
    late = record("ivfflat_lists1000", {8: (0.89, 4), 12: (0.96, 31)}, chosen=12, lists=1000)
    poor = record("hnsw", {8: (0.89, 4)}, chosen=8, reached=False)
    assert "holds both" not in shortfall(slow, [slow, late, poor])


def test_a_failed_step_leaves_no_numbers():
    one = Evidence(Record(benchmark="pgvector_search", variant="ivfflat", device="cpu", status="measured", samples="x"))
    add(one.record, "latency_p95", 0.01)
    one.samples["durations_ns"] = np.ones(3)
    one.fail("the server went")
    assert (one.record.status, one.record.reason, one.record.metrics) == ("failed", "the server went", {})
    assert one.record.samples is None and one.samples == {}


def fresh(**more):
    return Evidence(Record(benchmark="pgvector_search", variant="ivfflat", device="cpu", status="measured", **more))


BUILT = {
    "load_seconds": 2.0, "rows_per_second": 500.0, "build_seconds": 7.0, "index_bytes": 4096, "lists": 10,
    "tuning": {"reached": False, "curve": ["kept"], "setting": {"probes": 3}},
}  # fmt: skip
RECALL = np.array([1.0, 0.8, 0.6, 1.0, 0.2, 0.8])
DURATIONS = np.array([[1, 2, 3, 4, 5, 60], [3, 2, 3, 8, 5, 40]], dtype=np.int64) * 1_000_000
IDS = np.arange(30).reshape(6, 5)


def timed(tuned):
    return {"setting": {"probes": 4}, "tuned": tuned, "versions": {"postgresql": "18.4"}, "plan": ["Index Scan"]}


@pytest.mark.parametrize("reused", [True, False])
def test_the_numbers_of_a_table_that_stood_come_with_its_day(reused):
    one = fresh()
    one.build = BUILT | {"reused": reused, "built_at": "2026-11-20T01:00:00.000Z"}
    one.add_one_by_one(timed({"reached": True, "curve": []}), DURATIONS, RECALL, IDS)
    names = ("load_seconds", "rows_per_second", "build_seconds", "index_bytes")
    assert one.record.facts.earlier == (dict.fromkeys(names, "2026-11-20T01:00:00.000Z") if reused else {})


def test_the_numbers_of_queries_one_by_one(monkeypatch):
    monkeypatch.setattr(evidence, "version", {"pgvector": "0.5", "psycopg": "3.3"}.get)
    one = fresh()
    assert one.build == {} == one.samples
    one.build, one.samples = BUILT, {"before": np.ones(1)}
    one.add_one_by_one(timed({"reached": True, "curve": ["new"]}), DURATIONS, RECALL, IDS)
    metrics = one.record.metrics
    assert set(metrics) == {
        "recall_at_5", "recall_p5", "latency_p50", "latency_p95", "latency_p99", "qps", *(spec.name for spec in evidence._BUILD),
    }  # fmt: skip
    recall = metrics["recall_at_5"]
    assert (recall.value, recall.n) == (pytest.approx(4.4 / 6), 6)
    half = t.ppf(0.975, 5) * RECALL.std(ddof=1) / 6**0.5
    assert recall.ci95 == (pytest.approx(4.4 / 6 - half), 1.0), "a share ends at one"
    assert (metrics["recall_p5"].value, metrics["recall_p5"].n) == (0.6, 6), "the higher of the two beside it"
    assert metrics["latency_p95"].value == 0.060 and metrics["latency_p50"].value == 0.004
    mean = (2 + 2 + 3 + 6 + 5 + 50) / 6 / 1e3
    _, _, (low, _high) = estimates.mean(DURATIONS.mean(axis=0) / 1e9)
    assert low < 0
    assert (metrics["qps"].value, metrics["qps"].n, metrics["qps"].ci95) == (
        pytest.approx(1 / mean, rel=1e-12),
        12,
        None,
    )
    assert [metrics[name].value for name in ("load_seconds", "rows_per_second", "build_seconds", "index_bytes")] == [
        2.0, 500.0, 7.0, 4096,
    ]  # fmt: skip
    assert one.record.detail == {
        "setting": {"probes": 4}, "plan": ["Index Scan"], "tuning_reached_target": True, "curve": ["new"],
        "versions": {"postgresql": "18.4", "pgvector-python": "0.5", "psycopg": "3.3"},
    }  # fmt: skip
    assert list(one.samples) == ["before", "durations_ns", "recall", "ids"]
    assert one.samples["durations_ns"] is DURATIONS and one.samples["recall"] is RECALL and one.samples["ids"] is IDS


def test_queries_per_second_have_the_interval_of_the_mean_time_turned_round():
    one = fresh()
    one.build = BUILT
    steady = np.array([[10, 11, 12, 13, 14, 15]], dtype=np.int64) * 1_000_000
    one.add_one_by_one(timed(None), steady, RECALL, IDS)
    _, _, (low, high) = estimates.mean(steady[0] / 1e9)
    assert one.record.metrics["qps"].ci95 == (pytest.approx(1 / high), pytest.approx(1 / low))
    assert one.record.metrics["qps"].value == pytest.approx(80, rel=1e-12)


def test_where_the_mean_time_may_be_nothing_queries_per_second_have_no_interval(monkeypatch):
    one = fresh()
    one.build = BUILT
    monkeypatch.setattr(estimates, "mean", lambda _: (0.5, 3, (0.0, 1.0)))
    one.add_one_by_one(timed(None), DURATIONS, RECALL, IDS)
    assert (one.record.metrics["qps"].value, one.record.metrics["qps"].ci95) == (2.0, None)


def test_what_was_tuned_before_is_told_with_the_table():
    one = fresh()
    one.build = BUILT
    one.add_one_by_one(timed(None), DURATIONS, RECALL, IDS)
    assert one.record.detail["tuning_reached_target"] is False and one.record.detail["curve"] == ["kept"]
    assert "tuned" not in one.record.detail


def test_the_throughput_is_that_of_the_best_number_of_clients():
    one = fresh()
    levels = [
        {"clients": 1, "queries_per_second": 90.0, "ci95": (80.0, 100.0), "n": 10, "latency_p50": 0.01, "latency_p95": 0.02},
        {"clients": 2, "queries_per_second": 170.0, "ci95": (160.0, 180.0), "n": 9, "latency_p50": 0.01, "latency_p95": 0.03},
        {"clients": 4, "queries_per_second": 150.0, "ci95": (140.0, 160.0), "n": 8, "latency_p50": 0.02, "latency_p95": 0.05},
    ]  # fmt: skip
    one.add_clients(levels)
    best = one.record.metrics["throughput_qps"]
    assert (best.value, best.n, best.ci95) == (170.0, 9, (160.0, 180.0))
    assert one.record.detail["throughput"] == {"clients": 2}
    assert one.record.detail["clients"] == [{k: v for k, v in level.items() if k != "n"} for level in levels]


def test_the_open_loop_keeps_its_samples():
    one = fresh()
    latencies = np.array([5, 1, 4, 2, 3]) * 1_000_000
    one.add_open_loop({"saturated": False, "utilisation": 0.5}, latencies, rate=35.0, seconds=2.0)
    assert one.samples["open_loop_ns"] is latencies
    assert one.record.detail["open_loop"] == {"rate": 35.0, "seconds": 2.0, "saturated": False, "utilisation": 0.5}
    assert one.record.metrics["open_loop_p50"].value == 0.003


def test_the_cold_start_is_the_first_query_and_the_middle_one():
    one = fresh()
    one.add_cold_start([9_000_000, 1_000_000, 4_000_000, 20_000_000, 3_000_000])
    first, middle = one.record.metrics["cold_start_first"], one.record.metrics["cold_start_p50"]
    assert (first.value, first.n, first.ci95) == (0.009, 1, None)
    assert (middle.value, middle.n) == (0.004, 5)


def test_a_step_aside_that_fails_leaves_the_numbers_and_says_why(caplog):
    one = fresh(samples="x")
    add(one.record, "latency_p95", 0.01)
    one.samples["durations_ns"] = DURATIONS

    def fails(error):
        def step():
            raise error

        return step

    one.aside("throughput", fails(ServiceUnavailable("too many connections", "raise it")))
    one.aside("cold_start", fails(OSError("no\npid")))
    done = []
    one.aside("open_loop", lambda: done.append(1))
    assert one.record.status == "measured" and one.record.reason is None and one.record.samples == "x"
    assert one.record.metrics["latency_p95"].value == 0.01 and one.samples["durations_ns"] is DURATIONS
    assert one.record.detail["not_measured"] == {
        "throughput": "too many connections. Next step: raise it", "cold_start": "OSError: no pid",
    }  # fmt: skip
    assert done == [1] and "throughput was not measured: too many connections" in caplog.text


def test_no_step_is_made_aside_of_a_failure():
    one = fresh()
    one.fail("the server went")
    one.aside("throughput", lambda: 1 / 0)
    assert "not_measured" not in one.record.detail
    with pytest.raises(KeyboardInterrupt):
        fresh().aside("throughput", interrupted)


def interrupted():
    raise KeyboardInterrupt


def test_it_is_told_when_it_was_finished(monkeypatch):
    monkeypatch.setattr(evidence, "utc_now", lambda: "now")
    one = fresh()
    one.finish()
    assert one.record.finished_at == "now"


def test_an_objective_gates_a_variant_that_was_asked_for():
    assert fresh(settings={"variants": ["ivfflat"]}).gated is True
    assert fresh(settings={"variants": ["hnsw"]}).gated is False


# when both do not hold: the boundaries


def test_a_latency_at_its_limit_does_not_hold():
    assert shortfall(record("ivfflat", {4: (0.93, 29)}, chosen=4, p95=30.0), []) is not None
    assert shortfall(record("ivfflat", {4: (0.93, 29)}, chosen=4, p95=29.99), []) is None


def test_the_nearest_below_the_limit_is_the_one_with_the_best_recall():
    slow = record("ivfflat", {1: (0.5, 9), 2: (0.7, 15), 3: (0.8, 30), 4: (0.93, 33)}, chosen=4)
    assert "probes=2 gives recall 0.700 in P95 15.0 ms" in shortfall(slow, [])
    assert "probes=3" not in shortfall(slow, []), "30 ms is not below 30 ms"
    quick = record("ivfflat", {4: (0.93, 29)}, chosen=4, p95=31)
    assert "probes=4 gives recall 0.930 in P95 29.0 ms; pgvector advises" in shortfall(quick, []), (
        "nothing beside itself"
    )


def test_nothing_is_said_without_a_curve_or_a_latency():
    bare = record("ivfflat", {4: (0.93, 33)}, chosen=4)
    bare.metrics = {}
    assert shortfall(bare, []) is None
    bare = record("ivfflat", {4: (0.93, 33)}, chosen=4)
    bare.detail["curve"] = []
    assert shortfall(bare, []) is None


def test_a_graph_has_no_lists_to_speak_of():
    graph = record("hnsw", {4: (0.7, 33)}, chosen=4, reached=False)
    for point in graph.detail["curve"]:
        point["setting"] = {"ef_search": 4}
    graph.detail["setting"] = {"ef_search": 4}
    assert "is out of reach: ef_search=4 gives recall 0.700" in shortfall(graph, [])
    graph.detail["tuning_reached_target"] = True
    assert "do not hold together: ef_search=4 gives recall 0.700" in shortfall(graph, [])


def test_another_index_must_be_measured_and_clearly_below():
    slow = record("ivfflat", {4: (0.93, 33)}, chosen=4)
    at = record("ivfflat_lists1000", {8: (0.94, 30)}, chosen=8, lists=1000)
    assert "holds both" not in shortfall(slow, [at])
    gone = record("ivfflat_lists1000", {8: (0.94, 4)}, chosen=8, lists=1000)
    gone.status = "failed"
    assert "holds both" not in shortfall(slow, [gone])
    below = record("ivfflat_lists1000", {8: (0.94, 29.9), 1: (0.5, 1)}, chosen=8, lists=1000)
    assert "ivfflat_lists1000 holds both: probes=8 gives recall 0.940 in P95 29.9 ms" in shortfall(
        slow, [gone, at, below]
    )
