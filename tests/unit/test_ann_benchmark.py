"""The hybrid's steps around its children: what one part does to the others, and what each child is asked."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from nightgate.benchmark import Context
from nightgate.errors import ChildError, InputError, NightgateError, NotMeasured, Unavailable
from nightgate.facts import OpenLoop
from nightgate.hybrid_ann import preparing, strategies, timing
from nightgate.hybrid_ann.indexes import BuiltIndex
from nightgate.hybrid_ann.plugin import BENCHMARK
from nightgate.hybrid_ann.prepared import HybridPrepared
from nightgate.hybrid_ann.settings import Settings
from nightgate.measure import devices, host
from nightgate.measure.child import ChildResult
from nightgate.record import Gpu
from nightgate.vector_search import asking, several
from nightgate.vector_search.batches import BatchRate
from nightgate.vector_search.passes import Passes
from nightgate.vector_search.session import Proof
from nightgate.vector_search.settings import Shape
from nightgate.vector_search.stages import Stages
from nightgate.vector_search.timed import OpenLoopAnswer, Timed
from nightgate.vector_search.tuning import Tuned, Tuning
from nightgate.vectors import data, places
from nightgate.vectors.prepared import DataFacts, PreparedData

QUERIES = 100
BUILT = BuiltIndex(
    folder=Path("/indexes/any"),
    build_seconds=2.5,
    build_peak_rss_bytes=300,
    bytes=40,
    built_at="then",
    reused=False,
    facts={"lists": 16},
)
FACTS = DataFacts(rows=5, dim=3, digest="d")
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
    given = {
        "variants": ("hybrid",), "controls": ("hnsw", "ivfpq_refine"), "queries": QUERIES, "processes": 2,
        "load_controls": True,
    }  # fmt: skip
    return Settings(**given | changed)


def built(name):
    return BUILT.model_copy(update={"folder": Path(f"/indexes/{name}")})


def prepare(asked, device="cpu"):
    return BENCHMARK.prepare(asked, Context(device, None))


@pytest.fixture
def indexes(monkeypatch):
    """Index name → the error its build ends with; every other is built."""
    broken = {}

    def build_index(index, prepared, parameters, cache):
        assert prepared.data is FACTS and set(parameters) == {"threads", "m", "ef_construction", "rows_per_list"}
        if index.name in broken:
            raise broken[index.name]
        return built(index.name)

    found = PreparedData(vectors=Path("/v"), truth=Path("/t"), data=FACTS)
    monkeypatch.setattr(preparing, "build_index", build_index)
    monkeypatch.setattr(data, "prepare", lambda cache, **_: found)
    return broken


@pytest.fixture
def without(monkeypatch):
    """Modules that are not installed."""
    gone = set()
    monkeypatch.setattr(strategies, "missing", lambda modules: next((m for m in modules if m in gone), None))
    return gone


def test_an_index_that_cannot_be_built_keeps_no_other_from_being_built(indexes):
    indexes["ivfpq"] = ChildError("it was ended by SIGABRT")
    assert prepare(settings()) == HybridPrepared(
        vectors=Path("/v"), truth=Path("/t"), data=FACTS, indexes={"hnsw": built("hnsw")},
        failed={"ivfpq": "the index ivfpq was not built: it was ended by SIGABRT"},
    )  # fmt: skip
    for error, said in ((InputError("too long for float16", "scale it"), "too long for float16. Next step: scale it"),
                        (OSError(), "OSError"), (RuntimeError("bad"), "bad")):  # fmt: skip
        indexes.clear()
        indexes["hnsw"] = error
        found = prepare(settings())
        assert (set(found.indexes), found.failed) == ({"ivfpq"}, {"hnsw": f"the index hnsw was not built: {said}"})


def test_a_person_stops_the_building(indexes):
    indexes["hnsw"] = KeyboardInterrupt()
    with pytest.raises(KeyboardInterrupt):
        prepare(settings())


def test_each_index_is_built_once_and_only_for_what_can_run(indexes, without):
    without.add("nmslib")
    found = prepare(settings(controls=("hnsw", "hybrid_seeded", "ivfpq_refine")))
    assert (set(found.indexes), found.failed) == ({"ivfpq"}, {})
    reason = "needs the package nmslib. Next step: install it: pip install nmslib"
    assert found.missing == {name: f"{name} {reason}" for name in ("hnsw", "hybrid_seeded")}


def test_nothing_is_prepared_without_a_gated_strategy(indexes, without):
    without.add("nmslib")
    with pytest.raises(NotMeasured, match="hnsw needs the package nmslib"):
        prepare(settings(variants=("hnsw",), controls=("hybrid",)))
    assert set(prepare(settings(variants=("hnsw", "hybrid"))).indexes) == {"ivfpq"}


@pytest.fixture
def gpu(monkeypatch):
    """A host with one, where a variant is missing whose reason is put in here."""
    missing, asked = {}, []

    def run_child(target, variants, *, threads, device):
        asked.append((target, variants, threads, device))
        return ChildResult({name: error for name, error in missing.items() if name in variants}, 1, 1.0)

    monkeypatch.setattr(preparing, "run_child", run_child)
    monkeypatch.setattr(devices, "gpu", lambda: Gpu(name="A device", memory_bytes=1, source="nvml"))
    return missing, asked


def test_a_child_is_asked_what_runs_on_a_gpu_of_what_may(indexes, gpu):
    with pytest.raises(Unavailable, match="^hnsw does not run on a gpu; usearch does not run on a gpu$"):
        prepare(settings(variants=("hnsw", "usearch"), controls=()), "gpu")
    assert gpu[1] == []
    found = prepare(settings(controls=("hnsw", "exact")), "gpu")
    assert gpu[1] == [(preparing.see_gpu, ["hybrid", "exact"], 1, "gpu")]
    assert (set(found.indexes), found.missing) == ({"ivfpq_gpu"}, {"hnsw": "hnsw does not run on a gpu"})


def test_on_a_gpu_a_control_that_runs_is_enough(indexes, gpu):
    gpu[0]["hybrid"] = Unavailable("no faiss", "install it")
    found = prepare(settings(controls=("exact",)), "gpu")
    assert (found.indexes, found.missing) == ({}, {"hybrid": "no faiss. Next step: install it"})
    for controls in ((), ("hnsw",)):
        with pytest.raises(Unavailable, match="^no faiss. Next step: install it$"):
            prepare(settings(controls=controls), "gpu")
    gpu[0]["exact"] = Unavailable("no torch")
    with pytest.raises(Unavailable, match="^no faiss. Next step: install it$"):
        prepare(settings(controls=("exact",)), "gpu")


def test_on_a_cpu_no_control_stands_in_and_every_row_is_never_compared(indexes):
    with pytest.raises(NotMeasured, match="^exact does not run on a cpu$"):
        prepare(settings(variants=("exact",), controls=("hybrid",)))
    found = prepare(settings(controls=("exact",)))
    assert (set(found.indexes), found.missing) == ({"ivfpq"}, {"exact": "exact does not run on a cpu"})


def test_an_index_that_a_gpu_cannot_hold_is_a_reason_to_skip_who_reads_it(indexes, gpu):
    indexes["ivfpq_gpu"] = Unavailable("no codes for 97 dimensions")
    found = prepare(settings(controls=("exact",)), "gpu")
    assert (found.indexes, found.failed, found.missing) == ({}, {}, {"hybrid": "no codes for 97 dimensions"})
    with pytest.raises(Unavailable, match="^no codes for 97 dimensions$"):
        prepare(settings(controls=()), "gpu")


@pytest.fixture
def prepared(tmp_path):
    np.save(tmp_path / "queries-hardness.npy", np.arange(QUERIES))
    indexes = {name: built(name) for name in ("ivfpq", "hnsw")}
    return HybridPrepared(vectors=tmp_path, truth=tmp_path, data=FACTS, indexes=indexes)


@pytest.fixture
def children(monkeypatch, tmp_path):
    """Children that answer at once, unless an error is named for (function, strategy, how often it was called); what was
    asked of each, in this order, and of which functions one child was asked several."""
    asked, errors, together = [], {}, []

    def run_child(function, request, *, threads, device, timeout=None, keep=()):
        assert (timeout, keep) == (None, ())
        if function is several.answer:
            together.append([step.__name__ for step, _ in request])
            answers = []
            for step, given in request:  # a crash of one is that of the child
                answers.append(run_child(step, given, threads=threads, device=device).value)
            return ChildResult(answers, 1, 1.0)
        subject, function = request.work.subject, function.__name__
        variant = subject.strategy.name
        before = sum(each[:2] == (function, variant) for each in asked)
        asked.append((function, variant, request, threads, device))
        if error := errors.get((function, variant, before)) or errors.get((function, variant, None)):
            raise error
        number = NUMBERS[variant]
        if function == "time_queries":
            count = request.passes.least + (before if request.passes.a_turn else 0)
            durations = 1_000 * (number + before) + np.arange(count * QUERIES).reshape(-1, QUERIES)
            recalls = {
                k: (place * QUERIES + np.arange(QUERIES)) / 1e3 + number / 10 for place, k in enumerate(request.depths)
            }
            setting, ids = {"step": number}, np.full((QUERIES, request.work.k), number)
            beside = np.full_like(durations, 200_000)
            value = Timed(setting, Tuned(setting, True, []), 5, durations, recalls, ids, Proof({}), {}, beside)
        elif function == "time_stages":
            value = Stages(route_seconds=number, scan_seconds=1, rerank_seconds=1, route_recall=1, scan_recall=1)
        elif function == "open_loop_latency":
            loop = OpenLoop(rate=1, seconds=1, utilisation=0.5, saturated=False, lateness_p50_seconds=None)
            value = OpenLoopAnswer(loop, np.arange(400) + number)
        elif function == "sweep_batches":
            value = [BatchRate(10, 50.0 * number, 7, (40.0, 60.0), 0.9)]
        else:
            value = np.array([100.0 * number])
        return ChildResult(value, peak_rss_bytes=10 * number + before, wall_seconds=1.0)

    def run_in_turns(asks, *, threads, device):
        taking_turns.append([ask.request.work.subject.strategy.name for ask in asks])
        found = []
        for ask in asks:
            try:
                found.append(run_child(ask.function, ask.request, threads=threads, device=device))
            except NightgateError as error:
                found.append(error)
        return found

    taking_turns = []
    monkeypatch.setenv("NIGHTGATE_HOME", str(tmp_path / "home"))
    monkeypatch.setattr(asking, "run_child", run_child)
    monkeypatch.setattr(timing, "run_in_turns", run_in_turns)
    return asked, errors, together, taking_turns


def measured(prepared, tmp_path, asked=None):
    records = BENCHMARK.measure(asked or settings(), prepared, Context("cpu", None, samples=tmp_path / "s.npz"))
    return {record.variant: record for record in records}


CRASH = ChildError("it was ended by SIGSEGV")


def test_every_step_asks_for_what_the_settings_say(children, prepared, tmp_path):
    asked = settings(
        controls=(),
        passes=4,
        precision=0.03,
        k=30,
        load_seconds=1.5,
        arrival_rate=70,
        threads=3,
        batch=17,
        recall_target=0.8,
    )
    measured(prepared, tmp_path, asked)
    calls = [(function, strategy, threads, device) for function, strategy, _, threads, device in children[0]]
    assert calls == [
        ("time_queries", "hybrid", 1, "cpu"), ("time_queries", "hybrid", 1, "cpu"), ("time_stages", "hybrid", 1, "cpu"),
        ("open_loop_latency", "hybrid", 1, "cpu"), ("throughput", "hybrid", 3, "cpu"), ("sweep_batches", "hybrid", 3, "cpu"),
    ]  # fmt: skip
    assert children[2] == [["time_stages", "open_loop_latency"], ["throughput", "sweep_batches"]]
    assert children[3] == [], "alone there are no turns to take"
    requests = [request for _, _, request, _, _ in children[0]]
    for request in requests:
        work = request.work
        assert (work.k, work.vectors, work.truth) == (30, tmp_path, tmp_path)
        assert work.subject.folders == (Path("/indexes/ivfpq"),)
    assert [request.setting for request in requests] == [None, *5 * [{"step": 1}]], "tuned once"
    for request in requests[:2]:
        assert request.passes == Passes(4, 40, precision=0.03 * 2**0.5)
        assert request.tuning == Tuning(0.8, 0.02, queries=500, warmup=50, whole_curve_to=0.995)
    assert [request.depths for request in requests[:2]] == [(1, 10, 30), ()], "recall is counted once"
    assert (requests[3].rate, requests[3].seconds) == (70, 1.5)
    assert (requests[4].threads, requests[4].batch, requests[4].seconds) == (3, 17, 1.5)
    assert (requests[5].threads, requests[5].seconds) == (3, 1.5)


def test_beside_another_environment_one_alone_takes_short_turns_too(children, prepared, tmp_path):
    """Or the other side would wait a whole process long, and nothing of what disturbs the host would be shared."""
    context = Context("cpu", None, samples=tmp_path / "s.npz", in_turns=True)
    (record,) = BENCHMARK.measure(settings(controls=(), passes=4, precision=0.03), prepared, context)
    assert children[3] == [["hybrid"], ["hybrid"]], "in each process"
    timed = [request for function, _, request, _, _ in children[0] if function == "time_queries"]
    assert [request.passes for request in timed] == 2 * [
        Passes(4, 40, precision=0.03 * 2**0.5, a_turn=100, warm_again=10)
    ]
    assert record.facts.turns == "every 100 queries, with another environment"
    assert record.status == "measured"


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
        assert metrics["latency_p95"].n == (3 + 4) * QUERIES
        assert metrics["throughput_qps"].value == pytest.approx(100 * number)
        assert metrics["open_loop_p50"].value == pytest.approx((200 + number) / 1e9)
        assert ("route_seconds" in metrics) == (variant != "hnsw")
        assert (metrics["build_seconds"].value, metrics["index_bytes"].value) == (2.5, 40)
        assert metrics["build_peak_rss_bytes"].value == 300
        name = "hnsw" if variant == "hnsw" else "ivfpq"
        assert record.detail["index"] == {name: BUILT.told()} and BUILT.told()["lists"] == 16
        assert (record.facts.vectors.rows, record.facts.inputs, record.facts.threads) == (5, {"data": "d"}, 1)
        assert record.settings["k"] == 100
        assert samples[f"{variant}/ids"].tolist() == np.full((QUERIES, 100), number).tolist()
        assert samples[f"{variant}/durations_ns"].shape == samples[f"{variant}/beside_ns"].shape == (7, QUERIES)
        assert samples[f"{variant}/processes"].tolist() == [0, 0, 0, 1, 1, 1, 1]
        middles = np.quantile(samples[f"{variant}/durations_ns"] / 1e9, 0.5, axis=1, method="higher")
        assert samples[f"{variant}/round_p50"].tolist() == middles.tolist()
        assert samples[f"{variant}/recall"] == pytest.approx(at[2] + (np.arange(QUERIES) - 49.5) / 1e3)
        assert f"{variant}/query_rows" not in samples
        assert record.facts.earlier == {}
    ten = found["hybrid"].facts.batches[1]
    assert (ten.size, ten.threads, ten.queries_per_second, ten.recall) == (10, settings().cores, 50.0, 0.9)
    assert len(found["hnsw"].facts.batches) == 1, "of a control on the CPU one size is enough"


def test_controls_are_under_load_where_that_is_asked_for(children, prepared, tmp_path):
    found = measured(prepared, tmp_path, settings(load_controls=False))
    assert [strategy for function, strategy, *_ in children[0] if function == "open_loop_latency"] == ["hybrid"]
    assert "throughput_qps" in found["hybrid"].metrics and "throughput_qps" not in found["ivfpq_refine"].metrics
    assert "route_seconds" in found["ivfpq_refine"].metrics


def test_figures_of_an_earlier_run_say_of_which_day_they_are(children, prepared, tmp_path):
    prepared.indexes["hnsw"] = BUILT.model_copy(update={"built_at": "before", "reused": True})
    found = measured(prepared, tmp_path, settings(controls=("hybrid_seeded",), load_seconds=0))
    assert found["hybrid"].facts.earlier == {}
    assert found["hybrid_seeded"].facts.earlier == {"build_seconds": "before", "build_peak_rss_bytes": "before"}


def test_the_strategies_take_turns_in_each_process(children, prepared, tmp_path):
    found = measured(prepared, tmp_path, settings(processes=3, load_seconds=0))
    assert children[3] == 3 * [["hybrid", "hnsw", "ivfpq_refine"]]
    requests = [request for function, _, request, *_ in children[0] if function == "time_queries"]
    assert {(request.passes.a_turn, request.passes.warm_again) for request in requests} == {(100, 10)}
    assert {function for function, *_ in children[0]} == {"time_queries", "time_stages"}
    assert found["hnsw"].facts.turns == "every 100 queries, with hybrid, ivfpq_refine"


def test_what_does_not_fit_beside_each_other_takes_turns_by_the_process(children, prepared, tmp_path, monkeypatch):
    shape = Shape(rows=5, dim=3)
    needed = settings().together_for(shape)
    facts = host.describe()
    monkeypatch.setattr(host, "describe", lambda: facts.model_copy(update={"memory_bytes": needed}))
    measured(prepared, tmp_path, settings(processes=1, load_seconds=0))
    assert len(children[3]) == 1, "it is just enough"
    children[0].clear(), children[3].clear()
    monkeypatch.setattr(host, "describe", lambda: facts.model_copy(update={"memory_bytes": needed - 2**28}))
    found = measured(prepared, tmp_path, settings(processes=3, load_seconds=0))
    timed = [strategy for function, strategy, *_ in children[0] if function == "time_queries"]
    there = ["hybrid", "hnsw", "ivfpq_refine"]
    assert timed == [*there, *there[::-1], *there] and children[3] == []
    assert found["hybrid"].facts.turns == (
        "process by process: all at once would need 1.8 GiB of memory and the host has 1.5 GiB"
    )
    with np.load(tmp_path / "s.npz") as kept:
        assert "hybrid/round_p50" not in kept, "there is nothing to pair"


def test_only_rounds_that_all_have_made_are_paired(children, prepared, tmp_path):
    children[1]["time_queries", "hnsw", 1] = CRASH
    measured(prepared, tmp_path, settings(processes=3, load_seconds=0))
    with np.load(tmp_path / "s.npz") as kept:
        for variant in ("hybrid", "hnsw", "ivfpq_refine"):
            assert len(kept[f"{variant}/round_p50"]) == 3 + 5, "none of the second process"
        middle = np.quantile(kept["hybrid/durations_ns"][[0, 1, 2, 7, 8, 9, 10, 11]], 0.5, axis=1, method="higher")
        assert kept["hybrid/round_p50"].tolist() == (middle / 1e9).tolist()


def test_indexes_of_several_parts_are_added_up(children, prepared, tmp_path):
    update = {"build_seconds": 4.0, "build_peak_rss_bytes": 5, "bytes": 2}
    prepared.indexes["hnsw"] = BUILT.model_copy(update=update)
    record = measured(prepared, tmp_path, settings(controls=("hybrid_seeded",)))["hybrid_seeded"]
    told = [record.metrics[name].value for name in ("build_seconds", "build_peak_rss_bytes", "index_bytes")]
    assert told == [6.5, 300, 42]
    assert set(record.detail["index"]) == {"ivfpq", "hnsw"}


def test_a_strategy_without_its_index_failed_and_the_others_are_measured(children, prepared, tmp_path):
    del prepared.indexes["ivfpq"]
    prepared.failed["ivfpq"] = "the index ivfpq was not built: it was ended by SIGABRT"
    found = measured(prepared, tmp_path, settings(controls=("hnsw", "hybrid_seeded")))
    assert {variant: record.status for variant, record in found.items()} == {
        "hybrid": "failed", "hnsw": "measured", "hybrid_seeded": "failed",
    }  # fmt: skip
    for variant in ("hybrid", "hybrid_seeded"):
        assert found[variant].reason == "the index ivfpq was not built: it was ended by SIGABRT"
        assert (found[variant].samples, found[variant].gated) == (None, variant == "hybrid")
    assert found["hnsw"].reason is None and "recall_at_100" in found["hnsw"].metrics
    assert {strategy for _, strategy, *_ in children[0]} == {"hnsw"}
    prepared.failed["hnsw"] = "nor was hnsw"
    del prepared.indexes["hnsw"]
    (tmp_path / "s.npz").unlink()
    found = measured(prepared, tmp_path, settings(controls=("hybrid_seeded",)))
    assert found["hybrid_seeded"].reason == "the index ivfpq was not built: it was ended by SIGABRT; nor was hnsw"
    assert not (tmp_path / "s.npz").exists(), "nothing was measured"


def test_a_crash_of_one_strategy_leaves_the_others(children, prepared, tmp_path):
    children[1]["time_queries", "hybrid", 0] = CRASH
    found = measured(prepared, tmp_path)
    assert [record.status for record in found.values()] == ["failed", "measured", "measured"]
    assert found["hybrid"].reason == "it was ended by SIGSEGV"
    assert [function for function, strategy, *_ in children[0] if strategy == "hybrid"] == ["time_queries"]
    with np.load(tmp_path / "s.npz") as kept:
        assert not any(name.startswith("hybrid/") for name in kept)


@pytest.mark.parametrize("function, what, lost", [
    ("time_stages", "the time of each stage", "route_seconds"), ("open_loop_latency", "the open loop", "open_loop_p95"),
    ("throughput", "the throughput", "throughput_qps"), ("sweep_batches", "the batches", None),
])  # fmt: skip
def test_a_later_step_that_crashes_takes_only_its_own_numbers(children, prepared, tmp_path, function, what, lost):
    children[1][function, "hybrid", None] = CRASH
    found = measured(prepared, tmp_path)
    record = found["hybrid"]
    assert (record.status, record.samples) == ("measured", "s.npz")
    assert record.reason == f"{what} was not measured: it was ended by SIGSEGV"
    assert record.facts.not_measured == {what: "it was ended by SIGSEGV"}
    names = {"route_seconds", "open_loop_p95", "throughput_qps", "recall_at_100", "latency_p95"}
    assert names & set(record.metrics) == names - {lost}
    assert (len(record.facts.batches) == 2) == (function not in ("sweep_batches", "throughput"))
    assert found["ivfpq_refine"].reason is None and names <= set(found["ivfpq_refine"].metrics)


def test_a_later_process_that_crashes_leaves_what_the_others_measured(children, prepared, tmp_path):
    children[1]["time_queries", "hybrid", 1] = CRASH
    record = measured(prepared, tmp_path, settings(processes=3))["hybrid"]
    assert record.reason == "process 2 of 3 was not measured: it was ended by SIGSEGV"
    assert record.metrics["latency_p95"].n == (3 + 5) * QUERIES, "of the first and the third"
    assert record.metrics["recall_at_100"].value == pytest.approx(0.3495)


def test_what_is_missing_is_skipped(children, prepared, tmp_path):
    prepared.missing["hnsw"] = "hnsw needs the package nmslib"
    found = measured(prepared, tmp_path)
    assert [record.status for record in found.values()] == ["measured", "skipped", "measured"]
    assert found["hnsw"].reason == "hnsw needs the package nmslib"
    assert {strategy for _, strategy, *_ in children[0]} == {"hybrid", "ivfpq_refine"}


def test_on_a_gpu_each_row_has_its_batches(children, prepared, tmp_path):
    prepared.indexes["ivfpq_gpu"] = built("ivfpq_gpu")
    context = Context("gpu", None, samples=tmp_path / "s.npz")
    records = BENCHMARK.measure(settings(controls=("hnsw", "exact")), prepared, context)
    assert [(record.variant, record.status, len(record.facts.batches)) for record in records] == [
        ("hybrid", "measured", 2), ("exact", "measured", 2),
    ]  # fmt: skip
    assert {(strategy, device) for _, strategy, _, _, device in children[0]} == {
        ("hybrid_gpu", "gpu"), ("exact_gpu", "gpu"),
    }  # fmt: skip
    assert "build_seconds" not in records[1].metrics, "it reads no index"


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
