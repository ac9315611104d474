"""What a request for an artefact returns."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nightgate.artifacts.leases import Lease
from nightgate.artifacts.store import size_of


@dataclass(frozen=True)
class Artifact:
    """A finished folder. ``facts`` is what the builder returned; ``build_seconds`` is what building once took.

    One that `Cache.get` returned is leased: nothing evicts it until `release`, or until the process ends.
    """

    kind: str
    digest: str
    path: Path
    facts: dict[str, Any]
    build_seconds: float
    size: int
    hit: bool = field(compare=False, default=True)
    lease: Lease | None = field(compare=False, repr=False, default=None)

    def release(self) -> None:
        """This user is done with the files. Once; the artefact may be evicted when every user is."""
        if self.lease:
            self.lease.release()


def from_manifest(folder: Path, manifest: dict[str, Any], lease: Lease | None = None, *, hit: bool = True) -> Artifact:
    return Artifact(
        folder.parent.name, folder.name, folder, manifest["facts"], manifest["build_seconds"], size_of(manifest), hit, lease
    )  # fmt: skip
