"""What the pgvector benchmark says when recall and latency cannot hold together."""

from __future__ import annotations

import numpy as np
import pytest

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
    made.add("latency_p95", (p95 or curve[chosen][1]) / 1e3)
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


@pytest.mark.parametrize(("rows", "advised"), [(50_000, 50), (1_000_000, 1000), (4_000_000, 2000)])
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
    one.record.add("latency_p95", 0.01)
    one.samples["durations_ns"] = np.ones(3)
    one.fail("the server went")
    assert (one.record.status, one.record.reason, one.record.metrics) == ("failed", "the server went", {})
    assert one.record.samples is None and one.samples == {}
