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
from support import child_targets

from nightgate.errors import ChildError, InputError
from nightgate.measure import child
from nightgate.measure.child import run_child

TESTS = str(Path(__file__).resolve().parents[1])
HANG = "from support import child_targets; from nightgate.measure.child import run_child; run_child(child_targets.{}, None, threads=1)"


@pytest.fixture(autouse=True)
def importable(monkeypatch):
    """The child must find `child_targets` by itself."""
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, [TESTS, os.environ.get("PYTHONPATH")])))


def test_threads_and_devices_are_set_for_the_child_alone():
    names = ["OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "CUDA_VISIBLE_DEVICES"]
    assert run_child(child_targets.env, names, threads=3).value == dict(zip(names, ["3", "3", ""], strict=True))
    gpu = run_child(child_targets.env, names, threads=1, device="gpu").value
    assert gpu["CUDA_VISIBLE_DEVICES"] == os.environ.get("CUDA_VISIBLE_DEVICES")


def test_errors_arrive_as_themselves():
    with pytest.raises(InputError, match="no such thing. Next step: look elsewhere"):
        run_child(child_targets.refuse, None, threads=1)
    with pytest.raises(ChildError, match="ZeroDivisionError"):
        run_child(child_targets.fail, None, threads=1)


def test_a_crash_is_named_and_its_last_words_are_kept():
    with pytest.raises(ChildError, match="SIGSEGV.*last words"):
        run_child(child_targets.die, None, threads=1)


def test_a_child_that_hangs_is_ended():
    with pytest.raises(ChildError, match="did not finish within 1 s"):
        run_child(child_targets.hang, None, threads=1, timeout=1)
    assert not [p for p in psutil.Process().children(recursive=True) if "child_targets:hang" in " ".join(p.cmdline())]


def test_peak_memory_is_the_childs_own():
    ballast = bytearray(200 * 2**20)  # a large parent must not show in the child's figure
    small = run_child(child_targets.grow, 1, threads=1).peak_rss_bytes
    large = run_child(child_targets.grow, 100 * 2**20, threads=1).peak_rss_bytes
    assert small < 100 * 2**20 < large
    assert len(ballast)


def test_the_child_dies_with_its_parent():
    script = HANG.format("hang")
    parent = subprocess.Popen([sys.executable, "-c", script])
    children = _wait(
        lambda: [p for p in psutil.Process(parent.pid).children() if "measure.child" in " ".join(p.cmdline())]
    )
    _wait(lambda: _ignores_nothing(children[0].pid))
    time.sleep(0.5)  # until the child has asked the kernel
    parent.send_signal(signal.SIGKILL)
    parent.wait()
    assert _wait(lambda: not children[0].is_running() or children[0].status() == psutil.STATUS_ZOMBIE)


def test_ctrl_c_is_left_to_the_parent():
    """The terminal sends it to both; the child must not write a traceback of its own."""
    script = HANG.format("interrupted")
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
            run_child(child_targets.hang, None, threads=1)
    assert child._left(None) == 3600.0


def test_a_child_ends_with_its_step():
    with child.ends_within(0.5), pytest.raises(ChildError, match="hang did not finish within 0 s"):
        run_child(child_targets.hang, None, threads=1, timeout=50)


def test_what_is_asked_and_answered_arrives_as_what_it_is():
    import numpy as np

    found = run_child(child_targets.turned, child_targets.Asked(Path("a/b"), np.arange(6).reshape(2, 3)), threads=1)
    assert found.value.folder == Path("a")
    assert found.value.rows.tolist() == [[3, 4, 5], [0, 1, 2]]


def test_an_error_of_another_package_arrives_as_itself():
    with pytest.raises(child_targets.OwnError, match="of a plug-in. Next step: mend it"):
        run_child(child_targets.refuse_as_a_plugin, None, threads=1)


def test_an_answer_that_cannot_travel_is_named():
    with pytest.raises(ChildError, match="unpicklable failed: "):
        run_child(child_targets.unpicklable, None, threads=1)


def test_no_secret_reaches_a_child(monkeypatch):
    secrets = {
        "GRAFANA_TOKEN": "glsa", "NIGHTGATE_CACHE_URL": "s3://key:secret@store", "NIGHTGATE_METRICS_TOKEN": "t", "PGPASSWORD": "p",
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": "postgresql://u:p@h/d", "AWS_SECRET_ACCESS_KEY": "k", "PGVECTOR_URL": "postgresql://u:p@h",
    }  # fmt: skip
    for name, value in secrets.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("LC_ALL", "C.UTF-8")
    monkeypatch.setenv("OPENBLAS_CORETYPE", "Haswell")
    seen = run_child(
        child_targets.env, [*secrets, "LC_ALL", "OPENBLAS_CORETYPE", "PATH"], threads=1, keep=("PG*",)
    ).value
    assert {name for name, value in seen.items() if value} == {
        "PGPASSWORD", "PGVECTOR_URL", "LC_ALL", "OPENBLAS_CORETYPE", "PATH",
    }  # fmt: skip


def test_a_function_of_a_script_is_refused_before_it_starts(monkeypatch):
    monkeypatch.setattr(child_targets.double, "__module__", "__main__")
    with pytest.raises(ValueError, match="a child does not find double of a script"):
        run_child(child_targets.double, 1, threads=1)
