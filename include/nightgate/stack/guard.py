"""A small process that outlives a killed owner just long enough to end what it started.

The owner writes the session ids of its Airflow processes to the guard's standard input. When that closes, by a
normal stop or because the owner was killed, the guard ends every process of these sessions. The kernel's
parent-death signal alone is not enough: the scheduler answers it by waiting for its running tasks.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterable
from contextlib import suppress

import psutil

GRACE = 8.0


def end_sessions(sessions: Iterable[int], grace: float = GRACE) -> None:
    """End every process of these sessions: SIGTERM first, SIGKILL after ``grace`` seconds."""
    wanted = set(sessions)
    family = _members(wanted)
    for process in family:
        with suppress(psutil.NoSuchProcess):
            process.terminate()
    psutil.wait_procs(family, timeout=grace)
    left = _members(wanted)  # asked again: a process may have started another while it ended
    for process in left:
        with suppress(psutil.NoSuchProcess):
            process.kill()
    psutil.wait_procs(left, timeout=5)


class Guard:
    """The owner's handle on its guard."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "nightgate.stack.guard"], stdin=subprocess.PIPE, start_new_session=True
        )

    def watch(self, session: int) -> None:
        assert self._process.stdin
        self._process.stdin.write(f"{session}\n".encode())
        self._process.stdin.flush()

    def dismiss(self) -> None:
        """Close its input, so that it ends what is left and then itself."""
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait()


def _members(sessions: set[int]) -> list[psutil.Process]:
    members = []
    for process in psutil.process_iter():
        with suppress(psutil.NoSuchProcess, ProcessLookupError):
            if os.getsid(process.pid) in sessions and process.status() != psutil.STATUS_ZOMBIE:
                members.append(process)
    return members


def _main() -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    end_sessions([int(line) for line in sys.stdin])


if __name__ == "__main__":
    _main()
