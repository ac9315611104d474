"""Rest after a call, so that what it left behind does not disturb whoever works next."""

from __future__ import annotations

import time

_STEP = 0.01  # seconds
_IDLE = 0.2  # of a step, of one core


def until_idle(most: float = 1.0) -> float:
    """Wait until no thread of this process computes any more, at most so many seconds; returns the seconds it took.

    Threads of OpenMP spin for a while after a parallel region, so that the next one finds them awake: Intel's for 200 ms
    (``KMP_BLOCKTIME``). They would take a core from the next process, and to switch that off would change how a library
    computes.
    """
    start = time.monotonic()
    while True:
        before, began = time.process_time(), time.monotonic()
        time.sleep(_STEP)
        now = time.monotonic()
        if time.process_time() - before < _IDLE * (now - began) or now - start >= most:
            return now - start
