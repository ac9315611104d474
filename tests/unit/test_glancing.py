"""The host is looked at before whatever a child does."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from support import child_targets

from nightgate.measure.child import run_child
from nightgate.measure.glancing import glance, looking
from nightgate.measure.turns import Ask, run_in_turns

TESTS = str(Path(__file__).resolve().parents[1])


@pytest.fixture
def looks(tmp_path, monkeypatch):
    """What the children had written whenever the host was looked at."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [TESTS, os.environ.get("PYTHONPATH")])))
    file, seen = tmp_path / "turns", []
    with looking(lambda: seen.append(file.read_text().split() if file.exists() else [])):
        yield seen
    glance()


def test_nobody_looks_when_nobody_watches():
    glance()
    with pytest.raises(ZeroDivisionError), looking(lambda: 1 / 0):
        glance()
    glance()


def test_before_a_child_starts(looks, tmp_path):
    run_child(child_targets.count, ("a", 2, tmp_path / "turns"), threads=1)
    assert looks == [[]]
    run_child(child_targets.env, [], threads=1)
    assert looks == [[], ["a0", "a1"]]


def test_before_each_round_of_those_that_take_turns(looks, tmp_path):
    run_in_turns([Ask(child_targets.count, (name, 1, tmp_path / "turns")) for name in "ab"], threads=1)
    assert looks == [[], ["a0", "b0"]]
