"""The timed functions in this process, on a strategy whose recall and times are known: they come out as just these."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import ClassVar

import numpy as np
import pytest
from support.turning import alone

from nightgate.errors import NotMeasured, Unavailable
from nightgate.hybrid_ann import indexes, preparing
from nightgate.measure import blocks, clock
from nightgate.measure.load import arrivals, closed_loop, open_loop
from nightgate.vector_search import batches, stages, timed
from nightgate.vector_search.batches import BatchesRequest, SweepRequest
from nightgate.vector_search.in_process import InProcess
from nightgate.vector_search.passes import Passes
from nightgate.vector_search.stages import StagesRequest
from nightgate.vector_search.strategy import Index, Strategy
from nightgate.vector_search.timed import OpenLoopRequest, QueriesRequest, Work
from nightgate.vector_search.tuning import Tuning
from nightgate.vectors import places, truth
from nightgate.vectors.dataset import describe, open_dataset

ROWS, DIM, K = 400, 6, 20
QUERIES, TUNING, WARMUP = 12, 10, 60  # of different sizes, so that one cannot pass for another
SETS = {"queries": QUERIES, "tuning": TUNING, "warmup": WARMUP}
SHARES = {
    1: 0.5,
    2: 0.8,
    3: 0.95,
    4: 1.0,
    5: 1.0,
}  # the strategy's settings: how many of the true neighbours each finds


class Clock:
    """Stands still but for what the strategy takes."""

    def __init__(self):
        self.now = 1_000

    def __call__(self):
        return self.now


TICKING = Clock()


class Known(Strategy):
    """At ``step`` it finds the first ``SHARES[step]`` of the true neighbours, in ``step`` ms and a µs more for each
    query that it was asked before; everything it was asked is kept."""

    name, label, requires = "known", "Known", ("h5py",)
    settings = tuple({"step": step} for step in SHARES)
    opened: ClassVar[list] = []

    def __init__(self, folders, base, metric):
        assert folders == (Path("/an/index"),)
        self.opened.append(self)
        self.base, self.metric, self.ticking = base, metric, TICKING
        self.step, self.asked, self.tuned = None, [], []
        self.list_of = np.arange(len(base)) % 7

    def tune(self, setting):
        self.step = setting["step"]
        self.tuned.append(self.step)

    def answer(self, query, k):
        order = np.argsort(((self.base.astype(np.float64) - query) ** 2).sum(axis=1), kind="stable")
        found = round(SHARES[self.step] * k)
        return np.r_[order[:found], order[-(k - found) :]] if found < k else order[:k]

    def search(self, query, k):
        self.ticking.now += self.step * 1_000_000 + 1_000 * len(self.asked)
        self.asked.append(query.tobytes())
        return self.answer(query, k)

    def search_many(self, queries, k, threads):
        self.ticking.now += 500_000 * len(queries) * threads
        self.asked.append((len(queries), k, threads))
        return [self.answer(query, k) for query in queries]


class Staged(Known):
    """Routing takes 1 ms and finds the lists of the nearest half, the scan 2 ms, the reranking 4 ms."""

    def route(self, query):
        self.ticking.now += 1_000_000
        return np.unique(self.list_of[self.answer(query, K)[: K // 2]])[None], None

    def scan(self, query, routed, k):
        self.ticking.now += 2_000_000
        near = self.answer(query, k)
        return np.r_[near[np.isin(self.list_of[near], routed[0][0])][:5], -1]

    def rerank(self, query, candidates, k):
        self.ticking.now += 4_000_000
        return candidates[candidates >= 0][:3]


@pytest.fixture(autouse=True)
def ticking(monkeypatch):
    TICKING.now = 1_000
    monkeypatch.setattr(clock, "perf_counter_ns", TICKING)
    monkeypatch.setattr(blocks, "perf_counter_ns", TICKING)
    monkeypatch.setattr(batches, "closed_loop", partial(closed_loop, clock=TICKING))
    waiting = partial(open_loop, clock=TICKING, wait=lambda due: setattr(TICKING, "now", due))
    monkeypatch.setattr(timed, "open_loop", waiting)


@pytest.fixture
def folder(tmp_path):
    rng = np.random.default_rng(5)
    for name, count in {"base": ROWS, **SETS}.items():
        np.save(tmp_path / f"{name}.npy", rng.standard_normal((count, DIM)).astype(np.float32))
    describe(tmp_path, "l2")
    truth.write(tmp_path, open_dataset(tmp_path), K)
    return tmp_path


@pytest.fixture
def work(folder):
    def work(kind=Known, k=K):
        return Work(InProcess(kind, (Path("/an/index"),)), folder, folder, k)

    return work


@pytest.fixture
def run(work):
    """Calls a timed function; returns what it returned and the strategy."""

    def run(function, request, kind=Known, k=K, **asked):
        answer = function(request(work(kind, k), **asked))
        return alone(answer), Known.opened.pop()

    return run


def asked_for(folder, name, count=None):
    return [row.tobytes() for row in np.load(folder / f"{name}.npy")[:count]]


def search(run, kind=Known, k=K, target=0.75, margin=0.05, **changed):
    tuning = Tuning(target, margin, queries=500, warmup=50, whole_curve_to=0.995)
    asked = {"setting": None, "tuning": tuning, "passes": Passes(3, 3), "depths": (1, 10, K)}
    return run(timed.time_queries, QueriesRequest, kind, k, **asked | changed)


def test_the_cheapest_setting_with_its_margin_is_tuned_on_queries_that_are_not_measured(run, folder):
    answer, strategy = search(run)
    assert (answer.setting, answer.tuned.setting, answer.tuned.reached) == ({"step": 2}, {"step": 2}, True)
    # the whole curve up to 0.995, each setting after 50 queries to warm up with
    assert [(p.setting["step"], p.recall) for p in answer.tuned.curve] == [
        (step, pytest.approx(SHARES[step])) for step in (1, 2, 3, 4)
    ]
    assert strategy.tuned == [1, 1, 2, 3, 4, 2]
    tuning = asked_for(folder, "warmup", 50) + asked_for(folder, "tuning")
    measuring = asked_for(folder, "warmup") + 3 * asked_for(folder, "queries")
    assert strategy.asked == asked_for(folder, "warmup", 1) + 4 * tuning + measuring


def test_the_times_are_those_of_each_query_and_of_nothing_else(run, folder):
    answer, _ = search(run)
    before = 1 + 4 * (50 + TUNING) + WARMUP
    calls = before + np.arange(3 * QUERIES)
    durations = answer.durations
    assert (durations.dtype, durations.tolist()) == (
        np.int64, (2_000_000 + 1_000 * calls).reshape(3, QUERIES).tolist()
    )  # fmt: skip
    assert answer.first_touch_ns == 1_000_000, "of the first query, at the first setting"
    # the tuning queries alone make the curve: its P50 and P95 are the sixth and the last of ten
    for number, point in enumerate(answer.tuned.curve):
        first = 1 + number * (50 + TUNING) + 50
        step = point.setting["step"]
        assert point.latency_p50 == pytest.approx(step * 1e-3 + 1e-6 * (first + 5), rel=1e-12)
        assert point.latency_p95 == pytest.approx(step * 1e-3 + 1e-6 * (first + 9), rel=1e-12)


def test_recall_is_told_at_each_depth_of_the_first_answers(run, folder):
    answer, _ = search(run, target=0.45)
    assert answer.setting == {"step": 1} and list(answer.recalls) == [1, 10, K]
    # the first half of the answers are the nearest, in order: all ten of ten, and ten of twenty
    assert [recall.tolist() for recall in answer.recalls.values()] == [
        [1.0] * QUERIES,
        [1.0] * QUERIES,
        [0.5] * QUERIES,
    ]
    answer, _ = search(run, k=10, depths=(10,), target=0.45)
    assert answer.recalls[10].tolist() == [0.5] * QUERIES, "five of the ten that were asked for"
    assert answer.ids.shape == (QUERIES, 10)


def test_the_answers_are_kept_as_they_were_given(run, folder):
    answer, strategy = search(run)
    strategy.step = 2
    expected = [strategy.answer(query, K).tolist() for query in np.load(folder / "queries.npy")]
    assert (answer.ids.dtype, answer.ids.tolist()) == (np.int64, expected)


def test_the_answers_are_numbered_as_in_the_users_file(run, folder):
    rows = np.arange(ROWS) * 3 + 100
    empty = np.empty(0, np.int64)
    ours = search(run)[0].ids
    places.save(folder, places.Places(rows, empty, empty))
    answer, _ = search(run)
    assert answer.ids.tolist() == (ours * 3 + 100).tolist()
    assert answer.recalls[K] == pytest.approx(np.full(QUERIES, 0.8)), "counted by our own numbers"


def test_answers_that_are_short_or_long_are_cut_to_k():
    ids = timed.rectangle([np.array([3, 4, 5, 6]), np.array([7]), []], 3)
    assert (ids.dtype, ids.tolist()) == (np.int64, [[3, 4, 5], [7, -1, -1], [-1, -1, -1]])


def test_a_setting_that_is_given_is_not_looked_for(run, folder):
    answer, strategy = search(run, setting={"step": 3}, passes=Passes(1, 1))
    assert strategy.tuned == [3, 3]
    assert strategy.asked == asked_for(folder, "warmup", 1) + asked_for(folder, "warmup") + asked_for(folder, "queries")
    assert (answer.setting, answer.tuned) == ({"step": 3}, None)
    assert answer.recalls[K] == pytest.approx(np.full(QUERIES, 0.95))


@pytest.mark.parametrize(("margin", "step"), [(0.0, 2), (0.04, 2), (0.06, 3), (0.21, 4)])
def test_the_margin_that_is_asked_for_is_kept(run, margin, step):
    answer, _ = search(run, margin=margin)
    assert (answer.setting, answer.tuned.reached) == ({"step": step}, True)


def test_a_target_out_of_reach_is_said(run):
    answer, strategy = search(run, target=0.99, margin=0.02)
    assert (answer.setting, answer.tuned.reached) == ({"step": 4}, False)
    assert (
        answer.tuned.shortfall(0.99)
        == "no setting reaches recall 0.99 with its margin: step 4 comes closest, with 1.000"
    )
    assert strategy.tuned == [1, 1, 2, 3, 4, 5, 4], "all were tried, and the cheapest of the best is measured"


def test_what_else_is_known_of_a_strategy(run):
    answer, _ = search(run)
    assert list(answer.proof.versions) == ["h5py"], "what answered, and nothing else that is installed"
    assert (answer.proof.facts, answer.warmed) == ({}, {})
    on_gpu = type("OnGpu", (Known,), {"facts": lambda self: {"gpu": {"name": "A device"}}})
    assert search(run, kind=on_gpu)[0].proof.facts == {"gpu": {"name": "A device"}}


def test_without_a_ground_truth_nothing_is_counted(run, folder):
    (folder / "queries-ids.npy").unlink()
    with pytest.raises(NotMeasured, match="no ground truth for the queries"):
        search(run)


def test_the_stages_are_timed_alone_and_told_by_what_they_keep(run, folder):
    answer, strategy = run(stages.time_stages, StagesRequest, Staged, setting={"step": 4})
    assert strategy.tuned == [4]
    assert strategy.asked == asked_for(folder, "warmup"), "warmed up, and not on the measured queries"
    assert answer.route_seconds == pytest.approx(1e-3, rel=1e-12)
    assert answer.scan_seconds == pytest.approx(2e-3, rel=1e-12)
    assert answer.rerank_seconds == pytest.approx(4e-3, rel=1e-12)
    # the true neighbours whose lists are those of the nearest half of them, and the five of these that the scan keeps
    queries, base = np.load(folder / "queries.npy"), strategy.base
    shares = []
    for query in queries:
        near = np.argsort(((base.astype(np.float64) - query) ** 2).sum(axis=1))[:K] % 7
        shares.append(np.isin(near, near[: K // 2]).mean())
    assert 0.5 < np.mean(shares) < 1
    assert answer.route_recall == pytest.approx(np.mean(shares))
    assert answer.scan_recall == pytest.approx(5 / K)
    answer, _ = run(stages.time_stages, StagesRequest, Staged, 10, setting={"step": 4})
    assert answer.scan_recall == pytest.approx(5 / 10), "of the ten that were asked for"


class Twins(Staged):
    """Of many equal rows it prefers others than the ground truth holds."""

    def answer(self, query, k):
        return super().answer(query, k + 10)[10:]

    def route(self, query):
        self.list_of = np.arange(ROWS)
        return self.answer(query, K)[None], None

    def scan(self, query, routed, k):
        return routed[0][0][: k - 5]

    def rerank(self, query, candidates, k):
        return candidates[: k - 8]


def test_no_stage_keeps_less_than_a_later_one_finds_though_rows_tie(run, folder):
    base = np.load(folder / "base.npy")
    base[:] = np.tile(base[:10], (40, 1))
    np.save(folder / "base.npy", base)
    truth.write(folder, open_dataset(folder), K)
    answer, _ = run(stages.time_stages, StagesRequest, Twins, setting={"step": 4})
    # of the twenty by their ids only the ten that the truth holds as well would count, of the fifteen by distance all do
    assert answer.scan_recall == answer.route_recall == pytest.approx(15 / K)


class Stray(Twins):
    """Of its candidates the last is out of a list that was not to be scanned."""

    def route(self, query):
        routed, near = super().route(query)
        return routed[:, : K - 6], near

    def scan(self, query, routed, k):
        return super().scan(query, super().route(query), k)


def test_a_candidate_out_of_no_list_that_was_to_be_scanned_is_no_measurement(run):
    with pytest.raises(NotMeasured, match="query 0 has 1 candidates out of lists that were not to be scanned"):
        run(stages.time_stages, StagesRequest, Stray, setting={"step": 4})


def test_the_throughput_counts_every_query_of_whole_passes(run, folder):
    answer, strategy = run(batches.throughput, BatchesRequest, setting={"step": 2}, threads=2, batch=5, seconds=0.02)
    assert strategy.tuned == [2]
    # warmed up once, then batches of 5, 5 and 2 until 20 ms are over; 1 ms per query
    assert strategy.asked == [(WARMUP, K, 2), *2 * [(5, K, 2), (5, K, 2), (2, K, 2)]]
    assert answer == pytest.approx([1000.0, 1000.0], rel=1e-12)


def test_the_open_loop_serves_the_measured_queries_after_the_warm_up(run, folder):
    answer, strategy = run(timed.open_loop_latency, OpenLoopRequest, setting={"step": 3}, rate=50, seconds=0.5)
    assert strategy.tuned == [3]
    served = strategy.asked[WARMUP:]
    assert strategy.asked[:WARMUP] == asked_for(folder, "warmup")
    assert served == (3 * asked_for(folder, "queries"))[:25]
    latencies = answer.latencies
    expected, end = [], 0
    for number, due in enumerate(arrivals(50, 0.5, seed=1).tolist()):
        end = max(due, end) + 3_000_000 + 1_000 * (WARMUP + number)
        expected.append(end - due)
    assert (latencies.dtype, latencies.tolist()) == (np.int64, expected)
    assert (answer.facts.saturated, answer.facts.lateness_p50_seconds) == (False, 0.0)
    assert (answer.facts.rate, answer.facts.seconds) == (50, 0.5)


def test_load_asks_for_as_many_neighbours_as_the_run(run, monkeypatch):
    seen = set()
    real = Known.answer

    def answer(self, query, k):
        seen.add(k)
        return real(self, query, k)

    monkeypatch.setattr(Known, "answer", answer)
    run(timed.open_loop_latency, OpenLoopRequest, k=7, setting={"step": 1}, rate=50, seconds=0.1)
    run(batches.throughput, BatchesRequest, k=7, setting={"step": 1}, threads=1, batch=5, seconds=0.001)
    assert seen == {7}


def test_what_answers_no_batches_or_has_no_stages_is_not_measured_so(run):
    class Plain(Known):
        search_many = None

    with pytest.raises(NotMeasured, match="known answers no batches"):
        run(batches.throughput, BatchesRequest, Plain, setting={"step": 1}, threads=1, batch=5, seconds=0.001)
    with pytest.raises(NotMeasured, match="known has no stages"):
        run(stages.time_stages, StagesRequest, setting={"step": 1})


class Builder:
    def __init__(self):
        self.calls = []

    def train(self, folder, base, metric, **parameters):
        self.calls.append(("train", folder, base.shape, metric, parameters))
        return {"lists": 3}

    def build(self, folder, base, metric, **parameters):
        self.calls.append(("build", folder, base.shape, metric, parameters))
        return {"m": 4}


def test_an_index_is_built_from_the_base_and_what_was_trained(folder):
    builder = Builder()
    index = Index("an index", builder.build, ("h5py",), train=builder.train)
    request = indexes.BuildRequest(index, folder, Path("/here"), {"threads": 2})
    assert indexes.train(request) == {"lists": 3}
    assert indexes.build(request) == {"m": 4}
    assert indexes.build(replace(request, trained=Path("/there"))) == {"m": 4}
    of = (Path("/here"), (ROWS, DIM), "l2")
    assert builder.calls == [
        ("train", *of, {"threads": 2}), ("build", *of, {"threads": 2}),
        ("build", *of, {"threads": 2, "trained": Path("/there")}),
    ]  # fmt: skip


def test_the_gpu_is_looked_for_in_the_child_by_each_that_runs_there(monkeypatch):
    class Absent:
        def see_device(self):
            raise Unavailable("no hybrid", "install it")

    there = {"hybrid": Absent(), "exact": SimpleNamespace(see_device=lambda: {"name": "A device"})}
    monkeypatch.setattr(preparing.strategies, "on", lambda device, variant: there[variant])
    missing = preparing.see_gpu(["hybrid", "exact"])
    assert {name: str(error) for name, error in missing.items()} == {"hybrid": "no hybrid. Next step: install it"}


def test_every_size_of_batch_is_asked_and_counted(run, monkeypatch):
    monkeypatch.setattr(batches, "BATCHES", (1, 5, 30))
    answer, strategy = run(batches.sweep_batches, SweepRequest, setting={"step": 2}, threads=2, seconds=0.02)
    assert strategy.tuned == [2]
    ones, fives, thirties = 12 * [(1, K, 2)], [(5, K, 2), (5, K, 2), (2, K, 2)], [(30, K, 2)]
    # a pass that warms up, and whole passes until 20 ms are over, at 1 ms for each query
    assert strategy.asked == [*3 * ones, *3 * fives, *2 * thirties]
    assert [(each.batch, each.passes, each.ci95) for each in answer] == [(1, 2, None), (5, 2, None), (30, 1, None)]
    assert [each.per_second for each in answer] == pytest.approx([1000.0] * 3, rel=1e-12)
    assert [each.recall for each in answer] == pytest.approx([0.8] * 3), (
        "of the twelve queries, however often they are asked"
    )


def test_the_recall_of_a_batch_is_that_of_its_own_answers(run, monkeypatch):
    class Careless(Known):
        """In company it answers every query as the first of its batch."""

        def search_many(self, queries, k, threads):
            return [super().search_many(queries[:1], k, threads)[0]] * len(queries)

    monkeypatch.setattr(batches, "BATCHES", (1, 4))
    alone, four = run(batches.sweep_batches, SweepRequest, Careless, setting={"step": 4}, threads=1, seconds=0.001)[0]
    assert alone.recall == 1.0
    assert 0.25 <= four.recall < 0.5, "three of the twelve are first"


def test_the_sizes_of_batches():
    assert batches.BATCHES == (1, 10, 100, 1000)
