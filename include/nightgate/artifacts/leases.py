"""Who uses what: a shared lock of the kernel on the manifest, and reservations with an end.

A lease lasts until `Lease.release` or until the process is gone, kill -9 included. The lock belongs to the file, not to
its name, so it survives the rename that publishes a draft. A process holds one lease per artefact, counted.
A reservation spans the time between two processes, as from the task that prepares to the task that measures.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import threading
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nightgate.artifacts import locks
from nightgate.artifacts.settings import state_dir
from nightgate.artifacts.store import MANIFEST

RESERVED_SECONDS = 2 * 3600.0
"""How long a prepared artefact is kept for the task that measures it: longer than the measurements before it take."""

_held: dict[Path, Lease] = {}
_mutex = threading.RLock()


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


def take(folder: Path, name: Path | None = None) -> Lease | None:
    """A lease on the artefact in ``folder``; None when there is none, or when it is being removed.

    A builder leases its draft before it has its ``name``.
    """
    name = name or folder
    with _mutex:
        held = _held.get(name)
        if held and locks.is_at(held.file, folder / MANIFEST):
            held.count += 1
            return held
        try:
            file = os.open(folder / MANIFEST, os.O_RDONLY | os.O_CLOEXEC)
        except (FileNotFoundError, NotADirectoryError):
            return None
        try:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(file)
            return None
        if not locks.is_at(file, folder / MANIFEST):
            os.close(file)
            return None
        _held[name] = Lease(name, file)
        return _held[name]


def exclusive(folder: Path) -> int | None:
    """An open file that nobody can lease beside; None when the artefact is leased or gone. Close it to let go."""
    try:
        file = os.open(folder / MANIFEST, os.O_RDWR | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError):
        return None
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if locks.is_at(file, folder / MANIFEST):
            return file
    except BlockingIOError:
        pass
    os.close(file)
    return None


def holders(root: Path, folder: Path, now: float) -> list[str]:
    """Who keeps this artefact from being evicted, in words."""
    pids = locks.holders(folder / MANIFEST)
    found = [f"pid {pid}, this process" if pid == os.getpid() else f"pid {pid}" for pid in pids]
    if reserved(root, folder, now):
        found.append("reserved for a measurement")
    return found


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
