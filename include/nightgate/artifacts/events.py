"""Counters of all processes that use one cache, in one small file that any process can read.

It is read and overwritten in place under a lock, by one write each time, which a kill does not cut in two; replacing it
by a rename would cost a millisecond on ext4. After a power cut it may be unreadable, and counting starts anew, as a
Prometheus counter may. Counting never fails a request: what cannot be written is logged and not counted.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import time
from pathlib import Path

from nightgate.artifacts.settings import state_dir

log = logging.getLogger(__name__)

RESULTS = ("hit", "miss", "rebuilt", "fetched")
"""How a request ended: found here, built, built because what was here was damaged, taken from the shared store."""
REASONS = ("limit", "gc", "damaged")
"""Why an artefact went: room for another, `collect`, or a byte that was not as recorded."""
WAITS = ("room", "flight")
"""What a request waited for: room under the byte limit, or another builder of the same key."""
WAIT_BUCKETS = (0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 600.0, 1800.0)
"""Upper bounds of the wait histogram, seconds; what took longer is in the count alone."""

_LOCK_SECONDS = 1.0
_MOST_BYTES = 1 << 20


class Events:
    """The counters under one root. Names are ``<what>.<label>``; all only ever grow.

    ``requests.<result>``, ``evictions.<reason>``, ``waits.<for>`` (count), ``wait_seconds.<for>`` (sum),
    ``wait_bucket.<for>.<bound>`` (cumulative, as Prometheus has them), ``build_seconds_saved`` (sum over hits and
    fetches), ``builds_refused`` (no room within the patience).
    """

    def __init__(self, root: Path) -> None:
        self.file = state_dir(root) / "events.json"

    def request(self, result: str, *, saved: float = 0.0, waited: float | None = None) -> None:
        """A request has ended; ``saved`` build seconds, and ``waited`` for another builder unless None."""
        counts = {f"requests.{result}": 1, **({"build_seconds_saved": saved} if saved else {})}
        self.add(counts | ({} if waited is None else _wait("flight", waited)))

    def eviction(self, reason: str) -> None:
        self.add({f"evictions.{reason}": 1})

    def wait(self, what: str, seconds: float) -> None:
        self.add(_wait(what, seconds))

    def add(self, counts: dict[str, float]) -> None:
        try:
            self.file.parent.mkdir(parents=True, exist_ok=True)
            file = os.open(self.file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o666)
            try:
                _lock(file, fcntl.LOCK_EX)
                text = os.pread(file, _MOST_BYTES, 0)
                totals = _parse(text)
                for name, count in counts.items():
                    totals[name] = totals.get(name, 0) + count
                # padded to the old length, so that the one write is all it takes
                os.pwrite(file, json.dumps(totals, indent=1, sort_keys=True).encode().ljust(len(text)), 0)
            finally:
                os.close(file)
        except OSError as error:
            log.warning("the cache's counters could not be written (%s)", error)

    def totals(self) -> dict[str, float]:
        """Every counter that has counted; empty before the first, or when the file is damaged."""
        try:
            with open(self.file, "rb") as file:
                _lock(file.fileno(), fcntl.LOCK_SH)
                return _parse(file.read())
        except OSError:
            return {}


def _wait(what: str, seconds: float) -> dict[str, float]:
    buckets = {f"wait_bucket.{what}.{bound:g}": 1 for bound in WAIT_BUCKETS if seconds <= bound}
    return {f"waits.{what}": 1, f"wait_seconds.{what}": seconds, **buckets}


def _parse(text: bytes) -> dict[str, float]:
    try:
        return {name: value for name, value in json.loads(text).items() if isinstance(value, int | float)}
    except (ValueError, AttributeError):
        return {}


def _lock(file: int, how: int) -> None:
    """Wait for the lock of an open file, not for long: others hold it for microseconds unless they stand still."""
    end = time.monotonic() + _LOCK_SECONDS
    while True:
        try:
            return fcntl.flock(file, how | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > end:
                raise TimeoutError("another process keeps them locked") from None
            time.sleep(0.0005)


def touch(root: Path, file: Path, now: float) -> None:
    """Mark ``file`` as the most recently used: its modification time becomes ``now``, or later than every mark before.

    The newest mark is kept beside the counters, so that the order holds when the clock jumps back.
    """
    newest = state_dir(root) / "newest"
    try:
        last = newest.stat().st_mtime_ns
    except FileNotFoundError:
        newest.parent.mkdir(parents=True, exist_ok=True)
        newest.touch()
        last = 0
    mark = max(int(now * 1e9), last + 1000)
    os.utime(newest, ns=(mark, mark))
    os.utime(file, ns=(mark, mark))
