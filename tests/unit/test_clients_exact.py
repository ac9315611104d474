"""What many clients saw together, put together in one process: the barrier, the pipes and the clock are replaced."""

from __future__ import annotations

from contextlib import contextmanager

import numpy as np
import pytest

from nightgate.errors import ChildError, ServiceUnavailable
from nightgate.measure import clients
from nightgate.measure.clients import Crowd

SECOND = 1_000_000_000


class Pipe:
    def __init__(self, answer=None, *, ready=True):
        self.answer, self.ready, self.sent, self.polled, self.closed = answer, ready, [], [], False

    def poll(self, seconds):
        self.polled.append(seconds)
        return self.ready

    def recv(self):
        if self.answer is EOFError:
            raise EOFError
        return self.answer

    def send(self, what):
        self.sent.append(what)

    def close(self):
        self.closed = True


class Barrier:
    def __init__(self):
        self.waited, self.aborted = [], False

    def wait(self, seconds):
        self.waited.append(seconds)

    def abort(self):
        self.aborted = True


class Calls:
    """Each call takes as many seconds as its number says."""

    def __init__(self, monkeypatch):
        self.now, self.seen, self.open = 3 * SECOND, [], False
        monkeypatch.setattr(clients, "perf_counter_ns", lambda: self.now)

    @contextmanager
    def connect(self):
        self.open = True
        yield self
        self.open = False

    def __call__(self, number):
        assert self.open
        if number < 0:
            raise ServiceUnavailable("the server was lost")
        self.seen.append(number)
        self.now += round(number * SECOND)


def test_a_client_warms_up_waits_for_the_others_then_calls_until_the_time_is_up(monkeypatch):
    calls, barrier, pipe = Calls(monkeypatch), Barrier(), Pipe()
    barrier.wait = lambda seconds: barrier.waited.append((seconds, list(calls.seen)))
    clients._client(calls.connect, [2, 0.5], [9, 7], 4.5, barrier, pipe)
    assert calls.seen == [9, 7, 2, 0.5, 2]
    assert barrier.waited == [(60.0, [9, 7])]
    [(start, latencies, ends)] = pipe.sent
    assert start == 19 * SECOND
    assert latencies.tolist() == [2 * SECOND, SECOND // 2, 2 * SECOND]
    assert (ends - start).tolist() == [2 * SECOND, 2.5 * SECOND, 4.5 * SECOND], "at 4.5 s the time is up"
    assert latencies.dtype == ends.dtype == np.int64
    assert not barrier.aborted and not calls.open


def test_a_client_without_time_has_no_calls(monkeypatch):
    calls, pipe = Calls(monkeypatch), Pipe()
    clients._client(calls.connect, [1], [], 0, Barrier(), pipe)
    [(_, latencies, ends)] = pipe.sent
    assert [(of.shape, of.dtype) for of in (latencies, ends)] == [((0,), np.int64)] * 2


def test_a_client_that_fails_frees_the_others_and_says_why(monkeypatch):
    calls, barrier, pipe = Calls(monkeypatch), Barrier(), Pipe()
    clients._client(calls.connect, [1, -1], [], 30, barrier, pipe)
    [error] = pipe.sent
    assert isinstance(error, ServiceUnavailable) and error.what == "the server was lost"
    assert barrier.aborted


def test_an_answer_is_waited_for_as_long_as_two_minutes_and_twice_the_calls():
    pipe = Pipe((1, "latencies", "ends"))
    assert clients._answer(pipe, 10) == (1, "latencies", "ends")
    assert pipe.polled == [140.0]


@pytest.mark.parametrize(
    ("pipe", "error", "what", "next_step"),
    [
        (Pipe(ready=False), ChildError, "a client did not answer in time", "see the log of the server"),
        (Pipe(EOFError), ChildError, "a client died", "see the log for its last words"),
        (Pipe(ServiceUnavailable("lost", "start it")), ServiceUnavailable, "lost", "start it"),
    ],
)
def test_an_answer_that_is_none_is_said(pipe, error, what, next_step):
    with pytest.raises(error) as caught:
        clients._answer(pipe, 1)
    assert (type(caught.value), caught.value.what, caught.value.next_step) == (error, what, next_step)


class Context:
    """In place of forked processes: each ends at once, with the answer that was prepared for it."""

    def __init__(self, monkeypatch, answers):
        self.answers, self.made, self.pipes, self.barriers = list(answers), [], [], []
        self.barrier = Barrier()
        monkeypatch.setattr(
            clients.multiprocessing, "get_context", lambda how: self if how == "fork" else pytest.fail(how)
        )

    def Barrier(self, parties):
        self.barriers.append(parties)
        return self.barrier

    def Pipe(self, duplex):
        assert duplex is False
        ours, theirs = Pipe(self.answers.pop(0)), Pipe()
        self.pipes.append((ours, theirs))
        return ours, theirs

    def Process(self, target, args, daemon):
        process = Process(target, args, daemon)
        self.made.append(process)
        return process


class Process:
    def __init__(self, target, args, daemon):
        self.target, self.args, self.daemon, self.did = target, args, daemon, []

    def start(self):
        self.did.append("start")

    def kill(self):
        self.did.append("kill")

    def join(self):
        self.did.append("join")


def answer(start, *calls):
    """``calls``: (latency, end after ``start``) in seconds."""
    latencies = np.array([latency * SECOND for latency, _ in calls], np.int64)
    ends = np.array([(start + end) * SECOND for _, end in calls], np.int64)
    return clients._Answer(start * SECOND, latencies, ends)


def test_what_clients_saw_counts_from_when_the_last_began(monkeypatch):
    # the second begins two seconds later: what the first had answered by then is left out, as is what came too late
    context = Context(monkeypatch, [answer(10, (1, 1), (2, 2), (3, 5), (4, 9)), answer(12, (5, 1), (6, 6), (7, 6.5))])
    crowd = clients.closed_loop_clients("connect", list("abc"), 2, 6, warmup=["w"])
    assert (crowd.clients, crowd.seconds) == (2, 6)
    assert (crowd.ends_ns / SECOND).tolist() == [0, 1, 3, 6]
    assert (crowd.latencies_ns / SECOND).tolist() == [2, 5, 3, 6]
    assert context.barriers == [2]
    assert [process.args[1] for process in context.made] == [["a", "b", "c"], ["b", "c", "a"]]
    for process, (ours, theirs) in zip(context.made, context.pipes, strict=True):
        assert process.target is clients._client
        assert (process.args[0], *process.args[2:]) == ("connect", ["w"], 6, context.barrier, theirs)
        assert process.daemon and process.did == ["start", "kill", "join"]
        assert theirs.closed and not ours.closed, "or the end of a client would not be seen"
        assert ours.polled == [132.0]


def test_inputs_are_shared_out_evenly(monkeypatch):
    context = Context(monkeypatch, [answer(0, (1, 1))] * 3)
    crowd = clients.closed_loop_clients("connect", [0, 1, 2, 3, 4, 5, 6], 3, 5)
    assert [process.args[1][0] for process in context.made] == [0, 2, 4]
    assert [sorted(process.args[1]) for process in context.made] == [list(range(7))] * 3
    assert [process.args[2] for process in context.made] == [()] * 3
    assert len(crowd.latencies_ns) == 3


def test_the_others_are_ended_when_one_fails(monkeypatch):
    context = Context(monkeypatch, [ServiceUnavailable("lost"), answer(0, (1, 1))])
    with pytest.raises(ServiceUnavailable, match="lost"):
        clients.closed_loop_clients("connect", ["a"], 2, 5)
    assert [process.did for process in context.made] == [["start", "kill", "join"]] * 2
    assert context.barrier.aborted, "so that no other waits for it"


def test_the_rate_is_a_mean_over_ten_stretches():
    # 20 seconds: two calls in the first stretch, six in the last, four in each between
    ends = np.concatenate(
        [[0.7, 1], *[np.arange(4) * 0.4 + 2 * k for k in range(1, 9)], [18, 18.5, 19, 19.2, 19.4, 19.5]]
    )
    crowd = Crowd(3, np.ones(len(ends), np.int64), (ends * SECOND).astype(np.int64), 20.0)
    value, n, (low, high) = crowd.per_second()
    # rates 1, 2 × 8, 3: s = 0.471405; t of 9 degrees of freedom = 2.262157; s·t/√10 = 0.337223
    assert (value, n) == (2.0, 10)
    assert (low, high) == (pytest.approx(2 - 0.337223, abs=1e-5), pytest.approx(2 + 0.337223, abs=1e-5))
