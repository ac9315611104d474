"""What is gathered of a variant: the estimates belong to the values they stand beside."""

from __future__ import annotations

import numpy as np
import pytest

from nightgate.errors import ChildError, NotMeasured
from nightgate.facts import Crowd, OpenLoop, Point, Tuning
from nightgate.measure import host
from nightgate.measure.device_memory import DeviceMemory
from nightgate.record import Record, utc_now
from nightgate.vector_search.batches import BatchRate
from nightgate.vector_search.evidence import Evidence, keep_rounds
from nightgate.vector_search.metrics import BUILD_SECONDS, INDEX_BYTES
from nightgate.vector_search.session import Proof
from nightgate.vector_search.stages import Stages
from nightgate.vector_search.states import Pooled
from nightgate.vector_search.timed import Level, OpenLoopAnswer, Timed
from nightgate.vector_search.tuning import Tuned
from nightgate.vectors.places import Places

QUERIES = 90
RECALL = np.linspace(0.5, 0.95, QUERIES)  # rises with the number of the query
POINT = Point(setting={"lists": 4}, recall=0.9, latency_p50=0.001, latency_p95=0.002, queries=7)
HARDNESS = np.arange(QUERIES)
PACE = [300_000.0, 190_000.0, 250_000.0]  # ns: beside each call the kernel took 200,000


@pytest.fixture
def evidence():
    return Evidence(
        Record(
            benchmark="hybrid_ann", variant="hybrid", device="cpu", status="measured", host=host.describe(),
            gated=True, settings={}, started_at=utc_now(), samples="s.npz",
        ),
        recall_target=0.95,
    )  # fmt: skip


def durations(first, passes=2):
    return (first + np.arange(passes * QUERIES)).reshape(passes, QUERIES) * 1_000


def process(evidence, first=1_000, recall=RECALL, ids=None, peak=7, tuned=True, **changed):
    ids = np.arange(QUERIES * 20).reshape(QUERIES, 20) if ids is None else ids
    made = {
        "setting": {"lists": 4}, "tuned": Tuned({"lists": 4}, tuned, [POINT]), "first_touch_ns": 12_000,
        "proof": Proof({"faiss": "1"}, {"plan": ["Index Scan"]}), "warmed": {"warmed": {"queries": 5}},
    }  # fmt: skip
    times = durations(first)
    made |= {"durations": times, "beside": np.full_like(times, 200_000), "recalls": {1: recall / 2, 20: recall}}
    evidence.add_timed(Timed(ids=ids, **made | changed), peak)


def test_a_record_holds_what_was_measured(evidence):
    assert (evidence.setting, evidence.gated, evidence.variant) == (None, True, "hybrid")
    evidence.costs = {BUILD_SECONDS: 2.5, INDEX_BYTES: 40}
    process(evidence)
    process(evidence, first=5_000, recall=RECALL / 3, ids=np.zeros((QUERIES, 20), int), peak=9, setting={"lists": 8})
    process(evidence, peak=8, tuned=False, first_touch_ns=1, proof=Proof({}), warmed={})
    assert evidence.setting == {"lists": 4}
    raw = evidence.finish(HARDNESS[::-1], None, PACE)  # the last queries, which find most, are the easy ones
    record = evidence.record
    assert (record.status, record.reason, record.samples) == ("measured", None, "s.npz")
    assert record.finished_at >= record.started_at
    found = {name: (metric.value, metric.n) for name, metric in record.metrics.items()}
    assert found["recall_at_20"] == (pytest.approx(RECALL.mean()), QUERIES)
    assert found["recall_at_1"] == (pytest.approx(RECALL.mean() / 2), QUERIES)
    assert found["recall_p5"] == (RECALL[5], QUERIES), "the higher of the two beside it"
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
    assert found["qps"] == (pytest.approx(1e9 / together.mean()), 540)
    assert (found["first_touch"], found["peak_rss_bytes"]) == ((12e-6, 1), (9, 1))
    assert (found["build_seconds"], found["index_bytes"]) == ((2.5, 1), (40, 1))
    assert set(found) == {
        "recall_at_1", "recall_at_20", "recall_p5", "recall_easy", "recall_middle", "recall_hard", "latency_p50",
        "latency_p95", "latency_p99", "qps", "latency_p50_fast", "latency_p95_fast", "latency_p99_fast", "fast_share", "first_touch", "peak_rss_bytes", "build_seconds", "index_bytes",
    }  # fmt: skip
    assert record.facts.tuning == Tuning(target=0.95, setting={"lists": 4}, reached=True, curve=[POINT])
    assert record.facts.provenance.versions == {"faiss": "1"}
    assert record.detail == {"plan": ["Index Scan"], "warmed": {"queries": 5}}
    assert set(raw) == {"durations_ns", "beside_ns", "processes", "recall", "ids"}
    assert raw["durations_ns"].tolist() == together.tolist()
    assert raw["recall"].tolist() == RECALL.tolist()
    assert raw["ids"].tolist() == np.arange(QUERIES * 20).reshape(QUERIES, 20).tolist()


def stages(**known):
    given = {
        "route_seconds": 0.001,
        "scan_seconds": 7.0,
        "rerank_seconds": 3.0,
        "route_recall": 0.9,
        "scan_recall": 0.8,
    }
    return Stages(**given | known)


def test_what_came_beside_is_told_beside(evidence):
    process(evidence)
    evidence.add_stages(stages(scan_recall=0.75))
    loop = OpenLoop(rate=200, seconds=2, utilisation=0.5, saturated=False, lateness_p50_seconds=None)
    evidence.add_open_loop(OpenLoopAnswer(loop, np.arange(1, 401) * 1_000))
    evidence.add_batches([BatchRate(10, 70.0, 7, (60.0, 80.0), 0.9)], threads=2)
    evidence.add_throughput(np.array([50.0, 200.0]), threads=2, batch=256)
    raw = evidence.finish(HARDNESS, Places(np.array([9]), np.array([[1, 5]]), np.array([5, 6])), PACE)
    metrics, facts = evidence.record.metrics, evidence.record.facts
    assert (metrics["route_seconds"].value, metrics["route_seconds"].n) == (0.001, QUERIES)
    assert (metrics["rerank_seconds"].value, metrics["scan_recall"].value) == (3.0, 0.75)
    assert metrics["open_loop_p50"].value == pytest.approx(201e-6)
    assert metrics["throughput_qps"].value == pytest.approx(80), "of the mean time"
    assert facts.open_loop == loop
    throughput, ten = facts.batches
    assert (throughput.size, throughput.threads, throughput.recall) == (256, 2, None), "the throughput comes first"
    assert throughput.queries_per_second == pytest.approx(80)
    assert (ten.size, ten.threads, ten.queries_per_second, ten.ci95, ten.recall) == (10, 2, 70.0, (60.0, 80.0), 0.9)
    assert raw["open_loop_ns"].tolist() == (np.arange(1, 401) * 1_000).tolist()
    assert (raw["query_rows"].tolist(), raw["held_out"].tolist()) == ([[1, 5]], [5, 6])


def test_the_throughput_of_clients_is_that_of_their_best_number(evidence):
    crowds = [
        Crowd(clients=1, queries_per_second=90.0, ci95=(80.0, 100.0), latency_p50=0.01, latency_p95=0.02),
        Crowd(clients=2, queries_per_second=170.0, ci95=(160.0, 180.0), latency_p50=0.01, latency_p95=0.03),
        Crowd(clients=4, queries_per_second=150.0, ci95=None, latency_p50=0.02, latency_p95=0.05),
    ]
    levels = [Level(crowd, n) for crowd, n in zip(crowds, (10, 9, 8), strict=True)]
    process(evidence)
    evidence.add_clients(levels)
    evidence.finish(HARDNESS, None, PACE)
    best = evidence.record.metrics["throughput_qps"]
    assert (best.value, best.n, best.ci95) == (170.0, 9, (160.0, 180.0))
    assert evidence.record.facts.crowds == crowds


def test_the_cold_start_is_the_first_query_and_the_middle_one(evidence):
    evidence.add_cold_start(np.array([9_000_000, 1_000_000, 4_000_000, 20_000_000, 3_000_000]))
    first, middle = (evidence.record.metrics[f"cold_start_{name}"] for name in ("first", "p50"))
    assert (first.value, first.n, first.ci95) == (0.009, 1, None)
    assert (middle.value, middle.n) == (0.004, 5)


def test_what_was_tuned_before_is_told_where_nothing_was_looked_for(evidence):
    process(evidence, setting={"lists": 9})
    again = Evidence(evidence.record, 0.95)
    again.add_timed(Timed(**vars(evidence.timed) | {"tuned": None}))
    again.known = Tuned({"lists": 9}, False, [POINT])
    again.finish(HARDNESS, None, PACE)
    assert again.record.facts.tuning == Tuning(target=0.95, setting={"lists": 9}, reached=False, curve=[POINT])
    assert again.record.reason == "no setting reaches recall 0.95 with its margin: lists 9 comes closest, with 0.900"


def test_the_memory_of_a_device_is_the_most_of_any_process(evidence):
    process(evidence)
    for peak in (DeviceMemory(5, "process"), DeviceMemory(3, "process"), None):
        evidence.add_timed(evidence.timed, 7, peak)
    evidence.finish(HARDNESS, None, PACE)
    assert evidence.record.metrics["peak_device_bytes"].value == 5


def test_the_memory_of_a_client_is_not_that_of_a_server(evidence):
    process(evidence, peak=None)
    evidence.finish(HARDNESS, None, PACE)
    assert "peak_rss_bytes" not in evidence.record.metrics


def test_a_target_out_of_reach_is_the_reason(evidence):
    process(evidence, tuned=False)
    evidence.finish(HARDNESS, None, PACE)
    assert evidence.record.reason == "no setting reaches recall 0.95 with its margin: lists 4 comes closest, with 0.900"
    assert evidence.record.facts.tuning.reached is False


def fails(error):
    def step(_):
        raise error

    return step


def test_a_step_beside_that_fails_takes_nothing_with_it(evidence, caplog):
    process(evidence, tuned=False)
    evidence.beside("the open loop", fails(ChildError("it was ended by SIGSEGV", "look")))
    evidence.beside("the throughput", fails(ValueError()))
    evidence.beside("the cold start", fails(OSError("no\npid")))
    evidence.beside("the stages", lambda one: one.add_stages(stages()))
    raw = evidence.finish(HARDNESS, None, PACE)
    record = evidence.record
    assert record.status == "measured"
    assert {"recall_at_20", "latency_p95", "route_seconds"} <= set(record.metrics)
    assert set(raw) == {"durations_ns", "beside_ns", "processes", "recall", "ids"}
    assert record.facts.not_measured == {
        "the open loop": "it was ended by SIGSEGV. Next step: look", "the throughput": "ValueError",
        "the cold start": "OSError: no pid",
    }  # fmt: skip
    assert record.reason == (
        "no setting reaches recall 0.95 with its margin: lists 4 comes closest, with 0.900; the open loop was not "
        "measured: it was ended by SIGSEGV. Next step: look; the throughput was not measured: ValueError; the cold start "
        "was not measured: OSError: no pid"
    )
    assert "hybrid: the throughput was not measured: ValueError" in caplog.text


def test_a_person_who_stops_the_run_stops_it(evidence):
    with pytest.raises(KeyboardInterrupt):
        evidence.beside("the open loop", fails(KeyboardInterrupt()))


def test_without_the_judged_numbers_it_failed_and_nothing_else_is_tried(evidence):
    evidence.costs = {BUILD_SECONDS: 2.5}
    evidence.tell({"index": "built"})
    evidence.attempt(fails(NotMeasured("the child crashed")))
    evidence.beside("the open loop", lambda _: pytest.fail("tried"))
    evidence.attempt(lambda _: pytest.fail("tried"))
    assert evidence.finish(HARDNESS, Places(np.array([9]), np.array([[1, 5]]), np.array([5])), []) == {}
    record = evidence.record
    assert (record.status, record.reason, record.samples) == ("failed", "the child crashed", None)
    assert record.finished_at
    assert (record.metrics, record.detail) == ({}, {"index": "built"})


def test_a_failure_after_numbers_leaves_none(evidence):
    process(evidence)
    evidence.add_throughput(np.array([5.0]), threads=1, batch=1)
    evidence.fail("the server went")
    assert (evidence.finish(HARDNESS, None, PACE), evidence.record.metrics, evidence.record.samples) == ({}, {}, None)


def test_no_interval_of_a_recall_goes_beyond_all(evidence):
    recall = np.r_[np.ones(99), 0.99]
    process(evidence)
    times = np.arange(1, 301).reshape(3, 100)
    more = {
        "durations": times,
        "beside": np.full_like(times, 200_000),
        "recalls": {100: recall},
        "ids": np.zeros((100, 1), int),
    }
    again = Evidence(evidence.record, 0.95)
    again.add_timed(Timed(**vars(evidence.timed) | more))
    again.finish(np.arange(100.0), None, PACE)
    found = again.record.metrics
    assert found["recall_at_100"].ci95[0] < found["recall_at_100"].value < found["recall_at_100"].ci95[1] == 1.0
    assert found["recall_hard"].ci95[1] == 1.0


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
    evidence.add_stages(stages(route_recall=route, scan_recall=scan))
    raw = evidence.finish(HARDNESS, None, PACE)
    if wrong is None:
        assert evidence.record.status == "measured" and raw
    else:
        assert evidence.record.status == "failed"
        assert evidence.record.reason == f"{wrong}: both cannot be true, so neither is believed"
        assert (raw, evidence.record.metrics, evidence.record.samples) == ({}, {}, None)


def test_where_the_host_was_hardly_at_full_speed_no_latency_of_it_is_told(evidence):
    evidence.precision = 0.02
    for first in (1_000, 2_000, 3_000):
        process(evidence, first=first)
    evidence.finish(HARDNESS, None, [300_000.0, 150_000.0])  # the kernel took 200,000
    record = evidence.record
    assert record.metrics["fast_share"].value == 0 and "latency_p50_fast" not in record.metrics
    assert record.facts.not_measured["the latencies at full speed"] == (
        "the host was at its full speed beside 0% of the queries, and each must have been asked then at least 5 times"
    )
    assert record.reason is None, "what is judged was measured"
    assert (record.facts.pace.fastest_seconds, record.facts.pace.measurements) == (150e-6, 2)
    assert record.facts.stopped == "budget"


def test_what_ended_the_passes_is_told_with_what_was_reached(evidence):
    times = np.tile(durations(1_000, 1), (6, 1))
    process(evidence, durations=times, beside=np.full_like(times, 200_000))
    for precision, stopped in ((0.0, None), (0.02, "precision")):
        evidence.precision = precision
        evidence.finish(HARDNESS, None, PACE)
        assert (evidence.record.facts.stopped, evidence.record.facts.half_width) == (stopped, 0.0)
    assert evidence.record.metrics["latency_p50_fast"].value == evidence.record.metrics["latency_p50"].value
    assert evidence.record.metrics["latency_p50_fast"].n == 6 * QUERIES


def test_no_pass_is_put_together_from_two_processes():
    times = np.arange(12).reshape(4, 3)
    chosen = np.array([[1, 1, 0], [0, 1, 1], [1, 1, 1], [0, 1, 1]], bool)
    passes, processes = Pooled(times, times, np.array([0, 0, 2, 2])).alike(chosen)
    assert (passes.tolist(), processes.tolist()) == ([[0, 1, 5], [6, 7, 8]], [0, 2])
    passes, processes = Pooled(times, times, np.array([0, 2, 2, 2])).alike(chosen)
    assert (passes.tolist(), processes.tolist()) == ([[6, 4, 5]], [2]), "of the first, one query was never asked then"


def test_only_passes_that_all_have_made_are_rounds(evidence):
    other = Evidence(evidence.record.model_copy(update={"variant": "other"}), 0.95)
    for one, counts in ((evidence, (3, 2)), (other, (2, 4))):
        for number, count in enumerate(counts):
            times = durations(1_000 * (number + 1), count)
            process(one, durations=times, beside=np.full_like(times, 200_000))
    keep_rounds([evidence, other], 2)
    first, second = (one.finish(HARDNESS, None, PACE)["round_p50"] for one in (evidence, other))
    # the 46th of 90 queries, in the first two passes of either process
    assert first.tolist() == second.tolist() == pytest.approx([1.045e-3, 1.135e-3, 2.045e-3, 2.135e-3])
    keep_rounds([evidence], 2)
