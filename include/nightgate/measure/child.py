"""Run one function in a fresh process with its own threads, devices and memory.

The parent calls `run_child`; the same file, run as ``python -m nightgate.measure.child``, is the child. Request and
answer travel by pickle, so dataclasses, paths and arrays arrive as what they are. The child gets what it needs of the
environment and no secret; a `NightgateError` inside it arrives in the parent as itself.
"""

from __future__ import annotations

import ctypes
import importlib
import inspect
import logging
import os
import pickle
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Generic, Self, TypeVar, overload

from nightgate.errors import ChildError, NightgateError
from nightgate.files import whole
from nightgate.measure.device_memory import DeviceMemory, watched
from nightgate.measure.glancing import glance

log = logging.getLogger(__name__)

Request = TypeVar("Request")
Answer = TypeVar("Answer")
Turns = Generator[bool | None, Any, Answer]
"""Work in turns: each ``yield`` ends one, and may say True when no more are needed; it is True when the work may end."""

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMEXPR_NUM_THREADS")
_KEPT = (
    "PATH",
    "HOME",
    "USER",
    "LOGNAME",
    "LANG",
    "LANGUAGE",
    "LC_*",
    "TZ",
    "TMPDIR",
    "TEMP",
    "TMP",
    "XDG_*",
    "VIRTUAL_ENV",
    "PYTHON*",
    "LD_*",
    "MALLOC_*",
    "NUMBA_*",
    "TRITON_*",
    "TORCH_*",
    "PYTORCH_*",
    "CUDA*",
    "CUDNN_*",
    "NVIDIA_*",
    "OMP_*",
    "KMP_*",
    "GOMP_*",
    "OPENBLAS_*",
    "MKL_*",
    "BLIS_*",
    "NUMEXPR_*",
    "FAISS_*",
    "GGML_*",
    "CT2_*",
    "ORT_*",
    "HF_HUB_OFFLINE",
    "NIGHTGATE_HOME",
    "COV_CORE_*",
    "COVERAGE_*",
)
"""The variables a child inherits: where things lie, and how libraries compute. Tokens and passwords have other names."""
_PR_SET_PDEATHSIG = 1
_TURN = b"."  # "go on" to a child that works in turns, "my turn is over" from it
_ENOUGH = b"!"  # the same, and "you may end" to it, "I need no more turns" from it
_OWN = "\x01"  # before each line that this package logs in a child
_TIMEOUT = 3600.0  # seconds, outside of a step
_SLOWER = "lower the scale, or see what else uses this host"
_end: ContextVar[float | None] = ContextVar("end", default=None)  # by time.monotonic


@dataclass(frozen=True)
class Interpreter:
    """With which interpreter a child is started, and the folders it imports from: these and the standard library, nothing else.

    Without the site module (``-S``): what is installed beside that interpreter would answer for a package these folders lack, and
    a ``.pth`` file there runs code of its own at every start (some hosts have certificates written into whichever certifi is
    found), which changed what the cache keeps."""

    python: str
    path: tuple[Path, ...]

    def command(self) -> list[str]:
        return [self.python, "-S"]

    def environment(self) -> dict[str, str]:
        path = os.pathsep.join(map(str, self.path))
        # these folders are of a cache, which what is written into them would damage
        return {"PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}


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


@overload
def run_child(
    function: Callable[[Request], Turns[Answer]],
    request: Request,
    *,
    threads: int,
    device: str = "cpu",
    timeout: float | None = None,
    keep: Sequence[str] = (),
) -> ChildResult[Answer]: ...


@overload
def run_child(
    function: Callable[[Request], Answer],
    request: Request,
    *,
    threads: int,
    device: str = "cpu",
    timeout: float | None = None,
    keep: Sequence[str] = (),
) -> ChildResult[Answer]: ...


def run_child(
    function: Callable[[Request], Any],
    request: Request,
    *,
    threads: int,
    device: str = "cpu",
    timeout: float | None = None,
    keep: Sequence[str] = (),
) -> ChildResult[Any]:
    """Call ``function`` with ``request`` in a fresh process; one that is a generator runs to its end.

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
    glance()
    child: Child[Any] = Child(function, request, threads=threads, device=device, timeout=timeout, keep=keep)
    with child:
        while inspect.isgeneratorfunction(function) and child.turn(enough=child.content):
            pass
        return child.result()


class Child(Generic[Answer]):
    """A child process at work, as `run_child` starts it; when the ``with`` block ends it is gone.

    A function that is a generator works in turns: up to its first ``yield`` when `turn` is called first, then from one to
    the next, and what it returns at last is its answer. In between it waits, and takes no time of a core. It may yield True
    when it needs no more turns: `content` says so.
    """

    def __init__(
        self,
        function: Callable[[Any], Any],
        request: object,
        *,
        threads: int,
        device: str = "cpu",
        timeout: float | None = None,
        keep: Sequence[str] = (),
        interpreter: Interpreter | None = None,
    ) -> None:
        """As `run_child`; ChildError: there is no time left. With another ``interpreter`` function, request and answer are
        pickled here and read there, so they are of what both know."""
        self.target = f"{function.__module__}:{function.__qualname__}"
        if function.__module__ == "__main__":
            raise ValueError(
                f"a child does not find {function.__qualname__} of a script: import it by its module's name"
            )
        self._timeout = _left(timeout)
        if self._timeout <= 0:
            raise ChildError(f"{self.target} was not started: the time-out of its step is over", _SLOWER)
        self._call = pickle.dumps((function, request))
        self._environment = _environment(os.environ, threads, device, keep)
        self._python = [sys.executable]
        if interpreter:
            self._python, self._environment = interpreter.command(), self._environment | interpreter.environment()
        self._device = device
        self.content = False

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="nightgate-child-"))
            inbox, self._outbox = Path(folder, "request"), Path(folder, "reply")
            inbox.write_bytes(self._call)
            self._watch = stack.enter_context(watched()) if self._device == "gpu" else None
            self._ours, theirs = socket.socketpair()
            stack.callback(self._ours.close)
            command = [
                *self._python,
                "-m",
                "nightgate.measure.child",
                self.target,
                str(inbox),
                str(self._outbox),
                str(os.getpid()),
                str(theirs.fileno()),
            ]
            self._start = time.monotonic()
            self._end = self._start + self._timeout
            with theirs:
                self._process = subprocess.Popen(
                    command,
                    env=self._environment,
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT,
                    text=True,
                    errors="replace",
                    pass_fds=(theirs.fileno(),),
                )
            stack.callback(self._leave_none)
            if self._watch:
                self._watch.pid = self._process.pid
            self._last_lines = _follow(self._process)
            self._stack = stack.pop_all()
        return self

    def __exit__(self, *_: object) -> None:
        self._stack.close()

    def turn(self, *, enough: bool = False) -> bool:
        """Let it work until its turn is over; False when it is done, and `result` has its answer.

        Args:
            enough: its ``yield`` is True, which tells it that it may end.

        Raises:
            ChildError: it ran out of time.
        """
        self._ours.settimeout(max(0.001, self._end - time.monotonic()))
        try:
            self._ours.sendall(_ENOUGH if enough else _TURN)
            answer = self._ours.recv(1)
        except TimeoutError:
            raise self._too_slow() from None
        except OSError:  # it is gone, and `result` says why
            return False
        self.content = answer == _ENOUGH
        return bool(answer)

    def result(self) -> ChildResult[Answer]:
        """Wait for its end. Raises what `run_child` does."""
        try:
            code = self._process.wait(max(0.0, self._end - time.monotonic()))
        except subprocess.TimeoutExpired:
            raise self._too_slow() from None
        seconds = time.monotonic() - self._start
        if not self._outbox.exists():
            raise ChildError(f"{self.target} {_ending(code)}; its last words: {' | '.join(self._last_lines) or 'none'}")
        reply: _Reply = pickle.loads(self._outbox.read_bytes())
        if reply.error:
            raise reply.error
        return ChildResult(reply.value, reply.peak_rss_bytes, seconds, self._watch.found if self._watch else None)

    def _too_slow(self) -> ChildError:
        return ChildError(f"{self.target} did not finish within {self._timeout:.0f} s", _SLOWER)

    def _leave_none(self) -> None:
        if self._process.poll() is None:
            self._process.kill()
            self._process.wait()


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
                    own = line.removeprefix(_OWN)
                    last.append(own)
                    # what a library has to say is for whoever looks for a fault in it
                    log.log(logging.INFO if own != line else logging.DEBUG, "%s", own)

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


class _OwnLines(logging.Formatter):
    """Marks every line, so that the parent tells it from what libraries print."""

    def format(self, record: logging.LogRecord) -> str:
        return "\n".join(_OWN + line for line in super().format(record).splitlines())


def _main(target: str, inbox: str, outbox: str, parent: str, turns: str) -> None:
    # die with the parent, also when it is killed before it could tell us
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is for the parent, which ends its child
    if os.getppid() != int(parent):
        sys.exit(1)
    handler = logging.StreamHandler(sys.stdout)
    handler.setFormatter(_OwnLines())
    ours = logging.getLogger(__name__.partition(".")[0])
    ours.setLevel(logging.INFO)
    ours.addHandler(handler)
    with socket.socket(fileno=int(turns)) as parent_side:
        answer = _answered(target, Path(inbox), parent_side)
        with whole(Path(outbox)) as file:
            file.write(answer)


def _answered(target: str, inbox: Path, parent: socket.socket) -> bytes:
    """The pickled `_Reply`."""
    try:
        function, request = pickle.loads(inbox.read_bytes())
        value = function(request)
        if isinstance(value, Generator):
            value = _in_turns(value, parent)
        return pickle.dumps(_Reply(value, _peak_rss()))
    except NightgateError as error:
        failed: NightgateError = error
    except MemoryError:
        failed = ChildError(f"{target} ran out of memory", "lower the scale")
    except Exception as error:
        log.exception("%s failed", target)
        failed = ChildError(f"{target} failed: {type(error).__name__}: {error}")
    return pickle.dumps(_Reply(error=failed))


def _in_turns(work: Turns[Any], parent: socket.socket) -> Any:
    """Go on by one ``yield`` whenever the parent says so; what ``work`` returns."""
    begun = False
    while order := parent.recv(1):
        try:
            content = work.send(order == _ENOUGH) if begun else next(work)
        except StopIteration as done:
            return done.value
        begun = True
        parent.sendall(_ENOUGH if content else _TURN)
    sys.exit(1)  # the parent gave it up


if __name__ == "__main__":
    # under its own name, as the classes that are pickled bear it
    importlib.import_module("nightgate.measure.child")._main(*sys.argv[1:6])
