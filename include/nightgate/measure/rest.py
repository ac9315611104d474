"""Rest after a call, so that what it left behind does not disturb whoever works next."""

from __future__ import annotations

import threading
import time
from pathlib import Path

_STEP = 0.005  # seconds
_TASKS = Path("/proc/self/task")


def until_idle(most: float = 1.0, tasks: Path = _TASKS) -> None:
    """Wait until no other thread of this process computes any more, at most so many seconds.

    Threads of OpenMP spin for a while after a parallel region, so that the next one finds them awake: GNU's for a few
    milliseconds, Intel's for 200 (``KMP_BLOCKTIME``). They would take a core from the next process, and to switch that off
    would change how a library computes.
    """
    end = time.monotonic() + most
    while _computing(tasks) and time.monotonic() < end:
        time.sleep(_STEP)


def _computing(tasks: Path) -> bool:
    """Whether another thread runs, or would if it had a core: state R of proc_pid_stat(5)."""
    own = str(threading.get_native_id())
    for task in tasks.iterdir():
        try:
            state = (task / "stat").read_text().rpartition(")")[2].split()[0]
        except OSError:  # it has ended
            continue
        if state == "R" and task.name != own:
            return True
    return False
