"""Both sides of the child process, each in the process of the test: what is asked, what is answered, how it ends."""

from __future__ import annotations

import io
import logging
import os
import pickle
import signal
import socket
import subprocess
import sys
from contextlib import nullcontext
from pathlib import Path
from types import SimpleNamespace

import pytest
from support import child_targets

from nightgate.errors import ChildError, InputError
from nightgate.measure import child
from nightgate.measure.device_memory import DeviceMemory


@pytest.fixture
def main(monkeypatch, tmp_path):
    """Run `_main` here; gives its answer, and notes what it asks of the kernel."""
    asked = []
    library = type("Library", (), {"prctl": lambda self, *words: asked.append(words)})
    monkeypatch.setattr(child.ctypes, "CDLL", lambda name: library() if name is None else pytest.fail(name))
    monkeypatch.setattr(child.signal, "signal", lambda *words: asked.append(words))
    monkeypatch.setattr(child.logging, "basicConfig", lambda **given: asked.append(given))
    monkeypatch.setattr(child, "_peak_rss", lambda: 12_345)

    def run(function, request=None, parent=None):
        asked.clear()
        (tmp_path / "in").write_bytes(pickle.dumps((function, request)))
        ours, theirs = socket.socketpair()
        with ours:
            child._main(
                f"{function.__module__}:{function.__qualname__}",
                str(tmp_path / "in"),
                str(tmp_path / "out"),
                str(parent or os.getppid()),
                str(theirs.detach()),
            )
        assert sorted(path.name for path in tmp_path.iterdir()) == ["in", "out"], "the answer appears whole"
        return pickle.loads((tmp_path / "out").read_bytes())

    run.asked, run.folder = asked, tmp_path
    return run


def test_a_child_answers_with_the_value_and_its_peak_memory(main):
    assert main(child_targets.double, 21) == child._Reply(42, 12_345)


def test_a_child_dies_with_its_parent_leaves_ctrl_c_to_it_and_logs_to_it(main):
    main(child_targets.double, 1)
    death, interrupt = main.asked
    assert death == (1, signal.SIGKILL), "PR_SET_PDEATHSIG of linux/prctl.h"
    assert interrupt == (signal.SIGINT, signal.SIG_IGN)
    ours = logging.getLogger("nightgate")
    handler = ours.handlers[-1]
    assert (ours.level, handler.stream) == (logging.INFO, sys.stdout)
    try:
        raise KeyError("x")
    except KeyError:
        record = logging.LogRecord("nightgate.a", logging.ERROR, "f.py", 1, "first\nsecond", (), sys.exc_info())
    lines = handler.format(record).splitlines()
    assert lines[:3] == ["\x01first", "\x01second", "\x01Traceback (most recent call last):"]
    ours.removeHandler(handler)
    ours.setLevel(logging.NOTSET)


def test_a_child_whose_parent_is_gone_does_nothing(main):
    with pytest.raises(SystemExit) as ended:
        main(child_targets.double, 1, parent=os.getppid() + 1)
    assert ended.value.code == 1
    assert [path.name for path in main.folder.iterdir()] == ["in"]


@pytest.mark.parametrize(
    ("function", "error"),
    [
        (child_targets.refuse, InputError("no such thing", "look elsewhere")),
        (child_targets.run_out, ChildError("support.child_targets:run_out ran out of memory", "lower the scale")),
        (child_targets.missing, ChildError("support.child_targets:missing failed: KeyError: 'missing'")),
    ],
)
def test_a_child_answers_with_the_error(main, function, error):
    found = main(function)
    assert (type(found.error), found.error.args, found.value) == (type(error), error.args, None)


def test_the_peak_is_the_kernels_high_water_mark_in_bytes(monkeypatch):
    lines = "VmPeak:\t  9000 kB\nVmHWM:\t  2048 kB\nVmRSS:\t  1024 kB\n"
    monkeypatch.setattr(child.Path, "read_text", lambda path: lines if str(path) == "/proc/self/status" else "")
    assert child._peak_rss() == 2 * 2**20
    monkeypatch.setattr(child.Path, "read_text", lambda path: "VmRSS:\t 1 kB\n")
    assert child._peak_rss() == 0


@pytest.mark.parametrize(
    ("code", "words"),
    [
        (0, "ended with code 0 and no answer"),
        (3, "ended with code 3 and no answer"),
        (-9, "was ended by SIGKILL (the kernel kills what takes too much memory)"),
        (-11, "was ended by SIGSEGV"),
        (-1, "was ended by SIGHUP"),
    ],
)
def test_how_a_child_ended_in_words(code, words):
    assert child._ending(code) == words


class Popen:
    """A child that ends at once, as it is told."""

    def __init__(self, answer=None, code=0, lines=(), hangs=False):
        self.pid = 4711
        self.answer, self.code, self.hangs, self.did = answer, code, hangs, []
        self.stdout = io.StringIO("".join(f"{line}\n" for line in lines))

    def __call__(self, command, **given):
        self.command, self.given = command, given
        self.request = pickle.loads(Path(command[4]).read_bytes())
        if self.answer is not None:
            Path(command[5]).write_bytes(pickle.dumps(self.answer))
        return self

    def wait(self, timeout=None):
        self.did.append(("wait", timeout))
        if self.hangs and timeout is not None:
            raise subprocess.TimeoutExpired("child", timeout)
        return self.code

    def poll(self):
        return None if self.hangs else self.code

    def kill(self):
        self.did.append("kill")


@pytest.fixture
def started(monkeypatch):
    def start(**given):
        popen = Popen(**given)
        monkeypatch.setattr(child.subprocess, "Popen", popen)
        times = iter([100.0, 100.0, 107.5, 999.0])
        monkeypatch.setattr(child.time, "monotonic", lambda: next(times))
        follow, monkeypatch_thread = child._follow, child.threading.Thread

        class Now(monkeypatch_thread):  # the lines are read before the process is waited for
            def start(self):
                assert self.daemon
                self.run()

        monkeypatch.setattr(child.threading, "Thread", Now)
        assert follow is child._follow
        return popen

    return start


def test_a_child_gets_its_request_its_threads_and_no_device(started, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    monkeypatch.setenv("FAISS_SOMETHING", "else")
    monkeypatch.delenv("PYTHONUNBUFFERED", raising=False)
    popen = started(answer=child._Reply({"a": 1}, 77))
    found = child.run_child(child_targets.double, 5, threads=3)
    assert found == child.ChildResult({"a": 1}, 77, 7.5)
    folder = Path(popen.command[4]).parent
    assert popen.command == [
        sys.executable, "-m", "nightgate.measure.child", "support.child_targets:double", f"{folder}/request",
        f"{folder}/reply", str(os.getpid()), str(popen.given["pass_fds"][0]),
    ]  # fmt: skip
    assert popen.request == (child_targets.double, 5)
    assert folder.name.startswith("nightgate-child-") and not folder.exists()
    env = popen.given.pop("env")
    threads = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")
    assert {name: env[name] for name in (*threads, "PYTHONUNBUFFERED", "CUDA_VISIBLE_DEVICES", "FAISS_SOMETHING")} == {
        **dict.fromkeys(threads, "3"), "PYTHONUNBUFFERED": "1", "CUDA_VISIBLE_DEVICES": "", "FAISS_SOMETHING": "else",
    }  # fmt: skip
    assert popen.given == {
        "stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.STDOUT, "text": True,
        "errors": "replace", "pass_fds": (int(popen.command[7]),),
    }  # fmt: skip
    assert popen.did == [("wait", 3600)]


def test_a_child_for_a_gpu_sees_the_devices_of_its_parent_and_its_memory_there_is_watched(started, monkeypatch):
    watch = SimpleNamespace(pid=None, found=DeviceMemory(5, "process"))
    monkeypatch.setattr(child, "watched", lambda: nullcontext(watch))
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    popen = started(answer=child._Reply({}, 1))
    found = child.run_child(child_targets.die, None, threads=1, device="gpu", timeout=12)
    assert popen.given["env"]["CUDA_VISIBLE_DEVICES"] == "3"
    assert (watch.pid, found.device_memory) == (popen.pid, DeviceMemory(5, "process"))
    assert popen.did == [("wait", 12)]


def test_an_error_of_the_child_is_raised_here(started):
    started(answer=child._Reply(error=InputError("no such thing", "look elsewhere")))
    with pytest.raises(InputError) as caught:
        child.run_child(child_targets.die, None, threads=1)
    assert (caught.value.what, caught.value.next_step) == ("no such thing", "look elsewhere")


def test_the_last_five_lines_are_told_of_a_child_without_an_answer(started, caplog):
    started(code=-11, lines=["one", "\x01two", "", "  three  ", "\x01four", "five", "six"])
    with caplog.at_level(logging.DEBUG, "nightgate"), pytest.raises(ChildError) as caught:
        child.run_child(child_targets.die, None, threads=1)
    assert (
        caught.value.what
        == "support.child_targets:die was ended by SIGSEGV; its last words: two |   three | four | five | six"
    )
    assert caplog.messages == ["one", "two", "  three", "four", "five", "six"]
    said = [record.message for record in caplog.records if record.levelno >= logging.INFO]
    assert said == ["two", "four"], "what libraries print is for whoever looks for a fault in them"
    started(code=1)
    with pytest.raises(
        ChildError, match="support.child_targets:die ended with code 1 and no answer; its last words: none"
    ):
        child.run_child(child_targets.die, None, threads=1)


def test_a_child_that_takes_too_long_is_killed_and_waited_for(started):
    popen = started(hangs=True, answer=child._Reply({}, 1))
    with pytest.raises(ChildError) as caught:
        child.run_child(child_targets.die, None, threads=1, timeout=90.4)
    assert caught.value.what == "support.child_targets:die did not finish within 90 s"
    assert caught.value.next_step == "lower the scale, or see what else uses this host"
    assert popen.did == [("wait", 90.4), "kill", ("wait", None)]


def test_a_child_without_an_output_is_followed_too():
    silent = type("Silent", (), {"stdout": None})()
    assert list(child._follow(silent)) == []
