"""Counters of all processes that use one cache, in one small SQLite file that any process can read.

It is not synced, so after a power cut it may be unreadable, and counting starts anew, as a Prometheus counter may.
Counting never fails a request: what cannot be written is logged and not counted.
"""

from __future__ import annotations

import logging
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager
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

_LOCK_SECONDS = 2.0  # others hold the file for a fraction of a millisecond, unless they stand still
_TABLE = "CREATE TABLE IF NOT EXISTS counts (name TEXT PRIMARY KEY, value REAL NOT NULL) WITHOUT ROWID"
_ADD = "INSERT INTO counts VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET value = value + excluded.value"


class Events:
    """The counters under one root. Names are ``<what>.<label>``; all only ever grow.

    ``requests.<result>``, ``evictions.<reason>``, ``waits.<for>`` (count), ``wait_seconds.<for>`` (sum),
    ``wait_bucket.<for>.<bound>`` (cumulative, as Prometheus has them), ``build_seconds_saved`` (sum over hits and
    fetches), ``builds_refused`` (no room within the patience).
    """

    def __init__(self, root: Path) -> None:
        self.file = state_dir(root) / "events.sqlite"

    def request(self, result: str, *, saved: float = 0.0, waited: float | None = None) -> None:
        """A request has ended; ``saved`` build seconds, and ``waited`` for another builder unless None."""
        counts = {f"requests.{result}": 1.0, **({"build_seconds_saved": saved} if saved else {})}
        self.add(counts | ({} if waited is None else _wait("flight", waited)))

    def eviction(self, reason: str) -> None:
        self.add({f"evictions.{reason}": 1})

    def wait(self, what: str, seconds: float) -> None:
        self.add(_wait(what, seconds))

    def add(self, counts: Mapping[str, float]) -> None:
        try:
            if not self.file.exists():
                self.file.parent.mkdir(parents=True, exist_ok=True)
                self.file.touch()  # with the permissions that the umask leaves; SQLite would keep others from writing
            with self._open() as database:
                database.execute(_TABLE)
                database.executemany(_ADD, counts.items())
        except (OSError, sqlite3.Error) as error:
            log.warning("the cache's counters could not be written (%s)", error)
            if isinstance(error, sqlite3.DatabaseError) and not isinstance(error, sqlite3.OperationalError):
                self.file.unlink(missing_ok=True)  # no database: the next one to count starts anew

    def totals(self) -> dict[str, float]:
        """Every counter that has counted; empty before the first, or when the file is damaged."""
        if not self.file.exists():
            return {}
        try:
            with self._open() as database:
                return dict(database.execute("SELECT name, value FROM counts"))
        except sqlite3.Error:
            return {}

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        """One transaction on a connection of its own, which no fork can inherit."""
        with closing(sqlite3.connect(self.file, timeout=_LOCK_SECONDS)) as database, database:
            database.execute("PRAGMA synchronous = OFF")
            yield database


def _wait(what: str, seconds: float) -> dict[str, float]:
    buckets = {f"wait_bucket.{what}.{bound:g}": 1.0 for bound in WAIT_BUCKETS if seconds <= bound}
    return {f"waits.{what}": 1.0, f"wait_seconds.{what}": seconds, **buckets}
