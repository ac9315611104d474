"""Many clients at once: each a process of its own, none left behind."""

from __future__ import annotations

import multiprocessing
import os
import time
from contextlib import contextmanager

import numpy as np
import psutil
import pytest

from nightgate.errors import ChildError, ServiceUnavailable
from nightgate.measure.clients import Crowd, closed_loop_clients


@contextmanager
def sleeper():
    yield lambda seconds: time.sleep(seconds)


def children():
    return psutil.Process().children(recursive=True)


def test_clients_call_at_the_same_time():
    crowd = closed_loop_clients(sleeper, [0.02], 3, 0.6, warmup=[0])
    assert crowd.clients == 3
    rate, n, (low, high) = crowd.per_second()
    # one client alone could not answer 50 sleeps of 20 ms in a second; this bound holds on a host twice as slow
    assert 60 < rate <= 151
    assert n == 10 and low <= rate <= high
    assert (crowd.latencies_ns >= 20_000_000).all() and len(crowd.latencies_ns) == len(crowd.ends_ns)
    assert (np.diff(crowd.ends_ns) >= 0).all() and crowd.ends_ns.max() <= 0.6e9
    assert children() == []


def test_each_client_begins_at_another_input_and_connects_by_itself(tmp_path):
    @contextmanager
    def noting():
        file = tmp_path / str(os.getpid())

        def call(number):
            with open(file, "a") as out:
                out.write(f"{number} ")
            time.sleep(0.01)

        yield call

    closed_loop_clients(noting, [0, 1, 2, 3], 4, 0.1)
    firsts = sorted(file.read_text()[0] for file in tmp_path.iterdir())
    assert firsts == ["0", "1", "2", "3"]


def test_an_error_of_one_client_arrives_as_itself_and_ends_the_others():
    @contextmanager
    def one_fails():
        def call(number):
            time.sleep(0.01)
            if number == 1:
                raise ServiceUnavailable("the server was lost")

        yield call

    with pytest.raises(ServiceUnavailable, match="was lost"):
        closed_loop_clients(one_fails, [0, 0, 0, 1], 2, 30)
    assert children() == []


def test_a_client_that_dies_is_said():
    @contextmanager
    def dying():
        yield lambda number: os._exit(1) if number else time.sleep(0.01)

    with pytest.raises(ChildError, match="a client died"):
        closed_loop_clients(dying, [0, 0, 1, 1], 2, 30)
    assert children() == []


def test_the_rate_is_that_of_whole_windows():
    even = Crowd(1, np.ones(100, np.int64), (np.arange(100) * 1e7 + 1).astype(np.int64), 1.0)
    assert even.per_second() == (100.0, 10, (100.0, 100.0))


def test_the_reason_of_the_one_that_failed_is_told_and_not_that_of_those_who_waited(capfd):
    """Others wait at the barrier for the last one, which is refused; what they see of the barrier is of no use."""
    connected = multiprocessing.get_context("fork").Value("i", 0)

    @contextmanager
    def last_is_refused():
        with connected.get_lock():
            connected.value += 1
            if connected.value == 3:
                raise ServiceUnavailable("too many connections")
        yield lambda _: time.sleep(0.01)

    with pytest.raises(ServiceUnavailable, match="too many connections"):
        closed_loop_clients(last_is_refused, [0], 3, 0.05)
    assert "Traceback" not in "".join(capfd.readouterr())
