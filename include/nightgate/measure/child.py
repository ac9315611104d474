"""Run one function in a fresh process with its own threads, devices and memory.

The parent calls `run_child`; the same file, run as ``python -m nightgate.measure.child``, is the child. Request and
answer travel by pickle, so dataclasses, paths and arrays arrive as what they are. The child gets what it needs of the
environment and no secret; a `NightgateError` inside it arrives in the parent as itself.
"""

from __future__ import annotations

import ctypes
import importlib
import logging
import os
import pickle
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Generic, TypeVar

from nightgate.errors import ChildError, NightgateError
from nightgate.files import whole
from nightgate.measure.device_memory import DeviceMemory, watched

log = logging.getLogger(__name__)

Request = TypeVar("Request")
Answer = TypeVar("Answer")

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")
_KEPT = (
    "PATH", "HOME", "USER", "LOGNAME", "LANG", "LANGUAGE", "LC_*", "TZ", "TMPDIR", "TEMP", "TMP", "XDG_*", "VIRTUAL_ENV",
    "PYTHON*", "LD_*", "MALLOC_*", "NUMBA_*", "TRITON_*", "TORCH_*", "PYTORCH_*", "CUDA*", "CUDNN_*", "NVIDIA_*",
    "OMP_*", "KMP_*", "GOMP_*", "OPENBLAS_*", "MKL_*", "BLIS_*", "NUMEXPR_*", "FAISS_*", "GGML_*", "CT2_*", "ORT_*",
    "HF_HUB_OFFLINE", "NIGHTGATE_HOME", "COV_CORE_*", "COVERAGE_*",
)  # fmt: skip
"""The variables a child inherits: where things lie, and how libraries compute. Tokens and passwords have other names."""
_PR_SET_PDEATHSIG = 1
_TIMEOUT = 3600.0  # seconds, outside of a step
_SLOWER = "lower the scale, or see what else uses this host"
_end: ContextVar[float | None] = ContextVar("end", default=None)  # by time.monotonic


@dataclass(frozen=True)
class ChildResult(Generic[Answer]):
    """What the function returned, the child's peak resident memory in bytes and its wall time in seconds; of one on a
    GPU also what it took of the device's memory, where the driver can be read."""

    value: Answer
    peak_rss_bytes: int
    wall_seconds: float
    device_memory: DeviceMemory | None = None


@dataclass(frozen=True)
class _Reply:
    """What a child writes: what its function returned, or the error that it raised."""

    value: Any = None
    peak_rss_bytes: int = 0
    error: NightgateError | None = None


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
    function: Callable[[Request], Answer],
    request: Request,
    *,
    threads: int,
    device: str = "cpu",
    timeout: float | None = None,
    keep: Sequence[str] = (),
) -> ChildResult[Answer]:
    """Call ``function`` with ``request`` in a fresh process.

    Args:
        function: of a module that can be imported; it, the request and the answer must be picklable.
        threads: what OpenMP and the BLAS libraries may use.
        device: ``"cpu"`` hides every CUDA device from the child; of a child on ``"gpu"`` the device's memory is watched.
        timeout: seconds; the child is killed after it, and at the end of `ends_within` whatever it says.
        keep: variables of the environment (``"PG*"``) that the child needs besides the usual ones.

    Raises:
        ChildError: the child crashed, was killed, ran out of time or failed in an unforeseen way.
        NightgateError: the one the function raised.
    """
    target = f"{function.__module__}:{function.__qualname__}"
    timeout = _left(timeout)
    if timeout <= 0:
        raise ChildError(f"{target} was not started: the time-out of its step is over", _SLOWER)
    environment = _environment(os.environ, threads, device, keep)
    with tempfile.TemporaryDirectory(prefix="nightgate-child-") as folder:
        inbox, outbox = Path(folder, "request"), Path(folder, "reply")
        inbox.write_bytes(pickle.dumps((function, request)))
        command = [sys.executable, "-m", "nightgate.measure.child", target, str(inbox), str(outbox), str(os.getpid())]
        with watched() if device == "gpu" else nullcontext() as watch:
            start = time.monotonic()
            process = subprocess.Popen(
                command, env=environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                text=True, errors="replace",
            )  # fmt: skip
            if watch:
                watch.pid = process.pid
            last_lines = _follow(process)
            code = _ended(process, target, timeout)
            seconds = time.monotonic() - start
        if not outbox.exists():
            raise ChildError(f"{target} {_ending(code)}; its last words: {' | '.join(last_lines) or 'none'}")
        reply: _Reply = pickle.loads(outbox.read_bytes())
    if reply.error:
        raise reply.error
    return ChildResult(reply.value, reply.peak_rss_bytes, seconds, watch.found if watch else None)


def _ended(process: subprocess.Popen[str], target: str, timeout: float) -> int:
    """Wait for the child, and leave none behind."""
    try:
        return process.wait(timeout)
    except subprocess.TimeoutExpired:
        raise ChildError(f"{target} did not finish within {timeout:.0f} s", _SLOWER) from None
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()


def _environment(given: Mapping[str, str], threads: int, device: str, keep: Sequence[str]) -> dict[str, str]:
    kept = {name: value for name, value in given.items() if any(fnmatchcase(name, one) for one in (*_KEPT, *keep))}
    kept |= {name: str(threads) for name in _THREAD_VARIABLES} | {"PYTHONUNBUFFERED": "1"}
    return kept | ({"CUDA_VISIBLE_DEVICES": ""} if device == "cpu" else {})


def _follow(process: subprocess.Popen[str]) -> deque[str]:
    """Pass the child's lines on to the log while it runs; keep the last few for an error message."""
    last: deque[str] = deque(maxlen=5)

    def read() -> None:
        with process.stdout or nullcontext(()) as lines:
            for line in lines:
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
    answer = _answered(target, Path(inbox))
    with whole(Path(outbox)) as file:
        file.write(answer)


def _answered(target: str, inbox: Path) -> bytes:
    """The pickled `_Reply`."""
    try:
        function, request = pickle.loads(inbox.read_bytes())
        return pickle.dumps(_Reply(function(request), _peak_rss()))
    except NightgateError as error:
        failed: NightgateError = error
    except MemoryError:
        failed = ChildError(f"{target} ran out of memory", "lower the scale")
    except Exception as error:
        log.exception("%s failed", target)
        failed = ChildError(f"{target} failed: {type(error).__name__}: {error}")
    return pickle.dumps(_Reply(error=failed))


if __name__ == "__main__":
    # under its own name, as the classes that are pickled bear it
    importlib.import_module("nightgate.measure.child")._main(*sys.argv[1:5])
