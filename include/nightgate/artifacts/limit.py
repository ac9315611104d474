"""What may come and what goes: the byte limit, under which least recently used artefacts are evicted and a builder waits
while all of them are in use; and the leftovers of killed processes.

Decided when something is built or fetched, never on a hit. Whoever fits goes first: a strict queue would let one
builder that waits for much hold up another that holds leases and would soon return them.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from nightgate.artifacts import leases, store
from nightgate.artifacts.events import Events
from nightgate.artifacts.settings import Settings, state_dir
from nightgate.errors import CacheFull

log = logging.getLogger(__name__)

POLL_SECONDS = 0.1
_GATE_SECONDS = 1.0


@dataclass(frozen=True)
class Entry:
    """A finished artefact as eviction sees it; ``used`` orders uses (nanoseconds)."""

    folder: Path
    size: int
    used: int


def entries(root: Path) -> list[Entry]:
    """Every artefact, least recently used first. A manifest is read once per process."""
    found = []
    for folder in store.walk(root):
        try:
            facts = (folder / store.MANIFEST).stat()
            found.append(Entry(folder, _size(folder, facts.st_ino), facts.st_mtime_ns))
        except FileNotFoundError:
            continue
    return sorted(found, key=lambda entry: entry.used)


@lru_cache(maxsize=100_000)
def _size(folder: Path, inode: int) -> int:
    """Bytes of an artefact; the inode tells one that was built again."""
    try:
        return store.size_of(store.loads((folder / store.MANIFEST).read_bytes()))
    except (ValueError, KeyError, TypeError):  # damaged: what it takes on the disk
        return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


def evict(root: Path, folder: Path, reason: str, settings: Settings) -> bool:
    """Remove an artefact unless it is leased or reserved."""
    if leases.reserved(root, folder, settings.clock()) or (file := leases.exclusive(folder)) is None:
        return False
    try:
        gone = store.discard(folder)
    finally:
        os.close(file)
    if gone:
        log.info("evicted %s/%s (%s)", folder.parent.name, folder.name, reason)
        Events(root).eviction(reason)
    return gone


class Room:
    """What one builder has been granted: a file with its bytes, locked while it works."""

    def __init__(self, root: Path, name: str, settings: Settings) -> None:
        self.root, self.name, self.settings = root, name, settings
        self.file = _claims(root) / f"{os.getpid()}-{uuid.uuid4().hex[:8]}"

    def need(self, size: int) -> None:
        """Wait until ``size`` bytes fit, the artefact itself included.

        Raises:
            CacheFull: it can never fit, or did not in time.
        """
        limit = self.settings.limit
        if limit is None:
            return
        if size > limit:
            raise CacheFull(
                f"{self.name} takes {_gb(size)} and the cache may hold {_gb(limit)}",
                "raise NIGHTGATE_CACHE_BYTES or lower the scale",
            )
        start = time.monotonic()
        waited = False
        try:
            while not self._fits(size, limit):
                if not waited:
                    log.info("%s waits for room: all of the cache is in use", self.name)
                waited = True
                if time.monotonic() - start >= self.settings.patience:
                    Events(self.root).add({"builds_refused": 1})
                    raise self._full(size, limit)
                time.sleep(min(POLL_SECONDS, self.settings.patience))
        finally:
            if waited:
                Events(self.root).wait("room", time.monotonic() - start)

    def _fits(self, size: int, limit: int) -> bool:
        """Evict what must go and note the claim; or note that we wait. One builder decides at a time."""
        gate = FileLock(state_dir(self.root) / "admission.lock", timeout=_GATE_SECONDS, poll_interval=0.005)
        try:
            gate.acquire()
        except Timeout:
            return False
        try:
            found = entries(self.root)
            over = sum(entry.size for entry in found) + self._claimed_by_others() + size - limit
            for entry in found:
                if over <= 0:
                    break
                if evict(self.root, entry.folder, "limit", self.settings):
                    over -= entry.size
            # who waits lets go of what it was granted before: two that keep it would wait for each other
            self._note(size if over <= 0 else 0, waits=over > 0)
            return over <= 0
        finally:
            gate.release()

    def _claimed_by_others(self) -> int:
        return sum(claim["bytes"] for file, claim in claims(self.root) if file != self.file)

    def _note(self, size: int, *, waits: bool) -> None:
        # into the very file that is locked; who may come decides behind the gate, so nobody there reads half of it
        self.file.write_text(json.dumps({"name": self.name, "pid": os.getpid(), "bytes": size, "waits": waits}))

    def _full(self, size: int, limit: int) -> CacheFull:
        now, found = self.settings.clock(), entries(self.root)
        held = [
            f"{entry.folder.parent.name}/{entry.folder.name} ({_gb(entry.size)}: {', '.join(who)})"
            for entry in found
            if (who := leases.holders(self.root, entry.folder, now))
        ]
        held += [
            f"{claim['name']} ({_gb(claim['bytes'])}: built by pid {claim['pid']})"
            for file, claim in claims(self.root)
            if file != self.file and claim["bytes"]
        ]
        return CacheFull(
            f"no room for {self.name} after {self.settings.patience:.0f} s: it takes {_gb(size)}, the cache holds "
            f"{_gb(sum(entry.size for entry in found))} of {_gb(limit)}, and in use are {'; '.join(held) or 'none'}",
            "wait for those processes, or raise NIGHTGATE_CACHE_BYTES or NIGHTGATE_CACHE_PATIENCE",
        )


@contextmanager
def room(root: Path, name: str, settings: Settings) -> Iterator[Room]:
    """A claim on the cache's bytes that ends with the block, or with the process."""
    made = Room(root, name, settings)
    lock = FileLock(made.file)
    lock.acquire(timeout=_GATE_SECONDS, poll_interval=0.005)  # who counts the claims may hold it for a moment
    try:
        yield made
    finally:
        made.file.unlink(missing_ok=True)
        lock.release()


def claims(root: Path) -> list[tuple[Path, dict[str, Any]]]:
    """The claims of living builders, by their file. Those of dead ones are removed."""
    living = []
    for file in _claims(root).glob("*"):
        if unlocked(file):
            continue
        try:
            living.append((file, json.loads(file.read_text())))
        except (OSError, ValueError):  # it has ended, or has asked for nothing yet
            continue
    return living


def unlocked(file: Path, also: Callable[[], None] = lambda: None) -> bool:
    """Remove a lock file that no process holds, and do ``also`` meanwhile. False when one does."""
    lock = FileLock(file)
    try:
        lock.acquire(blocking=False)
    except Timeout:
        return False
    try:
        also()
        file.unlink(missing_ok=True)  # under the lock: who waits for it sees that this file has no name any more
    finally:
        lock.release()
    return True


def sweep(root: Path, settings: Settings) -> list[Path]:
    """Remove drafts, half-removed folders and locks of dead builders, reservations that ended, and what older versions
    kept; returns what went. Nothing that a living process works on is touched."""
    gone = []
    for kind, digest in sorted({(path.parent, path.name.split(".")[0]) for path in _leftovers(root)}):
        gone += _sweep_key(root, kind, digest)
    for file in (*leases.expired(root, settings.clock()), *state_dir(root).glob("events.json")):
        file.unlink(missing_ok=True)
        gone.append(file)
    claims(root)  # looking at the claims removes those of the dead
    return gone


def _leftovers(root: Path) -> list[Path]:
    return [path for path in root.glob("[!.]*/*") if path.suffix in (".lock", store.DRAFT, store.TRASH)]


def _sweep_key(root: Path, kind: Path, digest: str) -> list[Path]:
    """Under the lock of the key: whoever holds it lives."""
    left = [path for path in _leftovers(root) if path.parent == kind and path.name.split(".")[0] == digest]

    def remove() -> None:
        for path in left:
            if path.suffix != ".lock":
                shutil.rmtree(path, ignore_errors=True)

    return left if unlocked(kind / f"{digest}.lock", remove) else []


def _claims(root: Path) -> Path:
    return state_dir(root) / "claims"


def _gb(size: int) -> str:
    return f"{size / 1e9:.3g} GB"
