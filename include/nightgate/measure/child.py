"""Run one function in a fresh process with its own threads, devices and memory.

The parent calls `run_child`; the same file, run as ``python -m nightgate.measure.child``, is the child. The function
takes one JSON-able dict and returns one; a `NightgateError` inside it arrives in the parent as itself.
"""

from __future__ import annotations

import ctypes
import importlib
import json
import logging
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nightgate.errors import ChildError, NightgateError, by_name

log = logging.getLogger(__name__)

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")
_PR_SET_PDEATHSIG = 1
_TIMEOUT = 3600.0  # seconds, outside of a step
_SLOWER = "lower the scale, or see what else uses this host"
_end: ContextVar[float | None] = ContextVar("end", default=None)  # by time.monotonic


@dataclass(frozen=True)
class ChildResult:
    """What the function returned, the child's peak resident memory in bytes and its wall time in seconds."""

    value: dict[str, Any]
    peak_rss_bytes: int
    wall_seconds: float


@contextmanager
def ends_within(seconds: float) -> Iterator[None]:
    """Children that are started in this thread meanwhile end with it: the time-out of a whole step."""
    token = _end.set(time.monotonic() + seconds)
    try:
        yield
    finally:
        _end.reset(token)


def _left(timeout: float | None) -> float:
    """Seconds that a child may take."""
    end = _end.get()
    if end is None:
        return _TIMEOUT if timeout is None else timeout
    left = max(0.0, end - time.monotonic())
    return left if timeout is None else min(timeout, left)


def run_child(
    target: str, request: dict[str, Any], *, threads: int, device: str = "cpu", timeout: float | None = None
) -> ChildResult:
    """Call ``target`` (``"package.module:function"``) with ``request`` in a fresh process.

    Args:
        threads: what OpenMP and the BLAS libraries may use.
        device: ``"cpu"`` hides every CUDA device from the child.
        timeout: seconds; the child is killed after it, and at the end of `ends_within` whatever it says.

    Raises:
        ChildError: the child crashed, was killed, ran out of time or failed in an unforeseen way.
        NightgateError: the one the function raised.
    """
    timeout = _left(timeout)
    if timeout <= 0:
        raise ChildError(f"{target} was not started: the time-out of its step is over", _SLOWER)
    env = os.environ | {name: str(threads) for name in _THREAD_VARIABLES} | {"PYTHONUNBUFFERED": "1"}
    if device == "cpu":
        env["CUDA_VISIBLE_DEVICES"] = ""
    with tempfile.TemporaryDirectory(prefix="nightgate-child-") as folder:
        inbox, outbox = Path(folder, "request.json"), Path(folder, "answer.json")
        inbox.write_text(json.dumps(request))
        start = time.monotonic()
        process = subprocess.Popen(
            [sys.executable, "-m", "nightgate.measure.child", target, str(inbox), str(outbox), str(os.getpid())],
            env=env, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
            errors="replace",
        )  # fmt: skip
        last_lines = _follow(process)
        try:
            code = process.wait(timeout)
        except subprocess.TimeoutExpired:
            raise ChildError(f"{target} did not finish within {timeout:.0f} s", _SLOWER) from None
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
        seconds = time.monotonic() - start
        if not outbox.exists():
            raise ChildError(f"{target} {_ending(code)}; its last words: {' | '.join(last_lines) or 'none'}")
        answer = json.loads(outbox.read_text())
    if "error" in answer:
        raise by_name(answer["error"])(answer["what"], answer["next_step"])
    return ChildResult(answer["value"], answer["peak_rss_bytes"], seconds)


def _follow(process: subprocess.Popen[str]) -> deque[str]:
    """Pass the child's lines on to the log while it runs; keep the last few for an error message."""
    last: deque[str] = deque(maxlen=5)

    def read() -> None:
        for line in process.stdout or ():
            if line := line.rstrip():
                last.append(line)
                log.info("%s", line)

    threading.Thread(target=read, daemon=True).start()
    return last


def _ending(code: int) -> str:
    if code >= 0:
        return f"ended with code {code} and no answer"
    name = signal.Signals(-code).name
    hint = " (the kernel kills what takes too much memory)" if name == "SIGKILL" else ""
    return f"was ended by {name}{hint}"


def _peak_rss() -> int:
    # VmHWM and not getrusage: ru_maxrss starts at the parent's size when a child is forked from a large parent
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


def _main(target: str, inbox: str, outbox: str, parent: str) -> None:
    # die with the parent, also when it is killed before it could tell us
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends its child
    if os.getppid() != int(parent):
        sys.exit(1)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    for chatty in ("faiss.loader", "nmslib"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    module, function = target.split(":")
    answer: dict[str, Any]
    try:
        value = getattr(importlib.import_module(module), function)(json.loads(Path(inbox).read_text()))
        answer = {"value": value, "peak_rss_bytes": _peak_rss()}
    except NightgateError as error:
        answer = {"error": type(error).__name__, "what": error.what, "next_step": error.next_step}
    except MemoryError:
        answer = {"error": "ChildError", "what": f"{target} ran out of memory", "next_step": "lower the scale"}
    except Exception as error:
        log.exception("%s failed", target)
        answer = {"error": "ChildError", "what": f"{target} failed: {type(error).__name__}: {error}", "next_step": None}
    draft = Path(outbox + ".tmp")
    draft.write_text(json.dumps(answer, allow_nan=False))
    draft.rename(outbox)


if __name__ == "__main__":
    _main(*sys.argv[1:5])
