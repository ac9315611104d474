"""The artefacts of one root in use: opened whole and leased, put in place, reserved for a later process.

A lease is a shared lock of the kernel on the manifest. It lasts until `Lease.release` or until the process is gone, kill
-9 included; it belongs to the file, not to its name, so it survives the rename that publishes a draft; a process holds
one per artefact, counted. `filelock` has no such lock: its own is exclusive, and its shared one is a database beside
every file, bound to the path. A reservation spans the time between two processes, as from the task that prepares to the
task that measures.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nightgate.artifacts import store
from nightgate.artifacts.settings import state_dir
from nightgate.artifacts.store import MANIFEST

RESERVED_SECONDS = 2 * 3600.0
"""How long a prepared artefact is kept for the task that measures it: longer than the measurements before it take."""

_held: dict[Path, Lease] = {}
_mutex = threading.RLock()
_verdicts: dict[tuple[Path, str], bool] = {}
"""What this process found when it hashed an artefact, by folder and the id in its manifest."""


@dataclass(eq=False)
class Lease:
    folder: Path
    file: int
    count: int = 1

    def release(self) -> None:
        with _mutex:
            self.count -= 1
            if self.count == 0:
                os.close(self.file)
                if _held.get(self.folder) is self:
                    del _held[self.folder]


@dataclass(frozen=True)
class Artifact:
    """A finished folder. ``facts`` is what the builder returned; ``build_seconds`` is what building once took, and
    ``built_at`` when it was done (ISO 8601, UTC), which may be nights ago and on another host.

    One that `Cache.get` returned is leased: nothing evicts it until `release`, or until the process ends.
    """

    kind: str
    digest: str
    path: Path
    facts: dict[str, Any]
    build_seconds: float
    built_at: str
    size: int
    hit: bool = field(compare=False, default=True)
    lease: Lease | None = field(compare=False, repr=False, default=None)

    def release(self) -> None:
        """This user is done with the files. Once; the artefact may be evicted when every user is."""
        if self.lease:
            self.lease.release()


def from_manifest(
    folder: Path, manifest: Mapping[str, Any], lease: Lease | None = None, *, hit: bool = True
) -> Artifact:
    return Artifact(
        kind=folder.parent.name,
        digest=folder.name,
        path=folder,
        facts=manifest["facts"],
        build_seconds=manifest["build_seconds"],
        built_at=manifest["built_at"],
        size=store.size_of(manifest),
        hit=hit,
        lease=lease,
    )


def find(root: Path, folder: Path, now: float) -> Artifact | None:
    """The artefact when it is here and whole, leased and marked as used ``now``.

    The first time in a process every byte is hashed; sizes and the manifest's own checksum are looked at each time.
    """
    if (lease := take(folder)) is None:
        return None
    manifest = store.read(folder)
    if manifest:
        known = (folder, manifest["id"])
        if known not in _verdicts:
            _verdicts[known] = store.matches(folder, manifest)
        if _verdicts[known]:
            touch(root, folder / MANIFEST, now)
            return from_manifest(folder, manifest, lease)
    lease.release()
    return None


def put(root: Path, draft: Path, folder: Path, manifest: dict[str, Any], now: float) -> Artifact:
    """Give a finished draft its name, leased before it has it, so that nobody can evict it in between.

    When another copy was published meanwhile, that one is returned: the first stays, and the draft is its owner's to
    throw away.
    """
    lease = take(draft, folder)
    assert lease is not None, "a draft has one owner"
    touch(root, draft / MANIFEST, now)
    while not store.publish(draft, folder):
        if first := find(root, folder, now):
            lease.release()
            return first
        if not discard_damaged(folder):
            time.sleep(0.01)  # it is just being evicted
    _verdicts[(folder, manifest["id"])] = True  # hashed a moment ago
    return from_manifest(folder, manifest, lease, hit=False)


def discard_damaged(folder: Path) -> bool:
    """Remove a folder that `find` cannot use. False when there is none, or when it is whole and just being evicted."""
    if not folder.exists():
        return False
    manifest = store.read(folder)
    if manifest and _verdicts.get((folder, manifest["id"]), True):
        return False
    return store.discard(folder)


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


def take(folder: Path, name: Path | None = None) -> Lease | None:
    """A lease on the artefact in ``folder``; None when there is none, or when it is being removed.

    A builder leases its draft before it has its ``name``.
    """
    name = name or folder
    with _mutex:
        held = _held.get(name)
        if held and _is_at(held.file, folder / MANIFEST):
            held.count += 1
            return held
        if (file := _locked(folder, os.O_RDONLY, fcntl.LOCK_SH)) is None:
            return None
        _held[name] = Lease(name, file)
        return _held[name]


def exclusive(folder: Path) -> int | None:
    """An open file that nobody can lease beside; None when the artefact is leased or gone. Close it to let go."""
    return _locked(folder, os.O_RDWR, fcntl.LOCK_EX)


def _locked(folder: Path, mode: int, how: int) -> int | None:
    try:
        file = os.open(folder / MANIFEST, mode | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        fcntl.flock(file, how | fcntl.LOCK_NB)
        if _is_at(file, folder / MANIFEST):  # it may have been removed between our open and our lock
            return file
    except BlockingIOError:
        pass
    os.close(file)
    return None


def _is_at(file: int, path: Path) -> bool:
    """Whether ``path`` still names this open file."""
    try:
        return os.path.samestat(os.stat(path), os.fstat(file))
    except FileNotFoundError:
        return False


def holders(root: Path, folder: Path, now: float) -> list[str]:
    """Who keeps this artefact from being evicted, in words."""
    pids = pids_on(folder / MANIFEST)
    found = [f"pid {pid}, this process" if pid == os.getpid() else f"pid {pid}" for pid in pids]
    if reserved(root, folder, now):
        found.append("reserved for a measurement")
    return found


def pids_on(path: Path) -> list[int]:
    """Process ids that hold a lock on ``path``, as far as this host can see (Linux: ``/proc/locks``)."""
    try:
        stat, lines = path.stat(), Path("/proc/locks").read_text().splitlines()
    except OSError:
        return []
    name = f"{os.major(stat.st_dev):02x}:{os.minor(stat.st_dev):02x}:{stat.st_ino}"
    words = [line.split() for line in lines]
    return sorted({int(line[4]) for line in words if line[1] == "FLOCK" and line[5] == name})


def reserve(root: Path, folder: Path, owner: str, now: float) -> None:
    """Keep an artefact from eviction for `RESERVED_SECONDS`, whichever process lives."""
    file = _reservation(root, folder, owner)
    file.parent.mkdir(parents=True, exist_ok=True)
    file.touch()
    os.utime(file, (now, now + RESERVED_SECONDS))


def unreserve(root: Path, folder: Path, owner: str) -> None:
    _reservation(root, folder, owner).unlink(missing_ok=True)


def reserved(root: Path, folder: Path, now: float) -> bool:
    return any(
        _lasts(file, now) for file in (state_dir(root) / "reserved").glob(f"{folder.parent.name}.{folder.name}.*")
    )


def expired(root: Path, now: float) -> list[Path]:
    """Files of reservations that have ended."""
    return [file for file in (state_dir(root) / "reserved").glob("*") if not _lasts(file, now)]


def _lasts(file: Path, now: float) -> bool:
    try:
        end = file.stat().st_mtime
    except FileNotFoundError:
        return False
    # an end further away than any reservation reaches was written by a clock that ran ahead
    return now < end <= now + RESERVED_SECONDS


def _reservation(root: Path, folder: Path, owner: str) -> Path:
    short = hashlib.sha256(owner.encode()).hexdigest()[:16]
    return state_dir(root) / "reserved" / f"{folder.parent.name}.{folder.name}.{short}"


def folders_in(root: Path, value: Any) -> set[Path]:
    """The artefacts that the paths inside ``value`` (dicts, lists, strings) belong to."""
    if isinstance(value, dict):
        return {folder for item in value.values() for folder in folders_in(root, item)}
    if isinstance(value, list | tuple):
        return {folder for item in value for folder in folders_in(root, item)}
    if not isinstance(value, str | Path) or not Path(value).is_relative_to(root):
        return set()
    parts = Path(value).relative_to(root).parts
    return {root / parts[0] / parts[1]} if len(parts) > 1 else set()
