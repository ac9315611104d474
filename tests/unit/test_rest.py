"""A process rests until none of its threads computes any more."""

import hashlib
import threading

import pytest

from nightgate.measure import rest


@pytest.fixture
def clock(monkeypatch):
    """Time passes in sleep alone; after ``until`` steps ``then`` is called."""
    clock = {"now": 100.0, "steps": 0, "until": 0, "then": lambda: None}

    def sleep(seconds):
        clock["now"] += seconds
        clock["steps"] += 1
        if clock["steps"] == clock["until"]:
            clock["then"]()

    monkeypatch.setattr(rest.time, "sleep", sleep)
    monkeypatch.setattr(rest.time, "monotonic", lambda: clock["now"])
    return clock


@pytest.fixture
def task(tmp_path):
    """``task(id, state)``: a thread as /proc has it; its name may hold anything."""

    def write(number, state):
        folder = tmp_path / str(number)
        folder.mkdir(exist_ok=True)
        (folder / "stat").write_text(f"{number} (R) omp) R) {state} 1 R 3 4")

    return write


def test_it_ends_as_soon_as_no_other_thread_runs(clock, task, tmp_path):
    task(1, "S")
    task(2, "R")
    task(threading.get_native_id(), "R")
    clock["until"], clock["then"] = 3, lambda: task(2, "S")
    rest.until_idle(tasks=tmp_path)
    assert clock["steps"] == 3


def test_a_thread_that_has_ended_meanwhile_is_none(clock, task, tmp_path):
    (tmp_path / "7").mkdir()
    task(threading.get_native_id(), "R")
    rest.until_idle(tasks=tmp_path)
    assert clock["steps"] == 0


def test_it_does_not_wait_for_ever(clock, task, tmp_path):
    task(2, "R")
    rest.until_idle(0.052, tasks=tmp_path)
    assert clock["now"] == pytest.approx(100.055)


def test_a_thread_that_computes_is_seen():
    thread = threading.Thread(target=hashlib.pbkdf2_hmac, args=("sha256", b"a", b"b", 1_000_000))
    thread.start()  # it computes outside of Python's lock
    seen = False
    while thread.is_alive() and not seen:
        seen = rest._computing(rest._TASKS)
    assert seen
    thread.join()
