"""What is gathered of a strategy: the estimates belong to the values they stand beside."""

from __future__ import annotations

import numpy as np
import pytest

from nightgate.errors import ChildError, NotMeasured
from nightgate.hybrid_ann.evidence import Evidence
from nightgate.measure import host
from nightgate.measure.device_memory import DeviceMemory
from nightgate.record import Record, utc_now
from nightgate.vectors.places import Places

QUERIES = 90
RECALL = np.linspace(0.5, 0.95, QUERIES)  # rises with the number of the query
ANSWER = {
    "setting": {"lists": 4}, "reached": True, "shortfall": None, "curve": [{"recall": 0.9}], "first_touch_ns": 12_000,
    "staged": True, "versions": {"faiss": "1"}, "gpu": None,
}  # fmt: skip


@pytest.fixture
def evidence():
    return Evidence(
        Record(
            benchmark="hybrid_ann", variant="hybrid", device="cpu", status="measured", host=host.describe(),
            settings={}, started_at=utc_now(), samples="s.npz",
        )
    )  # fmt: skip


def durations(first, passes=2):
    return (first + np.arange(passes * QUERIES)).reshape(passes, QUERIES) * 1_000


def process(evidence, first=1_000, recall=RECALL, ids=None, peak=7, **changed):
    ids = np.arange(QUERIES * 20).reshape(QUERIES, 20) if ids is None else ids
    evidence.add_process(ANSWER | changed, durations(first), {1: recall / 2, 20: recall}, ids, peak)


def test_a_record_holds_what_was_measured(evidence):
    assert (evidence.setting, evidence.staged, evidence.variant) == (None, False, "hybrid")
    process(evidence)
    process(evidence, first=5_000, recall=RECALL / 3, ids=np.zeros((QUERIES, 20), int), peak=9, setting={"lists": 8})
    process(evidence, peak=8, reached=False, first_touch_ns=1, curve=[], versions={}, staged=False)
    assert (evidence.setting, evidence.staged) == ({"lists": 4}, True)
    raw = evidence.finish(np.arange(QUERIES)[::-1])  # the last queries, which find most, are the easy ones
    record = evidence.record
    assert (record.status, record.reason, record.samples) == ("measured", None, "s.npz")
    assert record.finished_at >= record.started_at
    found = {name: (metric.value, metric.n) for name, metric in record.metrics.items()}
    assert found["recall_at_20"] == (pytest.approx(RECALL.mean()), QUERIES)
    assert found["recall_at_1"] == (pytest.approx(RECALL.mean() / 2), QUERIES)
    assert found["recall_p5"] == (pytest.approx(np.quantile(RECALL, 0.05)), QUERIES)
    assert found["recall_easy"] == (pytest.approx(RECALL[60:].mean()), 30)
    assert found["recall_middle"] == (pytest.approx(RECALL[30:60].mean()), 30)
    assert found["recall_hard"] == (pytest.approx(RECALL[:30].mean()), 30)
    low, high = record.metrics["recall_at_20"].ci95
    assert low < RECALL.mean() < high and high - low == pytest.approx(
        2 * 1.98698 * RECALL.std(ddof=1) / 90**0.5, rel=1e-5
    )
    assert record.metrics["recall_hard"].ci95[1] < record.metrics["recall_easy"].ci95[0]
    together = np.concatenate([durations(1_000), durations(5_000), durations(1_000)])
    assert found["latency_p50"] == (np.quantile(together, 0.5, method="higher") / 1e9, 540)
    assert found["latency_p95"] == (np.quantile(together, 0.95, method="higher") / 1e9, 540)
    assert found["latency_p99"][0] == np.quantile(together, 0.99, method="higher") / 1e9
    assert found["qps"] == (1e9 / together.mean(), 540)
    assert found["first_touch"] == (12e-6, 1)
    assert found["peak_rss_bytes"] == (9, 1)
    assert set(found) == {
        "recall_at_1", "recall_at_20", "recall_p5", "recall_easy", "recall_middle", "recall_hard", "latency_p50",
        "latency_p95", "latency_p99", "qps", "first_touch", "peak_rss_bytes",
    }  # fmt: skip
    assert record.detail == {
        "setting": {"lists": 4}, "tuning_reached_target": True, "curve": [{"recall": 0.9}], "versions": {"faiss": "1"},
    }  # fmt: skip
    assert set(raw) == {"durations_ns", "recall", "ids"}
    assert raw["durations_ns"].tolist() == together.tolist()
    assert raw["recall"].tolist() == RECALL.tolist()
    assert raw["ids"].tolist() == np.arange(QUERIES * 20).reshape(QUERIES, 20).tolist()


def test_the_memory_of_a_device_is_the_most_that_a_process_took(evidence):
    process(evidence)
    evidence.add_device_memory(DeviceMemory(3_000, "device"))
    evidence.add_device_memory(DeviceMemory(5_000, "device"))
    evidence.finish(np.arange(QUERIES))
    assert evidence.record.metrics["peak_device_bytes"].value == 5_000
    assert evidence.record.detail["peak_device_bytes_by"] == "device"


def test_a_cpu_has_no_memory_of_a_device(evidence):
    process(evidence)
    evidence.add_device_memory(None)
    evidence.finish(np.arange(QUERIES))
    assert "peak_device_bytes" not in evidence.record.metrics


def test_what_came_beside_is_told_beside(evidence):
    process(evidence)
    evidence.add_stages({"route_seconds": 0.001, "scan_recall": 0.75})
    evidence.add_open_loop({"saturated": False}, np.arange(1, 401) * 1_000, rate=200, seconds=2)
    evidence.add_places(Places(np.array([9]), np.array([[1, 5]]), np.array([5, 6])))
    raw = evidence.finish(np.arange(QUERIES))
    metrics = evidence.record.metrics
    assert (metrics["route_seconds"].value, metrics["route_seconds"].n) == (0.001, QUERIES)
    assert metrics["scan_recall"].value == 0.75
    assert metrics["open_loop_p50"].value == pytest.approx(201e-6)
    assert evidence.record.detail["open_loop"] == {"rate": 200, "seconds": 2, "saturated": False}
    assert raw["open_loop_ns"].tolist() == (np.arange(1, 401) * 1_000).tolist()
    assert (raw["query_rows"].tolist(), raw["held_out"].tolist()) == ([[1, 5]], [5, 6])


def test_vectors_that_no_file_holds_have_no_places(evidence):
    process(evidence)
    evidence.add_places(None)
    assert set(evidence.finish(np.arange(QUERIES))) == {"durations_ns", "recall", "ids"}


def test_a_target_out_of_reach_is_the_reason(evidence):
    process(evidence, shortfall="no setting reaches it", reached=False)
    evidence.finish(np.arange(QUERIES))
    assert evidence.record.reason == "no setting reaches it"
    assert evidence.record.detail["tuning_reached_target"] is False


def fails(error):
    def step(_):
        raise error

    return step


def test_a_step_beside_that_fails_takes_nothing_with_it(evidence):
    process(evidence, shortfall="no setting reaches it")
    evidence.attempt_beside("the open loop", fails(ChildError("it was ended by SIGSEGV", "look")))
    evidence.attempt_beside("the throughput", fails(ValueError()))
    evidence.attempt_beside("the stages", lambda one: one.add_stages({"route_seconds": 0.5}))
    raw = evidence.finish(np.arange(QUERIES))
    record = evidence.record
    assert record.status == "measured"
    assert {"recall_at_20", "latency_p95", "route_seconds"} <= set(record.metrics)
    assert set(raw) == {"durations_ns", "recall", "ids"}
    assert record.detail["not_measured"] == {
        "the open loop": "it was ended by SIGSEGV. Next step: look", "the throughput": "ValueError",
    }  # fmt: skip
    assert record.reason == (
        "no setting reaches it; the open loop was not measured: it was ended by SIGSEGV. Next step: look; "
        "the throughput was not measured: ValueError"
    )


def test_a_person_who_stops_the_run_stops_it(evidence):
    with pytest.raises(KeyboardInterrupt):
        evidence.attempt_beside("the open loop", fails(KeyboardInterrupt()))


def test_without_the_judged_numbers_it_failed_and_nothing_else_is_tried(evidence):
    evidence.attempt(fails(NotMeasured("the child crashed")))
    evidence.attempt_beside("the open loop", lambda _: pytest.fail("tried"))
    evidence.attempt(lambda _: pytest.fail("tried"))
    evidence.add_places(Places(np.array([9]), np.array([[1, 5]]), np.array([5])))
    assert evidence.finish(np.arange(QUERIES)) == {}
    record = evidence.record
    assert (record.status, record.reason, record.samples) == ("failed", "the child crashed", None)
    assert record.finished_at
    assert record.metrics == {} and "not_measured" not in record.detail


def test_no_interval_of_a_recall_goes_beyond_all(evidence):
    recall = np.r_[np.ones(99), 0.99]
    ids = np.zeros((100, 1), int)
    evidence.add_process(ANSWER, np.arange(1, 301).reshape(3, 100), {100: recall}, ids, 1)
    evidence.finish(np.arange(100.0))
    found = evidence.record.metrics
    assert found["recall_at_100"].ci95[0] < found["recall_at_100"].value < found["recall_at_100"].ci95[1] == 1.0
    assert found["recall_hard"].ci95[1] == 1.0


def throughput(evidence, seconds, queries=1000):
    """Passes of ``queries`` queries, each of so many seconds."""
    per_second = queries / np.array(seconds)
    evidence.add_throughput({"per_second": per_second.tolist()}, threads=2, batch=256)
    return evidence.record.metrics["throughput_qps"]


def test_the_throughput_lies_within_its_interval_though_one_pass_was_held_up(evidence):
    found = throughput(evidence, [1.0] * 100 + [200.0])
    assert found.value == pytest.approx(1000 * 101 / 300)
    assert found.ci95 is None or found.ci95[0] <= found.value <= found.ci95[1]
    found = throughput(evidence, [1.0] * 100 + [10.0])
    assert found.ci95[0] < found.value < found.ci95[1]
    assert evidence.record.detail["throughput"] == {"threads": 2, "batch": 256}


def test_the_interval_of_the_throughput_is_that_of_the_seconds_turned_round(evidence):
    seconds = np.array([1.0, 1.2, 0.9, 1.1, 1.3, 0.8])
    found = throughput(evidence, seconds)
    half = 2.570582 * seconds.std(ddof=1) / 6**0.5
    assert (found.value, found.n) == (pytest.approx(1000 / 1.05), 6)
    assert found.ci95 == pytest.approx((1000 / (1.05 + half), 1000 / (1.05 - half)), rel=1e-6)


def test_few_passes_state_no_interval_of_the_throughput(evidence):
    found = throughput(evidence, [1.0, 2.0])
    assert (found.value, found.n, found.ci95) == (pytest.approx(2000 / 3), 2, None)


def test_seconds_that_may_be_none_at_all_give_the_throughput_no_interval(evidence):
    assert throughput(evidence, [1.0, 1.0, 1.0, 1.0, 50.0]).ci95 is None


@pytest.mark.parametrize(
    ("route", "scan", "wrong"),
    [
        (0.058, 0.058, "the answers hold 0.7250 of the true neighbours and the candidates, from which they come, 0.0580"),
        (0.9, 0.722, "the answers hold 0.7250 of the true neighbours and the candidates, from which they come, 0.7220"),
        (0.85, 0.9, "the candidates hold 0.9000 of the true neighbours and the lists to scan, from which they come, 0.8500"),
        (0.9, 0.7235, None),
        (0.8, 0.8, None),
    ],
)  # fmt: skip
def test_what_a_later_stage_finds_and_an_earlier_one_lost_is_believed_of_neither(evidence, route, scan, wrong):
    process(evidence)
    evidence.add_stages({"route_recall": route, "scan_recall": scan, "scan_seconds": 7.0})
    raw = evidence.finish(np.arange(QUERIES))
    if wrong is None:
        assert evidence.record.status == "measured" and raw
    else:
        assert evidence.record.status == "failed"
        assert evidence.record.reason == f"{wrong}: both cannot be true, so neither is believed"
        assert (raw, evidence.record.metrics, evidence.record.samples) == ({}, {}, None)
