"""The process a measurement runs in: its errors arrive, its end is understood, its memory is its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from nightgate.errors import ChildError, InputError
from nightgate.measure import child
from nightgate.measure.child import run_child

TARGETS = f"{__name__.rpartition('.')[0] + '.' if '.' in __name__ else ''}child_targets"


@pytest.fixture(autouse=True)
def targets(tmp_path, monkeypatch):
    """A module that the child can import."""
    (tmp_path / "child_targets.py").write_text("""
import os, signal, time
from nightgate.errors import InputError
def env(request): return {name: os.environ.get(name) for name in request["names"]}
def refuse(request): raise InputError("no such thing", "look elsewhere")
def fail(request): return 1 / 0
def die(request): print("last words", flush=True); os.kill(os.getpid(), signal.SIGSEGV)
def hang(request): time.sleep(60)
def interrupted(request): os.kill(os.getpid(), signal.SIGINT); return {}
def grow(request): block = bytearray(request["bytes"]); return {"size": len(block)}
""")
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return tmp_path


def test_threads_and_devices_are_set_for_the_child_alone():
    names = ["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "CUDA_VISIBLE_DEVICES"]
    assert run_child("child_targets:env", {"names": names}, threads=3).value == dict(
        zip(names, ["3", "3", ""], strict=True)
    )
    gpu = run_child("child_targets:env", {"names": names}, threads=1, device="gpu").value
    assert gpu["CUDA_VISIBLE_DEVICES"] == os.environ.get("CUDA_VISIBLE_DEVICES")


def test_errors_arrive_as_themselves():
    with pytest.raises(InputError, match="no such thing. Next step: look elsewhere"):
        run_child("child_targets:refuse", {}, threads=1)
    with pytest.raises(ChildError, match="ZeroDivisionError"):
        run_child("child_targets:fail", {}, threads=1)


def test_a_crash_is_named_and_its_last_words_are_kept():
    with pytest.raises(ChildError, match="SIGSEGV.*last words"):
        run_child("child_targets:die", {}, threads=1)


def test_a_child_that_hangs_is_ended():
    with pytest.raises(ChildError, match="did not finish within 1 s"):
        run_child("child_targets:hang", {}, threads=1, timeout=1)
    assert not [p for p in psutil.Process().children(recursive=True) if "child_targets:hang" in " ".join(p.cmdline())]


def test_peak_memory_is_the_childs_own():
    ballast = bytearray(200 * 2**20)  # a large parent must not show in the child's figure
    small = run_child("child_targets:grow", {"bytes": 1}, threads=1).peak_rss_bytes
    large = run_child("child_targets:grow", {"bytes": 100 * 2**20}, threads=1).peak_rss_bytes
    assert small < 100 * 2**20 < large
    assert len(ballast)


def test_the_child_dies_with_its_parent(targets):
    script = "from nightgate.measure.child import run_child; run_child('child_targets:hang', {}, threads=1)"
    parent = subprocess.Popen([sys.executable, "-c", script])
    children = _wait(
        lambda: [p for p in psutil.Process(parent.pid).children() if "measure.child" in " ".join(p.cmdline())]
    )
    _wait(lambda: _ignores_nothing(children[0].pid))
    time.sleep(0.5)  # until the child has asked the kernel
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    assert _wait(lambda: not children[0].is_running() or children[0].status() == psutil.STATUS_ZOMBIE)


def test_ctrl_c_is_left_to_the_parent(targets):
    """The terminal sends it to both; the child must not write a traceback of its own."""
    script = "from nightgate.measure.child import run_child; run_child('child_targets:interrupted', {}, threads=1)"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def _ignores_nothing(pid):
    return Path(f"/proc/{pid}").exists()


def _wait(condition, seconds=20):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.05)
    pytest.fail("it did not happen in time")


def test_the_time_out_of_a_step_bounds_all_its_children(monkeypatch):
    now = 1000.0
    monkeypatch.setattr(child.time, "monotonic", lambda: now)
    assert (child._left(None), child._left(7)) == (3600.0, 7)
    with child.ends_within(50):
        now = 1020.0
        assert (child._left(None), child._left(7), child._left(31)) == (30.0, 7, 30.0)
        with child.ends_within(5):
            assert child._left(7) == 5.0
        assert child._left(None) == 30.0
        now = 1051.0
        assert (child._left(None), child._left(7)) == (0.0, 0.0)
        with pytest.raises(
            ChildError, match="not started: the time-out of its step is over. Next step: lower the scale"
        ):
            run_child("child_targets:hang", {}, threads=1)
    assert child._left(None) == 3600.0


def test_a_child_ends_with_its_step():
    with child.ends_within(0.5), pytest.raises(ChildError, match="hang did not finish within 0 s"):
        run_child("child_targets:hang", {}, threads=1, timeout=50)
