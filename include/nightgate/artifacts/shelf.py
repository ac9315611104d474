"""The artefacts of one root, opened and put in place: whole, checked once per process, leased, marked as used."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nightgate.artifacts import leases, store
from nightgate.artifacts.artifact import Artifact, from_manifest
from nightgate.artifacts.events import touch
from nightgate.artifacts.settings import Settings

_verdicts: dict[tuple[Path, str], bool] = {}
"""What this process found when it hashed an artefact, by folder and the id in its manifest."""


class Shelf:
    def __init__(self, root: Path, settings: Settings) -> None:
        self.root, self.settings = root, settings

    def find(self, folder: Path) -> Artifact | None:
        """The artefact when it is here and whole, leased.

        The first time in a process every byte is hashed; sizes and the manifest's own checksum are looked at each time.
        """
        if (lease := leases.take(folder)) is None:
            return None
        manifest = store.read(folder)
        if manifest:
            known = (folder, manifest["id"])
            if known not in _verdicts:
                _verdicts[known] = store.matches(folder, manifest)
            if _verdicts[known]:
                touch(self.root, folder / store.MANIFEST, self.settings.clock())
                return from_manifest(folder, manifest, lease)
        lease.release()
        return None

    def discard_damaged(self, folder: Path) -> bool:
        """Remove a folder that `find` cannot use. False when there is none, or when it is whole and just being evicted."""
        if not folder.exists():
            return False
        manifest = store.read(folder)
        if manifest and _verdicts.get((folder, manifest["id"]), True):
            return False
        return store.discard(folder)

    def put(self, draft: Path, folder: Path, manifest: dict[str, Any]) -> Artifact:
        """Lease a finished draft, then give it its name: between the two nobody can evict it."""
        lease = leases.take(draft, folder)
        assert lease is not None, "a draft has one owner"
        touch(self.root, draft / store.MANIFEST, self.settings.clock())
        store.publish(draft, folder)
        _verdicts[(folder, manifest["id"])] = True  # hashed a moment ago
        return from_manifest(folder, manifest, lease, hit=False)
