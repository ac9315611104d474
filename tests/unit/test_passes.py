"""Pass after pass, in turns: what is asked when, which times are kept, and what ends it."""

from __future__ import annotations

import numpy as np
import pytest
from support.turning import alone

from nightgate.measure import blocks, clock
from nightgate.vector_search.passes import Passes, time_passes

QUERIES, WARMUP = [1, 2, 3, 4, 5], [101, 102, 103]


class Index:
    """Each query takes as many µs as its number says, times ``pace`` of the pass that it is asked in; the kernel 200 µs, or
    1,000 in the passes that are ``slow``."""

    def __init__(self, monkeypatch, pace=lambda number: 1, slow=()) -> None:
        self.now, self.asked, self.pace, self.slow = 0, [], pace, slow
        monkeypatch.setattr(clock, "perf_counter_ns", lambda: self.now)
        monkeypatch.setattr(blocks, "kernel", self.kernel)

    @property
    def number(self):
        return sum(query == 5 for query in self.asked)

    def kernel(self):
        return 1_000_000 if self.number in self.slow else 200_000

    def search(self, query):
        self.now += round(query * 1_000 * self.pace(self.number))
        self.asked.append(query)
        return [query]


def test_alone_it_is_warmed_up_and_asked_as_often_as_it_is_to_be(monkeypatch):
    index = Index(monkeypatch, pace=lambda number: 1 + number)
    found = alone(time_passes(index.search, QUERIES, WARMUP, Passes(2, 3)))
    assert index.asked == [*WARMUP, *QUERIES, *QUERIES, *QUERIES]
    assert found.durations[:, :4].tolist() == [
        [1000, 2000, 3000, 4000],
        [2000, 4000, 6000, 8000],
        [3000, 6000, 9000, 12000],
    ]
    assert found.beside.tolist() == np.full((3, 5), 200_000).tolist()
    assert found.answers == [[1], [2], [3], [4], [5]], "of the first pass"


def test_each_turn_begins_with_queries_that_are_not_kept(monkeypatch):
    index, turns = Index(monkeypatch), []
    work = time_passes(index.search, QUERIES, WARMUP, Passes(1, 2, a_turn=2, warm_again=1))
    with pytest.raises(StopIteration) as done:
        turns.append((next(work), index.asked[:]))
        while True:
            index.asked.clear()
            turns.append((work.send(False), index.asked[:]))
    turns.append((None, index.asked[:]))
    asked = [asked for _, asked in turns]
    assert asked == [WARMUP, [101, 1, 2], [101, 3, 4], [101, 5], [101, 1, 2], [101, 3, 4], [101, 5]]
    assert {enough for enough, _ in turns[:-1]} == {False}
    assert done.value.value.durations.tolist() == [[1000, 2000, 3000, 4000, 5000]] * 2


def ended(index, passes, answer=lambda enough: enough):
    work = time_passes(index.search, QUERIES, WARMUP, passes)
    said = [next(work)]
    try:
        while True:
            said.append(work.send(answer(said[-1])))
    except StopIteration as done:
        return said, done.value


def test_it_says_when_it_knows_enough_and_ends_when_the_others_do_too(monkeypatch):
    said, found = ended(Index(monkeypatch), Passes(2, 9, precision=0.02))
    assert said == [False, False, False, False, False, True] and len(found.durations) == 5, "fewer show no scatter"
    waiting, _ = ended(Index(monkeypatch), Passes(2, 9, precision=0.02), lambda _: False)
    assert waiting == [*5 * [False], *4 * [True]], "it asks on until the most passes, and stays content"
    wild, _ = ended(Index(monkeypatch, pace=lambda n: 1 + (n > 5)), Passes(2, 9, precision=0.02), lambda _: False)
    assert wild == waiting, "what it has once known it need not learn again"
    rested = iter([*7 * [False], True])
    _, found = ended(Index(monkeypatch), Passes(2, 9, precision=0.02), lambda _: next(rested))
    assert len(found.durations) == 7
    said, found = ended(Index(monkeypatch), Passes(8, 9, precision=0.02))
    assert len(found.durations) == 8, "never before the least"


def test_where_the_passes_scatter_the_most_are_made(monkeypatch):
    said, found = ended(Index(monkeypatch, pace=lambda number: 1 + number % 2), Passes(2, 9, precision=0.02))
    assert len(found.durations) == 9 and not any(said)
    said, found = ended(Index(monkeypatch), Passes(2, 9))
    assert len(found.durations) == 9 and not any(said), "no precision was asked for"


def test_only_passes_at_full_speed_tell_how_exact_it_is(monkeypatch):
    slow = {1, 2, 4}
    index = Index(monkeypatch, pace=lambda number: 1.7 if number in slow else 1.0, slow=slow)
    _, found = ended(index, Passes(2, 30, precision=0.02))
    assert found.beside[:, 0].tolist() == [1_000_000] * 5 + [200_000] * 5, (
        "three, and the two that end where they begin"
    )
    index = Index(monkeypatch)
    _, found = ended(index, Passes(2, 30, precision=0.02, fastest_ns=100_000))
    assert len(found.durations) == 30, "an earlier measurement saw this host twice as fast: this is no full speed"
