"""How far a step is: what was said last, how long it took, and who is told when."""

from __future__ import annotations

import logging
import time

import pytest

from nightgate import progress
from nightgate.measure.glancing import glance
from nightgate.progress import Progress, followed

log = logging.getLogger("nightgate.some.room")


@pytest.fixture
def clock(monkeypatch):
    """``clock.now`` is the time."""

    class Clock:
        now = 100.0

        def monotonic(self):
            return self.now

    made = Clock()
    monkeypatch.setattr(progress, "time", made)
    return made


def words(progress):
    return f"{progress.seconds:.0f} s of {progress.expected}"


def test_what_is_left_is_what_is_expected_but_for_what_it_took():
    assert Progress("", 12.0, 40.0).left == 28.0
    assert Progress("", 52.0, 40.0).left == 0.0
    assert Progress("", 52.0, None).left is None


def test_a_measurement_is_told_of_at_its_beginning_and_then_between_what_is_timed(clock, caplog):
    caplog.set_level(logging.INFO)
    told = []
    with followed(40.0, told.append, words, timed=True):
        log.info("process %d of %d\nand more", 1, 2)
        clock.now += progress.EVERY - 1
        glance()
        clock.now += 2
        glance()
        glance()
    glance()
    assert told == [Progress("", 0.0, 40.0), Progress("process 1 of 2", progress.EVERY + 1, 40.0)]


def test_the_log_says_how_far_it_is_where_nothing_was_said_for_a_while(clock, caplog):
    caplog.set_level(logging.INFO)
    told = []
    with followed(None, told.append, words, timed=True):
        log.info("the first pass")
        clock.now += progress.EVERY
        glance()
        clock.now += progress.EVERY
        log.info("the second pass")
        glance()
    assert caplog.messages == ["the first pass", f"{progress.EVERY:.0f} s of None", "the second pass"]
    assert [one.stage for one in told] == ["", "the first pass", "the second pass"], "its own words are no stage"


def test_what_is_not_timed_is_told_of_by_the_clock(monkeypatch):
    monkeypatch.setattr(progress, "EVERY", 0.02)
    told = []
    with followed(None, told.append, words, timed=False):
        end = time.monotonic() + 5
        while len(told) < 3 and time.monotonic() < end:
            time.sleep(0.01)
    assert len(told) >= 3
    after = len(told)
    time.sleep(0.1)
    assert len(told) == after


def test_nobody_listens_after_the_end(caplog):
    caplog.set_level(logging.INFO)
    handlers = list(logging.getLogger("nightgate").handlers)
    with pytest.raises(RuntimeError), followed(None, lambda _: None, words, timed=True):
        raise RuntimeError
    assert logging.getLogger("nightgate").handlers == handlers
