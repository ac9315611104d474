"""The lock of the machine: one at a time, whatever the home, and none that nobody can hold."""

from __future__ import annotations

import fcntl
import logging
import os
import threading
import time

import pytest

from nightgate.errors import InputError
from nightgate.measure import machine
from nightgate.measure.machine import alone


@pytest.fixture(autouse=True)
def lock(tmp_path, monkeypatch):
    file = tmp_path / "deep" / "measure.lock"
    monkeypatch.setenv("NIGHTGATE_LOCK", str(file))
    return file


def is_free(file):
    with open(file) as other:
        try:
            fcntl.flock(other, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
    return True


def test_it_is_held_while_something_is_timed_and_free_afterwards_also_after_an_error(lock, monkeypatch):
    for home in ("/one", "/another"):
        monkeypatch.setenv("NIGHTGATE_HOME", home)
        with pytest.raises(ZeroDivisionError), alone():
            assert not is_free(lock)
            with alone():
                assert not is_free(lock), "whoever holds it goes on"
            assert not is_free(lock)
            raise ZeroDivisionError
        assert is_free(lock)


def test_the_other_waits_and_says_so_once(lock, caplog):
    caplog.set_level(logging.INFO)
    order = []
    with alone():
        order.append("first")

        def second():
            with alone():
                order.append("second")

        thread = threading.Thread(target=second)
        thread.start()
        deadline = time.monotonic() + 5
        while "another measurement runs on this host" not in caplog.text and time.monotonic() < deadline:
            time.sleep(0.01)
        order.append("first again")
    thread.join(5)
    assert order == ["first", "first again", "second"]
    assert caplog.text.count("waiting for it to end") == 1


def test_a_lock_that_was_removed_while_it_was_waited_for_is_not_held(lock, monkeypatch):
    """A cleaner of /tmp removed the file: whoever came later would hold another."""
    locked, held = fcntl.flock, []

    def flock(file, how):
        locked(file, how)
        if not held:
            held.append(os.fstat(file).st_ino)
            lock.rename(lock.with_name("removed"))

    monkeypatch.setattr(machine.fcntl, "flock", flock)
    with alone():
        assert lock.stat().st_ino != held[0]
        assert not is_free(lock)
        assert is_free(lock.with_name("removed"))


def test_a_blank_name_is_none(monkeypatch):
    monkeypatch.setenv("NIGHTGATE_LOCK", " ")
    assert str(machine.lock_file()) == "/tmp/nightgate-measure.lock"


def test_one_that_cannot_be_opened_is_named_with_what_to_do(lock, monkeypatch):
    lock.parent.write_text("no folder")
    with pytest.raises(InputError) as caught, alone():
        pass
    assert str(caught.value) == (
        f"the lock of this machine, {lock}, cannot be opened (Not a directory). Next step: let every user read it, or name "
        "another file with NIGHTGATE_LOCK, the same for all that measure on this machine"
    )


def test_a_machine_is_called_as_it_says_or_as_its_host(monkeypatch):
    monkeypatch.setattr(machine.socket, "gethostname", lambda: "a1b2c3")
    monkeypatch.setenv(machine.NAME, " ")
    assert machine.name() == "a1b2c3"
    monkeypatch.setenv(machine.NAME, " east ")
    assert machine.name() == "east"
