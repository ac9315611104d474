"""Whose turn it is to build an artefact on a host."""

from __future__ import annotations

import pytest
from filelock import FileLock, Timeout

from nightgate.artifacts import sharing
from nightgate.errors import NotMeasured


def held(lock):
    """Somebody else's, as far as filelock sees; give it back with `release`."""
    other = FileLock(lock, thread_local=False)
    other.acquire()
    return other


def test_a_turn_is_waited_for_as_long_as_patience_lasts(tmp_path, monkeypatch):
    lock, looks = tmp_path / "kind" / "digest.lock", []
    other = held(lock)
    monkeypatch.setattr(sharing, "pids_on", lambda lock: [3, 7])
    with pytest.raises(NotMeasured) as caught, sharing.turn_on_host(lock, lambda: looks.append(1), patience=0.1):
        pytest.fail("somebody has it")
    assert caught.value.what == "kind/digest is being built by pid 3, pid 7 for over 0 s"
    assert caught.value.next_step == "see what it does, and stop it if it hangs"
    assert len(looks) > 1
    monkeypatch.setattr(sharing, "pids_on", lambda lock: [])
    with (
        pytest.raises(NotMeasured, match="by an unknown process for over"),
        sharing.turn_on_host(lock, lambda: None, patience=0),
    ):
        pytest.fail("somebody has it")
    found = iter([None, None, "it"])
    with sharing.turn_on_host(lock, lambda: next(found)) as (one, waited):
        assert one == "it" and waited > 0, "who waits looks for itself"
    assert lock.exists(), "the lock is not ours to remove"
    other.release()


def test_whose_turn_it_is_looks_once_more(tmp_path):
    lock = tmp_path / "kind" / "digest.lock"
    with sharing.turn_on_host(lock, lambda: "it") as turn:
        assert turn == ("it", None)
        with pytest.raises(Timeout):
            FileLock(lock).acquire(blocking=False)
    assert not lock.exists()
    other, looks = held(lock), []

    def ready():
        looks.append(1)
        if len(looks) == 2:
            lock.unlink()
            other.release()

    with sharing.turn_on_host(lock, ready) as (found, waited):
        assert found is None and waited is not None, "the builder before us failed: it is ours to build"
        with pytest.raises(Timeout):
            FileLock(lock).acquire(blocking=False)
    assert not lock.exists()
    assert sharing.PATIENCE_SECONDS == 6 * 3600


def test_a_look_that_fails_gives_the_turn_back(tmp_path):
    lock = tmp_path / "kind" / "digest.lock"

    def fails():
        raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError), sharing.turn_on_host(lock, fails):
        pytest.fail("it could not look")
    held(lock).release()
