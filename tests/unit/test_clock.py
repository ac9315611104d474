"""The timed loop on a clock that only calls move: every duration is known in advance."""

from __future__ import annotations

import numpy as np
import pytest

from nightgate.measure import clock


class Server:
    """Each call takes as many nanoseconds as its number says, times how often it was asked before."""

    def __init__(self, monkeypatch) -> None:
        self.now, self.seen = 7_000, []
        monkeypatch.setattr(clock, "perf_counter_ns", lambda: self.now)

    def __call__(self, number: int) -> str:
        self.seen.append(number)
        self.now += number * self.seen.count(number)
        return f"answer {len(self.seen)}"


def test_each_call_of_each_pass_is_timed_by_itself_in_nanoseconds(monkeypatch):
    server = Server(monkeypatch)
    durations, answers = clock.time_calls(server, [30, 500, 7], passes=2)
    assert durations.tolist() == [[30, 500, 7], [60, 1000, 14]]
    assert durations.dtype == np.int64
    assert server.seen == [30, 500, 7, 30, 500, 7]
    assert answers == ["answer 1", "answer 2", "answer 3"], "those of the first pass"


def test_the_warm_up_is_called_first_and_is_in_no_number(monkeypatch):
    server = Server(monkeypatch)
    durations, answers = clock.time_calls(server, [30], passes=3, warmup=[500, 30])
    assert server.seen == [500, 30, 30, 30, 30]
    assert durations.tolist() == [[60], [90], [120]]
    assert answers == ["answer 3"]


def test_nothing_is_retried(monkeypatch):
    server = Server(monkeypatch)

    def fails_once(number):
        server(number)
        if len(server.seen) == 2:
            raise ConnectionError("lost")

    with pytest.raises(ConnectionError, match="lost"):
        clock.time_calls(fails_once, [1, 2, 3], passes=2)
    assert server.seen == [1, 2]


def test_no_input_has_no_time(monkeypatch):
    durations, answers = clock.time_calls(Server(monkeypatch), [], passes=2)
    assert (durations.shape, answers) == ((2, 0), [])
