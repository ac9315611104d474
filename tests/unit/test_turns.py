"""Children that work in turns: one at any time, in an order that favours none, and none takes the others with it."""

from __future__ import annotations

import os
import time
from pathlib import Path

import psutil
import pytest
from support import child_targets

from nightgate.errors import ChildError, InputError
from nightgate.measure.child import ends_within, run_child
from nightgate.measure.turns import Ask, run_in_turns

TESTS = str(Path(__file__).resolve().parents[1])


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [TESTS, os.environ.get("PYTHONPATH")])))


def test_they_take_turns_every_other_round_the_other_way(tmp_path):
    file, rounds = tmp_path / "turns", []
    asks = [Ask(child_targets.count, (name, turns, file)) for name, turns in (("a", 3), ("b", 2), ("c", 4))]
    found = run_in_turns(
        asks, threads=1, between=lambda: rounds.append(len(file.read_text().split()) if file.exists() else 0)
    )
    assert [one.value for one in found] == ["a is done", "b is done", "c is done"]
    assert file.read_text().split() == ["a0", "b0", "c0", "c1", "b1", "a1", "a2", "c2", "c3"]
    assert rounds == [0, 3, 6, 8, 9]


def test_one_that_fails_crashes_or_never_starts_does_not_end_the_others(tmp_path):
    file = tmp_path / "turns"
    asks = [
        Ask(child_targets.count, ("broken", 1, file)), Ask(child_targets.stop_halfway, None),
        Ask(child_targets.refuse, None), Ask(child_targets.count, ("whole", 3, file)),
    ]  # fmt: skip
    broken, stopped, refused, whole = run_in_turns(asks, threads=1)
    assert isinstance(broken, InputError) and broken.what == "broken off"
    assert isinstance(stopped, ChildError) and "SIGKILL" in str(stopped)
    assert isinstance(refused, InputError) and refused.what == "no such thing"
    assert whole.value == "whole is done"


def test_those_that_need_no_more_turns_go_on_until_all_say_so_and_then_have_had_as_many(tmp_path):
    asks = [
        Ask(child_targets.take_part, (name, after, tmp_path / "turns"))
        for name, after in (("a", 1), ("b", 4), ("c", 0))
    ]
    found = run_in_turns(asks, threads=1)
    assert [one.value for one in found] == [4, 4, 4]
    assert (tmp_path / "turns").read_text().split()[-3:] == ["a4", "b4", "c4"]
    alone = run_child(child_targets.take_part, ("d", 3, tmp_path / "turns"), threads=1)
    assert alone.value == 3, "alone there is nobody to wait for"


def test_one_that_hangs_is_ended_and_all_are_gone_afterwards(tmp_path):
    start = time.monotonic()
    (hung,) = run_in_turns([Ask(child_targets.hang_halfway, None)], threads=1, timeout=3)
    assert isinstance(hung, ChildError) and "did not finish within 3 s" in str(hung)
    with pytest.raises(KeyboardInterrupt):
        run_in_turns([Ask(child_targets.count, ("a", 3, tmp_path / "turns"))], threads=1, between=_interrupt_later())
    assert time.monotonic() - start < 30
    assert not [p for p in psutil.Process().children(recursive=True) if "child_targets" in " ".join(p.cmdline())]


def test_the_end_of_the_step_is_theirs(tmp_path):
    with ends_within(0):
        (late,) = run_in_turns([Ask(child_targets.count, ("a", 1, tmp_path / "turns"))], threads=1)
    assert isinstance(late, ChildError) and "was not started" in str(late)
    assert run_in_turns([], threads=1) == []


def test_alone_a_generator_runs_to_its_end(tmp_path):
    assert run_child(child_targets.count, ("a", 3, tmp_path / "turns"), threads=1).value == "a is done"
    assert (tmp_path / "turns").read_text() == "a0 a1 a2 "


def _interrupt_later():
    rounds = []

    def interrupt():
        rounds.append(1)
        if len(rounds) == 2:
            raise KeyboardInterrupt

    return interrupt
