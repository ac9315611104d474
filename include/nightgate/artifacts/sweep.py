"""What killed processes leave behind, and its removal. Nothing here touches what a living process works on."""

from __future__ import annotations

import shutil
from pathlib import Path

from nightgate.artifacts import leases, limit, locks, store
from nightgate.artifacts.settings import Settings


def sweep(root: Path, settings: Settings) -> list[Path]:
    """Remove drafts, half-removed folders and locks of dead builders, and reservations that ended; returns what went."""
    gone = []
    for kind, digest in sorted({(path.parent, path.name.split(".")[0]) for path in _leftovers(root)}):
        gone += _sweep_key(kind, digest)
    for file in leases.expired(root, settings.clock()):
        file.unlink(missing_ok=True)
        gone.append(file)
    limit.claims(root)  # looking at the claims removes those of the dead
    return gone


def _leftovers(root: Path) -> list[Path]:
    return [path for path in root.glob("[!.]*/*") if path.suffix in (".lock", store.DRAFT, store.TRASH)]


def _sweep_key(kind: Path, digest: str) -> list[Path]:
    """Under the lock of the key: whoever holds it lives."""
    lock_file = kind / f"{digest}.lock"
    left = [path for path in _leftovers(kind.parent) if path.parent == kind and path.name.split(".")[0] == digest]
    if (lock := locks.try_lock(lock_file)) is None:
        return []
    try:
        for path in left:
            if path != lock_file:
                shutil.rmtree(path, ignore_errors=True)
    finally:
        locks.unlock(lock, lock_file)
    return left
