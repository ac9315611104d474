"""The hybrid's steps around its children: what one part does to the others, and what each child is asked."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest

from nightgate.errors import ChildError, InputError, NotMeasured, Unavailable
from nightgate.hybrid_ann import benchmark, strategies, timed
from nightgate.hybrid_ann.batches import BatchRate
from nightgate.hybrid_ann.settings import Settings
from nightgate.measure import devices
from nightgate.measure.child import ChildResult
from nightgate.record import Gpu
from nightgate.vectors import data, places

QUERIES = 100
BUILT = {"build_seconds": 2.5, "build_peak_rss_bytes": 300, "bytes": 40, "lists": 16}
NUMBERS = {
    "hybrid": 1,
    "hnsw": 2,
    "ivfpq_refine": 3,
    "hybrid_seeded": 4,
    "faiss_hnsw": 5,
    "hybrid_gpu": 6,
    "exact_gpu": 7,
}


def settings(**changed):
    given = {"variants": ("hybrid",), "controls": ("hnsw", "ivfpq_refine"), "queries": QUERIES, "processes": 2}
    return Settings(**given | changed)


@pytest.fixture
def indexes(monkeypatch):
    """Index name → the error its build ends with; every other is built."""
    broken = {}

    def build_index(name, settings, vectors, threads, cache):
        if name in broken:
            raise broken[name]
        return BUILT | {"folder": f"/indexes/{name}"}

    monkeypatch.setattr(benchmark, "build_index", build_index)
    monkeypatch.setattr(data, "prepare", lambda cache, **_: {"vectors": "/v", "truth": "/t", "data": {"rows": 5}})
    return broken


def test_an_index_that_cannot_be_built_keeps_no_other_from_being_built(indexes):
    indexes["ivfpq"] = ChildError("it was ended by SIGABRT")
    assert benchmark.prepare(settings(), "cpu", None) == {
        "vectors": "/v", "truth": "/t", "data": {"rows": 5}, "indexes": {"hnsw": BUILT | {"folder": "/indexes/hnsw"}},
        "failed": {"ivfpq": "the index ivfpq was not built: it was ended by SIGABRT"}, "missing": {},
    }  # fmt: skip
    for error, said in ((InputError("too long for float16", "scale it"), "too long for float16. Next step: scale it"),
                        (OSError(), "OSError"), (RuntimeError("bad"), "bad")):  # fmt: skip
        indexes.clear()
        indexes["hnsw"] = error
        found = benchmark.prepare(settings(), "cpu", None)
        assert (set(found["indexes"]), found["failed"]) == (
            {"ivfpq"},
            {"hnsw": f"the index hnsw was not built: {said}"},
        )


def test_a_person_stops_the_building(indexes):
    indexes["hnsw"] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        benchmark.prepare(settings(), "cpu", None)


def test_each_index_is_built_once_and_only_for_what_can_run(indexes, monkeypatch):
    monkeypatch.setitem(strategies._PACKAGES, "hnsw", "no_such_package")
    monkeypatch.setitem(strategies._PACKAGES, "hybrid_seeded", "no_such_package")
    found = benchmark.prepare(settings(controls=("hnsw", "hybrid_seeded", "ivfpq_refine")), "cpu", None)
    assert (set(found["indexes"]), found["failed"]) == ({"ivfpq"}, {})
    reason = "needs the package no_such_package. Next step: install it: pip install no_such_package"
    assert found["missing"] == {name: f"{name} {reason}" for name in ("hnsw", "hybrid_seeded")}


def test_nothing_is_prepared_without_a_gated_strategy(indexes, monkeypatch):
    monkeypatch.setitem(strategies._PACKAGES, "hnsw", "no_such_package")
    with pytest.raises(NotMeasured, match="hnsw needs the package no_such_package"):
        benchmark.prepare(settings(variants=("hnsw",), controls=("hybrid",)), "cpu", None)
    assert set(benchmark.prepare(settings(variants=("hnsw", "hybrid")), "cpu", None)["indexes"]) == {"ivfpq"}


@pytest.fixture
def gpu(monkeypatch):
    """A host with one, where a variant is missing whose reason is put in here."""
    missing, asked = {}, []

    def run_child(target, variants, *, threads, device):
        asked.append((target, variants, threads, device))
        return ChildResult({name: error for name, error in missing.items() if name in variants}, 1, 1.0)

    monkeypatch.setattr(benchmark, "run_child", run_child)
    monkeypatch.setattr(devices, "gpu", lambda: Gpu(name="A device", memory_bytes=1, source="nvml"))
    return missing, asked


def test_a_child_is_asked_what_runs_on_a_gpu_of_what_may(indexes, gpu):
    with pytest.raises(Unavailable, match="^hnsw does not run on a gpu; usearch does not run on a gpu$"):
        benchmark.prepare(settings(variants=("hnsw", "usearch"), controls=()), "gpu", None)
    assert gpu[1] == []
    found = benchmark.prepare(settings(controls=("hnsw", "exact")), "gpu", None)
    assert gpu[1] == [(timed.see_gpu, ["hybrid", "exact"], 1, "gpu")]
    assert (set(found["indexes"]), found["missing"]) == ({"ivfpq_gpu"}, {"hnsw": "hnsw does not run on a gpu"})


def test_on_a_gpu_a_control_that_runs_is_enough(indexes, gpu):
    gpu[0]["hybrid"] = Unavailable("no faiss", "install it")
    found = benchmark.prepare(settings(controls=("exact",)), "gpu", None)
    assert (found["indexes"], found["missing"]) == ({}, {"hybrid": "no faiss. Next step: install it"})
    for controls in ((), ("hnsw",)):
        with pytest.raises(Unavailable, match="^no faiss. Next step: install it$"):
            benchmark.prepare(settings(controls=controls), "gpu", None)
    gpu[0]["exact"] = Unavailable("no torch")
    with pytest.raises(Unavailable, match="^no faiss. Next step: install it$"):
        benchmark.prepare(settings(controls=("exact",)), "gpu", None)


def test_on_a_cpu_no_control_stands_in_and_every_row_is_never_compared(indexes):
    with pytest.raises(NotMeasured, match="^exact does not run on a cpu$"):
        benchmark.prepare(settings(variants=("exact",), controls=("hybrid",)), "cpu", None)
    found = benchmark.prepare(settings(controls=("exact",)), "cpu", None)
    assert (set(found["indexes"]), found["missing"]) == ({"ivfpq"}, {"exact": "exact does not run on a cpu"})


def test_an_index_that_a_gpu_cannot_hold_is_a_reason_to_skip_who_reads_it(indexes, gpu):
    indexes["ivfpq_gpu"] = Unavailable("no codes for 97 dimensions")
    found = benchmark.prepare(settings(controls=("exact",)), "gpu", None)
    assert (found["indexes"], found["failed"], found["missing"]) == ({}, {}, {"hybrid": "no codes for 97 dimensions"})
    with pytest.raises(Unavailable, match="^no codes for 97 dimensions$"):
        benchmark.prepare(settings(controls=()), "gpu", None)


@pytest.fixture
def prepared(tmp_path):
    hardness = np.arange(QUERIES)
    np.save(tmp_path / "queries-hardness.npy", hardness)
    indexes = {name: BUILT | {"folder": f"/indexes/{name}"} for name in ("ivfpq", "hnsw")}
    return {
        "vectors": str(tmp_path), "truth": str(tmp_path), "data": {"rows": 5}, "indexes": indexes, "failed": {}, "missing": {},
    }  # fmt: skip


@pytest.fixture
def children(monkeypatch):
    """Children that answer at once, unless an error is named for (function, strategy, how often it was called)."""
    asked, errors = [], {}

    def run_child(target, request, *, threads, device):
        function = target.removeprefix("nightgate.hybrid_ann.timed:")
        strategy = request["strategy"]
        before = sum(each[:2] == (function, strategy) for each in asked)
        asked.append((function, strategy, request, threads, device))
        if error := errors.get((function, strategy, before)) or errors.get((function, strategy, None)):
            raise error
        number, value = NUMBERS[strategy], {}
        if function == "time_strategy":
            depths = len(request["depths"])
            arrays = {
                "durations": 1_000 * (number + before) + np.arange(request["passes"] * QUERIES).reshape(-1, QUERIES),
                "recalls": np.arange(depths * QUERIES).reshape(depths, -1) / 1e3 + number / 10,
                "ids": np.full((QUERIES, request["k"]), number),
            }
            for name, array in arrays.items():
                np.save(Path(request["folder"], f"{name}.npy"), array)
            value = {
                "setting": {"step": number}, "first_touch_ns": 5, "staged": strategy != "hnsw", "versions": {}, "gpu": None,
                "reached": True, "shortfall": None, "curve": [],
            }  # fmt: skip
        elif function == "time_stages":
            value = {"route_seconds": float(number)}
        elif function == "open_loop_latency":
            np.save(Path(request["folder"], "latencies.npy"), np.arange(400) + number)
            value = {"saturated": False}
        elif function == "throughput":
            value = {"per_second": [100.0 * number]}
        elif function == "batches":
            value = [BatchRate(10, 50.0 * number, 7, (40.0, 60.0), 0.9)]
        return ChildResult(value, peak_rss_bytes=10 * number + before, wall_seconds=1.0)

    monkeypatch.setattr(benchmark, "run_child", run_child)
    return asked, errors


def measured(prepared, tmp_path, asked=None):
    records = benchmark.measure(asked or settings(), "cpu", prepared, tmp_path / "s.npz")
    return {record.variant: record for record in records}


CRASH = ChildError("it was ended by SIGSEGV")


def test_every_step_asks_for_what_the_settings_say(children, prepared, tmp_path):
    asked = settings(
        controls=(), passes=4, k=30, load_seconds=1.5, arrival_rate=70, threads=3, batch=17, recall_target=0.8
    )
    measured(prepared, tmp_path, asked)
    calls = [(function, strategy, threads, device) for function, strategy, _, threads, device in children[0]]
    assert calls == [
        ("time_strategy", "hybrid", 1, "cpu"), ("time_strategy", "hybrid", 1, "cpu"), ("time_stages", "hybrid", 1, "cpu"),
        ("open_loop_latency", "hybrid", 1, "cpu"), ("throughput", "hybrid", 3, "cpu"), ("batches", "hybrid", 3, "cpu"),
    ]  # fmt: skip
    requests = [request for _, _, request, _, _ in children[0]]
    for request in requests:
        same = {"k": 30, "vectors": str(tmp_path), "truth": str(tmp_path), "indexes": {"ivfpq": "/indexes/ivfpq"}}
        assert same.items() <= request.items()
    assert [request["setting"] for request in requests] == [None, *5 * [{"step": 1}]], "tuned once"
    for request in requests[:2]:
        told = {"passes": 4, "depths": (1, 10, 30), "recall_target": 0.8, "recall_margin": 0.02}
        assert told.items() <= request.items()
    assert {"rate": 70, "seconds": 1.5}.items() <= requests[3].items()
    assert {"threads": 3, "batch": 17, "seconds": 1.5}.items() <= requests[4].items()
    assert {"threads": 3, "seconds": 1.5}.items() <= requests[5].items()


def test_the_records_hold_what_the_children_told(children, prepared, tmp_path):
    found = measured(prepared, tmp_path)
    assert list(found) == ["hybrid", "hnsw", "ivfpq_refine"]
    with np.load(tmp_path / "s.npz") as written:
        samples = dict(written)
    for variant, record in found.items():
        number, metrics = NUMBERS[variant], record.metrics
        assert (record.status, record.reason, record.samples, record.device) == ("measured", None, "s.npz", "cpu")
        at = [number / 10 + depth / 10 + np.arange(QUERIES).mean() / 1e3 for depth in range(3)]
        assert [metrics[f"recall_at_{k}"].value for k in (1, 10, 100)] == pytest.approx(at)
        assert metrics["peak_rss_bytes"].value == 10 * number + 1
        assert metrics["latency_p95"].n == 2 * 3 * QUERIES
        assert metrics["throughput_qps"].value == pytest.approx(100 * number)
        assert metrics["open_loop_p50"].value == pytest.approx((200 + number) / 1e9)
        assert ("route_seconds" in metrics) == (variant != "hnsw")
        assert (metrics["build_seconds"].value, metrics["index_bytes"].value) == (2.5, 40)
        assert metrics["build_peak_rss_bytes"].value == 300
        name = "hnsw" if variant == "hnsw" else "ivfpq"
        assert record.detail["index"] == {name: BUILT}
        assert (record.detail["data"], record.detail["threads"]) == ({"rows": 5}, 1)
        assert record.settings["k"] == 100
        assert samples[f"{variant}/ids"].tolist() == np.full((QUERIES, 100), number).tolist()
        assert samples[f"{variant}/durations_ns"].shape == (6, QUERIES)
        assert samples[f"{variant}/recall"] == pytest.approx(at[2] + (np.arange(QUERIES) - 49.5) / 1e3)
        assert f"{variant}/query_rows" not in samples
    rate = {"batch": 10, "per_second": 50.0, "passes": 7, "ci95": (40.0, 60.0), "recall": 0.9}
    assert found["hybrid"].detail["batches"] == {"threads": len(os.sched_getaffinity(0)), "rates": [rate]}
    assert "batches" not in found["hnsw"].detail, "of a control on the CPU one size is enough"


def test_the_strategies_take_turns_in_opposite_order(children, prepared, tmp_path):
    measured(prepared, tmp_path, settings(processes=3, load_seconds=0))
    timed = [strategy for function, strategy, *_ in children[0] if function == "time_strategy"]
    there = ["hybrid", "hnsw", "ivfpq_refine"]
    assert timed == [*there, *there[::-1], *there]
    assert {function for function, *_ in children[0]} == {"time_strategy", "time_stages"}


def test_indexes_of_several_parts_are_added_up(children, prepared, tmp_path):
    prepared["indexes"]["hnsw"] = BUILT | {"folder": "/h", "build_seconds": 4.0, "build_peak_rss_bytes": 5, "bytes": 2}
    record = measured(prepared, tmp_path, settings(controls=("hybrid_seeded",)))["hybrid_seeded"]
    told = [record.metrics[name].value for name in ("build_seconds", "build_peak_rss_bytes", "index_bytes")]
    assert told == [6.5, 300, 42]
    assert set(record.detail["index"]) == {"ivfpq", "hnsw"}


def test_a_strategy_without_its_index_failed_and_the_others_are_measured(children, prepared, tmp_path):
    del prepared["indexes"]["ivfpq"]
    prepared["failed"] = {"ivfpq": "the index ivfpq was not built: it was ended by SIGABRT"}
    found = measured(prepared, tmp_path, settings(controls=("hnsw", "hybrid_seeded")))
    assert {variant: record.status for variant, record in found.items()} == {
        "hybrid": "failed", "hnsw": "measured", "hybrid_seeded": "failed",
    }  # fmt: skip
    for variant in ("hybrid", "hybrid_seeded"):
        assert found[variant].reason == "the index ivfpq was not built: it was ended by SIGABRT"
        assert (found[variant].samples, found[variant].gated) == (None, variant == "hybrid")
    assert found["hnsw"].reason is None and "recall_at_100" in found["hnsw"].metrics
    assert {strategy for _, strategy, *_ in children[0]} == {"hnsw"}
    prepared["failed"]["hnsw"] = "nor was hnsw"
    del prepared["indexes"]["hnsw"]
    (tmp_path / "s.npz").unlink()
    found = measured(prepared, tmp_path, settings(controls=("hybrid_seeded",)))
    assert found["hybrid_seeded"].reason == "the index ivfpq was not built: it was ended by SIGABRT; nor was hnsw"
    assert not (tmp_path / "s.npz").exists(), "nothing was measured"


def test_a_crash_of_one_strategy_leaves_the_others(children, prepared, tmp_path):
    children[1]["time_strategy", "hybrid", 0] = CRASH
    found = measured(prepared, tmp_path)
    assert [record.status for record in found.values()] == ["failed", "measured", "measured"]
    assert found["hybrid"].reason == "it was ended by SIGSEGV"
    assert [function for function, strategy, *_ in children[0] if strategy == "hybrid"] == ["time_strategy"]
    with np.load(tmp_path / "s.npz") as kept:
        assert not any(name.startswith("hybrid/") for name in kept)


@pytest.mark.parametrize("function, what, lost", [
    ("time_stages", "the time of each stage", "route_seconds"), ("open_loop_latency", "the open loop", "open_loop_p95"),
    ("throughput", "the throughput", "throughput_qps"), ("batches", "the batches", None),
])  # fmt: skip
def test_a_later_step_that_crashes_takes_only_its_own_numbers(children, prepared, tmp_path, function, what, lost):
    children[1][function, "hybrid", None] = CRASH
    found = measured(prepared, tmp_path)
    record = found["hybrid"]
    assert (record.status, record.samples) == ("measured", "s.npz")
    assert record.reason == f"{what} was not measured: it was ended by SIGSEGV"
    assert record.detail["not_measured"] == {what: "it was ended by SIGSEGV"}
    names = {"route_seconds", "open_loop_p95", "throughput_qps", "recall_at_100", "latency_p95"}
    assert names & set(record.metrics) == names - {lost}
    assert ("batches" in record.detail) == (function != "batches")
    assert found["ivfpq_refine"].reason is None and names <= set(found["ivfpq_refine"].metrics)


def test_a_later_process_that_crashes_leaves_what_the_others_measured(children, prepared, tmp_path):
    children[1]["time_strategy", "hybrid", 1] = CRASH
    record = measured(prepared, tmp_path, settings(processes=3))["hybrid"]
    assert record.reason == "process 2 of 3 was not measured: it was ended by SIGSEGV"
    assert record.metrics["latency_p95"].n == 2 * 3 * QUERIES, "of the first and the third"
    assert record.metrics["recall_at_100"].value == pytest.approx(0.3495)


def test_what_is_missing_is_skipped(children, prepared, tmp_path):
    prepared["missing"] = {"hnsw": "hnsw needs the package no_such_package"}
    found = measured(prepared, tmp_path)
    assert [record.status for record in found.values()] == ["measured", "skipped", "measured"]
    assert found["hnsw"].reason == "hnsw needs the package no_such_package"
    assert {strategy for _, strategy, *_ in children[0]} == {"hybrid", "ivfpq_refine"}


def test_on_a_gpu_each_row_has_its_batches(children, prepared, tmp_path):
    prepared["indexes"] = {"ivfpq_gpu": BUILT | {"folder": "/g"}}
    records = benchmark.measure(settings(controls=("hnsw", "exact")), "gpu", prepared, tmp_path / "s.npz")
    assert [(record.variant, record.status, "batches" in record.detail) for record in records] == [
        ("hybrid", "measured", True), ("exact", "measured", True),
    ]  # fmt: skip
    assert {(strategy, device) for _, strategy, _, _, device in children[0]} == {
        ("hybrid_gpu", "gpu"),
        ("exact_gpu", "gpu"),
    }


def test_the_rows_of_the_users_file_stay_with_the_samples(children, prepared, tmp_path):
    kept = places.Places(np.arange(5), np.arange(2 * QUERIES).reshape(-1, 2), np.array([7, 8]))
    places.save(tmp_path, kept)
    measured(prepared, tmp_path)
    with np.load(tmp_path / "s.npz") as written:
        samples = dict(written)
    for variant in ("hybrid", "hnsw", "ivfpq_refine"):
        assert samples[f"{variant}/query_rows"].tolist() == kept.queries.tolist()
        assert samples[f"{variant}/held_out"].tolist() == [7, 8]


def test_recall_is_told_where_the_answers_reach():
    assert [settings(k=k).recall_depths for k in (1, 2, 10, 11, 100)] == [
        (1,), (1, 2), (1, 10), (1, 10, 11), (1, 10, 100),
    ]  # fmt: skip
    assert settings().k == 100
    for k in (0, 101):
        with pytest.raises(ValueError, match="k"):
            settings(k=k)
