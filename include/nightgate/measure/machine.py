"""What a machine is called, and that one thing at a time is timed on it, by whichever home, worker or terminal."""

from __future__ import annotations

import fcntl
import logging
import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from contextvars import ContextVar
from pathlib import Path

from nightgate.errors import InputError

log = logging.getLogger(__name__)

LOCK = "NIGHTGATE_LOCK"
"""The variable that names the lock; containers of one machine must share it."""

NAME = "NIGHTGATE_HOST"
"""The variable that names the machine, where its host name does not: that of a container changes."""

_DEFAULT = Path("/tmp/nightgate-measure.lock")  # not $TMPDIR, in which two users or workers may differ

_alone: ContextVar[bool] = ContextVar("alone", default=False)


def name() -> str:
    """What this machine is called."""
    return os.environ.get(NAME, "").strip() or socket.gethostname()


def lock_file() -> Path:
    """The file that whoever times something on this machine holds a lock on."""
    return Path(os.environ.get(LOCK, "").strip() or _DEFAULT)


@contextmanager
def lent() -> Iterator[None]:
    """Meanwhile `alone` waits for nobody in this thread: the process that started this one holds the machine for it."""
    token = _alone.set(True)
    try:
        yield
    finally:
        _alone.reset(token)


@contextmanager
def alone() -> Iterator[None]:
    """Hold the machine while something is timed, such as a build: whoever else times something here waits.

    The pools keep timed tasks apart inside Airflow; this lock also covers other homes, and what is started from a terminal.
    Whoever holds it already, in this thread, goes on. Take it before any lock of a server: others hold it while they wait
    for those.

    Raises:
        InputError: the lock cannot be opened.
    """
    if _alone.get():
        yield
        return
    file = _held(lock_file())
    token = _alone.set(True)
    try:
        yield
    finally:
        _alone.reset(token)
        os.close(file)


def _held(path: Path) -> int:
    """The descriptor of the file at ``path``, locked. One that was removed while it was waited for is nobody's lock."""
    said = False
    while True:
        file = _open(path)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not said:
                log.info("another measurement runs on this host; waiting for it to end")
                said = True
            fcntl.flock(file, fcntl.LOCK_EX)
        with suppress(FileNotFoundError):
            if os.path.samestat(os.fstat(file), path.stat()):
                return file
        os.close(file)


def _open(path: Path) -> int:
    """For reading, which is enough to lock it, and which the kernel allows with files of others in /tmp."""
    while True:
        try:
            return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            with suppress(FileExistsError):
                _make(path)
        except OSError as error:
            raise _refused(path, error) from None


def _make(path: Path) -> None:
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        os.close(os.open(path, os.O_RDONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644))
    except FileExistsError:
        raise
    except OSError as error:
        raise _refused(path, error) from None


def _refused(path: Path, error: OSError) -> InputError:
    return InputError(
        f"the lock of this machine, {path}, cannot be opened ({error.strerror})",
        f"let every user read it, or name another file with {LOCK}, the same for all that measure on this machine",
    )
