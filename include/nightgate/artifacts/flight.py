"""Single flight on one host: of all processes that want one key, one builds and the others wait for it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from nightgate.artifacts import locks
from nightgate.errors import NotMeasured

T = TypeVar("T")

PATIENCE_SECONDS = 6 * 3600.0
"""Longer than any build takes. A builder that died is noticed at once; this bounds one that hangs."""
POLL_SECONDS = 0.02


@contextmanager
def turn(
    lock: Path, ready: Callable[[], T | None], patience: float = PATIENCE_SECONDS
) -> Iterator[tuple[T | None, float | None]]:
    """What ``ready`` finds while another process has the lock, or None: then it is ours to build.

    Beside it the seconds waited, None when nobody was in the way. Those who wait look for the result themselves, so that all of them have it as soon as it is there.

    Raises:
        NotMeasured: the builder neither finished nor died.
    """
    start = time.monotonic()
    found, file = None, locks.try_lock(lock)
    blocked = file is None
    while file is None and found is None:
        if time.monotonic() - start > patience:
            pids = ", ".join(f"pid {pid}" for pid in locks.holders(lock)) or "an unknown process"
            raise NotMeasured(
                f"{lock.parent.name}/{lock.stem} is being built by {pids} for over {patience:.0f} s",
                "see what it does, and stop it if it hangs",
            )
        time.sleep(POLL_SECONDS)
        found = ready()
        if found is None:
            file = locks.try_lock(lock)
    waited = time.monotonic() - start if blocked else None
    try:
        yield found if found is not None else ready(), waited
    finally:
        if file is not None:
            locks.unlock(file, lock)
