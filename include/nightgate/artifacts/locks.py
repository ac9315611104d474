"""Lock files: the kernel drops the lock with its process, however that ends."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

_FLAGS = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC


def try_lock(path: Path) -> int | None:
    """An open file that holds the lock, or None while another has it."""
    try:
        file = os.open(path, _FLAGS, 0o666)
    except FileNotFoundError:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(path, _FLAGS, 0o666)
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        os.close(file)
        return None
    if not is_at(file, path):  # the last holder removed it between our open and our lock
        os.close(file)
        return None
    return file


def unlock(file: int, path: Path) -> None:
    """Remove the lock file, then drop the lock: who opened the old file sees that it is gone and tries again."""
    path.unlink(missing_ok=True)
    os.close(file)


def is_at(file: int, path: Path) -> bool:
    """Whether ``path`` still names this open file."""
    try:
        there, here = os.stat(path), os.fstat(file)
    except FileNotFoundError:
        return False
    return (there.st_dev, there.st_ino) == (here.st_dev, here.st_ino)


def holders(path: Path) -> list[int]:
    """Process ids that hold a lock on ``path``, as far as this host can see (Linux: ``/proc/locks``)."""
    try:
        stat, lines = path.stat(), Path("/proc/locks").read_text().splitlines()
    except OSError:
        return []
    name = f"{os.major(stat.st_dev):02x}:{os.minor(stat.st_dev):02x}:{stat.st_ino}"
    words = [line.split() for line in lines]
    return sorted({int(line[4]) for line in words if line[1] == "FLOCK" and line[5] == name})
