"""What the pgvector benchmark says when recall and latency cannot hold together."""

from __future__ import annotations

import pytest
from support.specs import add

from nightgate.facts import Facts, Point, Tuning, Vectors
from nightgate.pgvector_search.explaining import shortfall
from nightgate.pgvector_search.settings import Settings
from nightgate.record import Record

SETTINGS = Settings(variants=("ivfflat",), rows=1_000_000).model_dump(mode="json")


def point(probes, recall, milliseconds):
    seconds = milliseconds / 1e3
    return Point(setting={"probes": probes}, recall=recall, latency_p50=seconds, latency_p95=seconds, queries=5)


def record(variant, curve, *, chosen, reached=True, p95=None, lists=100, rows=1_000_000):
    """``curve``: probes → (recall, P95 in ms)."""
    points = [point(probes, *found) for probes, found in curve.items()]
    made = Record(
        benchmark="pgvector_search", variant=variant, device="cpu", status="measured", settings=SETTINGS,
        facts=Facts(
            vectors=Vectors(rows=rows),
            tuning=Tuning(target=0.9, setting={"probes": chosen}, reached=reached, curve=points),
        ),
        detail={"build": {"lists": lists}},
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
    bare.facts.tuning.curve = []
    assert shortfall(bare, []) is None


def test_a_graph_has_no_lists_to_speak_of():
    graph = record("hnsw", {4: (0.7, 33)}, chosen=4, reached=False)
    tuning = graph.facts.tuning
    for tried in tuning.curve:
        tried.setting = {"ef_search": 4}
    tuning.setting = {"ef_search": 4}
    assert "is out of reach: ef_search=4 gives recall 0.700" in shortfall(graph, [])
    tuning.reached = True
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
