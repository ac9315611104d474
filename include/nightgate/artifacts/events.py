"""Counters of all processes that use one cache, in one small file that any process can read.

The file is replaced whole (temporary name, rename) under a lock, so a killed process leaves the old or the new one.
Counting never fails a request: what cannot be written is logged and not counted.
"""

from __future__ import annotations

import fcntl
import json
import logging
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
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


class Events:
    """The counters under one root. Names are ``<what>.<label>``; all only ever grow.

    ``requests.<result>``, ``evictions.<reason>``, ``waits.<for>`` (count), ``wait_seconds.<for>`` (sum),
    ``wait_bucket.<for>.<bound>`` (cumulative, as Prometheus has them), ``build_seconds_saved`` (sum over hits and
    fetches), ``builds_refused`` (no room within the patience).
    """

    def __init__(self, root: Path) -> None:
        self.file = state_dir(root) / "events.json"

    def request(self, result: str, saved: float = 0.0) -> None:
        self.add({f"requests.{result}": 1, **({"build_seconds_saved": saved} if saved else {})})

    def eviction(self, reason: str) -> None:
        self.add({f"evictions.{reason}": 1})

    def wait(self, what: str, seconds: float) -> None:
        buckets = {f"wait_bucket.{what}.{bound:g}": 1 for bound in WAIT_BUCKETS if seconds <= bound}
        self.add({f"waits.{what}": 1, f"wait_seconds.{what}": seconds, **buckets})

    def add(self, counts: dict[str, float]) -> None:
        try:
            with self._lock():
                totals = self.totals()
                for name, count in counts.items():
                    totals[name] = totals.get(name, 0) + count
                draft = self.file.with_suffix(".new")
                draft.write_text(json.dumps(totals, indent=1, sort_keys=True))
                draft.rename(self.file)
        except OSError as error:
            log.warning("the cache's counters could not be written (%s)", error)

    def totals(self) -> dict[str, float]:
        """Every counter that has counted; empty before the first, or when the file was damaged."""
        try:
            totals = json.loads(self.file.read_text())
            return {str(name): value for name, value in totals.items() if isinstance(value, int | float)}
        except (OSError, ValueError, AttributeError):
            return {}

    @contextmanager
    def _lock(self) -> Iterator[None]:
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with open(self.file.with_suffix(".lock"), "a") as lock:
            end = time.monotonic() + _LOCK_SECONDS
            while True:
                try:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    break
                except BlockingIOError:
                    if time.monotonic() > end:
                        raise TimeoutError("another process keeps them locked") from None
                    time.sleep(0.0005)
            yield


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
