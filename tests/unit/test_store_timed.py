"""What runs in the timed children, with a server whose every answer and every duration is known beforehand."""

from __future__ import annotations

from contextlib import contextmanager
from functools import partial

import numpy as np
import pytest
from support.turning import alone

from nightgate.errors import ServiceUnavailable
from nightgate.measure import blocks, clock
from nightgate.measure.clients import Crowd
from nightgate.measure.load import Load
from nightgate.vector_search import store_measuring, timed, tuning
from nightgate.vector_search.passes import Passes
from nightgate.vector_search.session import Proof
from nightgate.vector_search.store import StoreSession
from nightgate.vector_search.store_measuring import ColdRequest
from nightgate.vector_search.timed import ClientsRequest, OpenLoopRequest, QueriesRequest, Work
from nightgate.vector_search.tuning import Tuning
from nightgate.vectors import dataset, truth

exactly = partial(pytest.approx, rel=1e-12)
TRUE_OF = {1: 2, 2: 3, 3: 4, 4: 5}  # probes → how many of the five nearest the server finds
NS_OF = {1: 1_000, 2: 3_000, 3: 7_000, 4: 20_000}  # probes → nanoseconds of a query, and one more for each id of it


@pytest.fixture(autouse=True)
def of_the_five_nearest(monkeypatch):
    """Recall is counted as the data set says, and at five, wherever it is counted."""
    per_query = tuning.recall.per_query

    def counted(found, exact, base, queries, k, metric):
        assert (k, metric) == (5, "cosine")
        return per_query(found, exact, base, queries, k, metric)

    monkeypatch.setattr(tuning.recall, "per_query", counted)


class Server(StoreSession):
    """Query i takes NS_OF[probes] + i ns and finds TRUE_OF[probes] of the five nearest. It is its own subject, too."""

    settings = tuple({"probes": probes} for probes in TRUE_OF)

    def __init__(self, folder):
        self.data = dataset.open_dataset(folder)
        self.events, self.now, self.probes = [], 0, None
        self.names = {
            self.data.__getattribute__(kind)[i].tobytes(): (kind, i)
            for kind in ("queries", "tuning", "warmup") for i in range(len(getattr(self.data, kind)))
        }  # fmt: skip

    def encode(self, queries):
        return list(queries)

    @contextmanager
    def open(self, data, k):
        assert k == 5 and len(data.base) == 200
        self.events.append("connect")
        yield self

    def check(self):
        self.events.append("check")

    def versions(self):
        return {"server": "1"}

    def warm(self, base):
        assert len(base) == 200
        self.events.append(("warm", self.probes))
        return {"queries": len(self.events)}

    def prove(self, query):
        self.events.append(("prove", self.name(query)))
        return Proof(self.versions(), {"plan": ["the plan"]})

    def name(self, vector):
        return self.names[np.asarray(vector).tobytes()]

    def tune(self, setting, query):
        (self.probes,) = setting.values()
        assert list(setting) == ["probes"]
        self.events.append(("put", self.probes) if query is None else ("use", self.probes, self.name(query)))

    def search(self, vector):
        kind, number = self.name(vector)
        self.events.append(("ask", self.probes, kind, number))
        self.now += NS_OF[self.probes] + number
        order = np.argsort(-(self.data.base.astype(np.float64) @ np.asarray(vector, np.float64)))
        hits = TRUE_OF[self.probes]
        return [int(row) for row in (*order[:hits], *order[7 : 7 + 5 - hits])]  # the rest is near, and not near enough


@pytest.fixture
def folder(tmp_path):
    """200 rows; 7 queries to measure, 9 to tune on, 25 to warm up with, and their exact neighbours."""
    rng = np.random.default_rng(3)
    for name, count in {"base": 200, "queries": 7, "tuning": 9, "warmup": 25}.items():
        vectors = rng.standard_normal((count, 8)).astype(np.float32)
        np.save(tmp_path / f"{name}.npy", vectors / np.linalg.norm(vectors, axis=1, keepdims=True))
    dataset.describe(tmp_path, "cosine")
    data = dataset.open_dataset(tmp_path)
    for name in ("queries", "tuning"):
        scores = getattr(data, name).astype(np.float64) @ data.base.astype(np.float64).T
        ids = np.argsort(-scores, axis=1)[:, :20]
        truth.save(tmp_path, name, truth.Truth(ids))
    return tmp_path


@pytest.fixture
def server(folder, monkeypatch):
    made = Server(folder)
    for module in (blocks, clock):
        monkeypatch.setattr(module, "perf_counter_ns", lambda: made.now)
    return made


@pytest.fixture
def work(server, folder):
    return Work(server, folder, folder, 5)


@pytest.fixture
def search(work):
    def search(setting=None, passes=2, target=0.5, margin=0.09):
        sought = Tuning(target, margin, queries=6, warmup=20, give_up_early=True)
        return alone(timed.time_queries(QueriesRequest(work, setting, sought, Passes(passes, passes), (5,))))

    return search


def asked(server, kind):
    return [event[1:] for event in server.events if event[0] == "ask" and event[2] == kind]


def test_a_store_of_known_recall_and_latency_comes_out_as_just_that(server, search):
    answer = search()
    assert answer.setting == {"probes": 2}, "0.6 is the first that reaches 0.5 + 0.09"
    assert answer.tuned.reached and [(p.setting, p.queries) for p in answer.tuned.curve] == [
        ({"probes": 1}, 6), ({"probes": 2}, 6),
    ]  # fmt: skip
    assert [(p.recall, p.latency_p50, p.latency_p95) for p in answer.tuned.curve] == [
        (exactly(0.4), 1.003e-6, 1.005e-6), (exactly(0.6), 3.003e-6, 3.005e-6),
    ]  # fmt: skip
    assert answer.durations.tolist() == [[3000 + i for i in range(7)]] * 2
    assert answer.first_touch_ns == 1000
    np.testing.assert_allclose(answer.recalls[5], [0.6] * 7, rtol=1e-12)
    data = server.data
    order = np.argsort(-(data.queries.astype(np.float64) @ data.base.astype(np.float64).T), axis=1)
    assert answer.ids.tolist() == np.hstack([order[:, :3], order[:, 7:9]]).tolist()


def test_each_step_comes_in_its_turn_and_with_queries_of_its_own(server, search):
    answer = search()
    tuned, first = [], ("warmup", 0)
    for probes in (1, 2):
        tuned += [("use", probes, first), *[("ask", probes, "warmup", i) for i in range(20)]]
        tuned += [("ask", probes, "tuning", i) for i in range(6)]
    timing = [("ask", 2, "warmup", i) for i in range(25)] + 2 * [("ask", 2, "queries", i) for i in range(7)]
    assert server.events == [
        "connect", "check", ("use", 1, first), ("ask", 1, *first), ("warm", 1), *tuned,
        ("use", 2, first), ("warm", 2), *timing, ("prove", ("queries", 0)),
    ]  # fmt: skip
    assert (answer.proof.versions, answer.proof.facts) == ({"server": "1"}, {"plan": ["the plan"]})
    assert answer.warmed == {"warmed_for_tuning": {"queries": 5}, "warmed": {"queries": 5 + len(tuned) + 2}}


def test_a_known_setting_is_not_looked_for_again(server, search):
    answer = search({"probes": 3}, passes=1)
    assert (answer.setting, answer.tuned, list(answer.warmed)) == ({"probes": 3}, None, ["warmed"])
    assert asked(server, "tuning") == []
    steps = [event for event in server.events if event[0] in ("use", "warm")]
    assert steps == [("use", 3, ("warmup", 0)), ("use", 3, ("warmup", 0)), ("warm", 3)]
    assert answer.durations.tolist() == [[7000 + i for i in range(7)]]
    np.testing.assert_allclose(answer.recalls[5], [0.8] * 7, rtol=1e-12)


def test_a_target_out_of_reach_takes_the_best_and_says_so(search):
    answer = search(target=0.99, margin=0.02)
    assert answer.setting == {"probes": 4} and answer.tuned.reached is False
    assert [point.recall for point in answer.tuned.curve] == pytest.approx([0.4, 0.6, 0.8, 1.0])


def test_the_margin_is_added_to_the_target(search):
    assert search(target=0.55, margin=0.06).setting == {"probes": 3}
    assert search(target=0.55, margin=0.04).setting == {"probes": 2}


def test_out_of_reach_the_best_is_not_always_the_last(server, search, monkeypatch):
    for probes, found in {2: 4, 3: 3, 4: 3}.items():
        monkeypatch.setitem(TRUE_OF, probes, found)
    answer = search(target=0.99)
    assert (answer.setting, answer.tuned.reached, server.probes) == ({"probes": 2}, False, 2)


def test_a_setting_is_given_up_early_only_below_the_target_and_its_margin(search, monkeypatch):
    assert tuning._AT_ONCE == 100
    monkeypatch.setattr(tuning, "_AT_ONCE", 4)
    answer = search(target=0.75, margin=0.25)
    assert [point.queries for point in answer.tuned.curve] == [4, 4, 4, 6]
    assert answer.tuned.reached is True, "all that is wanted is not too little"


# one point of the curve

SCRIPTS = [0.2, 0.4, 0.4, 0.6, 0.8, 1.0, 0.8, 0.6, 0.2]


@pytest.fixture
def scripted(monkeypatch, folder):
    """Each tuning query has a recall of its own, by the number of the nearest that are found."""
    monkeypatch.setattr(tuning, "_AT_ONCE", 4)
    data, now = dataset.open_dataset(folder), [0]
    exact = truth.open_truth(folder, "tuning")
    monkeypatch.setattr(clock, "perf_counter_ns", lambda: now[0])

    def ask(vector):
        number = next(i for i in range(9) if np.array_equal(data.tuning[i], vector))
        now[0] += 1000 * (number * 7 % 9 + 1)  # 1, 8, 6, 4, 2, 9, 7, 5, 3 µs
        hits = round(SCRIPTS[number] * 5)
        return [*exact.ids[number, :hits].tolist(), *exact.ids[number, 12 : 12 + 5 - hits].tolist()]

    def point(wanted, count=9):
        return tuning.point_of({"probes": 1}, ask, list(data.tuning[:count]), data, exact, 5, wanted)

    return point


def test_a_point_is_measured_on_all_queries_unless_it_clearly_falls_short(scripted):
    # the first four: mean 0.4, standard error 0.0816, so 0.4 + 3.3 of them is 0.669; of all nine the mean is 5 / 9
    enough, short = scripted(0.66), scripted(0.68)
    assert (enough.recall, enough.queries, enough.setting) == (pytest.approx(5 / 9), 9, {"probes": 1})
    assert (enough.latency_p50, enough.latency_p95) == (pytest.approx(5e-6), pytest.approx(9e-6))
    assert (short.recall, short.queries) == (pytest.approx(0.4), 4)
    assert (short.latency_p50, short.latency_p95) == (pytest.approx(6e-6), pytest.approx(8e-6))
    # the first eight: mean 0.6, standard error 0.0926: 0.906 in all
    assert scripted(0.66, count=8).queries == 8
    assert scripted(None).queries == 9, "where nothing is given up"


def test_the_second_hundred_counts_with_the_first(scripted, monkeypatch):
    monkeypatch.setattr(tuning, "_SURE", 4.0)
    # four: 0.4 + 4 × 0.0816 = 0.727; eight: 0.6 + 4 × 0.0926 = 0.970
    assert scripted(0.72).queries == 9
    assert scripted(0.73).queries == 4
    monkeypatch.setattr(tuning, "_SURE", 1.0)
    monkeypatch.setattr(tuning, "_AT_ONCE", 3)
    # three: 0.333 + 0.067; six: 0.567 + 0.120 = 0.687; wanted between them ends neither
    assert scripted(0.39).queries == 9
    assert scripted(0.41).queries == 3


# under load


def test_the_open_loop_is_driven_as_asked_with_the_measured_queries(server, work, monkeypatch):
    def open_loop(ask, inputs, rate, seconds, seed):
        assert ask == server.search and [server.name(x) for x in inputs] == [("queries", i) for i in range(7)]
        assert (rate, seconds, seed) == (35.0, 1.5, 1)
        server.events.append("load")
        ones = np.array([3, 1, 2])
        return Load(ones * 1000, ones, np.array([5_000, 9_000, 40_000]), 3, 10**9, True)

    monkeypatch.setattr(timed, "open_loop", open_loop)
    monkeypatch.setattr(Load, "utilisation", 0.25)
    answer = timed.open_loop_latency(OpenLoopRequest(work, {"probes": 3}, 35.0, 1.5))
    assert answer.facts.model_dump() == {
        "rate": 35.0, "seconds": 1.5, "utilisation": 0.25, "saturated": True, "lateness_p50_seconds": 9e-6,
    }  # fmt: skip
    assert answer.latencies.tolist() == [3000, 1000, 2000]
    warmed = [("ask", 3, "warmup", i) for i in range(25)]
    assert server.events == ["connect", ("use", 3, ("warmup", 0)), *warmed, "load"]


@pytest.fixture
def crowds(monkeypatch):
    """Five answers in the first of ten stretches of a second, two in each other, times the number of clients."""
    calls = []

    def closed_loop_clients(connect, inputs, clients, seconds, *, warmup):
        calls.append((connect.func, connect.args, [x.tobytes() for x in inputs], clients, seconds, len(warmup)))
        if clients == 8:
            raise ServiceUnavailable("too many connections", "raise it")
        ends = np.concatenate([np.full(clients * (5 if i == 0 else 2), (i + 0.5) * 1e8) for i in range(10)]).astype(
            np.int64
        )
        latencies = np.arange(1, len(ends) + 1) * 1_000_000
        return Crowd(clients, latencies, ends, 1.0)

    monkeypatch.setattr(timed, "closed_loop_clients", closed_loop_clients)
    return calls


def test_each_number_of_clients_is_told_by_its_rate_and_its_latencies(crowds, server, work):
    answer = timed.many_clients(ClientsRequest(work, {"probes": 2}, (1, 3), 1.0))
    assert answer.failed is None
    one, three = (level.crowd for level in answer.sweep)
    assert [level.n for level in answer.sweep] == [10, 10]
    assert (one.clients, one.queries_per_second) == (1, pytest.approx(23))
    assert (three.clients, three.queries_per_second) == (3, pytest.approx(69))
    assert one.ci95 == pytest.approx((23 - 6.786, 23 + 6.786), abs=0.01), "t of nine degrees over ten stretches"
    assert (one.latency_p50, one.latency_p95) == (exactly(0.012), exactly(0.022))
    connect, args, inputs, clients, seconds, warmup = crowds[1]
    assert connect is timed.one_client and (args[0], args[2], args[3]) == (server, 5, {"probes": 2})
    assert np.array_equal(args[4], server.data.warmup[0])
    assert inputs == [query.tobytes() for query in server.data.queries]
    assert (clients, seconds, warmup) == (3, 1.0, 20)


def test_a_number_of_clients_that_cannot_be_had_ends_the_sweep_and_keeps_it(crowds, work):
    answer = timed.many_clients(ClientsRequest(work, {"probes": 2}, (1, 8, 2), 1.0))
    assert [level.crowd.clients for level in answer.sweep] == [1]
    assert answer.failed == "8 clients at once: too many connections. Next step: raise it"
    assert [call[3] for call in crowds] == [1, 8]


def test_a_client_has_a_session_of_its_own_under_the_setting(server):
    with timed.one_client(server, server.data, 5, {"probes": 2}, server.data.warmup[0]) as call:
        assert call == server.search
    assert server.events == ["connect", ("use", 2, ("warmup", 0))]


def test_the_cold_start_asks_first_and_proves_afterwards(server, work, monkeypatch):
    assert store_measuring._COLD == 20
    monkeypatch.setattr(store_measuring, "_COLD", 4)
    answer = store_measuring.cold_start(ColdRequest(work, {"probes": 4}))
    assert answer.tolist() == [20_000, 20_001, 20_002, 20_003]
    assert server.events == [
        "connect", ("put", 4), *[("ask", 4, "queries", i) for i in range(4)], ("prove", ("queries", 0)),
    ]  # fmt: skip
