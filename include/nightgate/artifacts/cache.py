"""A content-addressed cache of folders: the key is a hash of what went in.

``<root>/<kind>/<hash>/`` holds what the builder wrote and ``manifest.json``. A folder appears under its name only
when it is complete (temporary name, sync, rename), two builders of one key never run at once (file lock), and a
folder whose files no longer have the recorded sizes is built again.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import shutil
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from nightgate.errors import ArtifactError, InputError
from nightgate.record import utc_now

log = logging.getLogger(__name__)

_MANIFEST = "manifest.json"
_CHUNK = 1 << 22


@dataclass(frozen=True)
class Artifact:
    """A finished folder. ``facts`` is what the builder returned; ``build_seconds`` is what building once took."""

    kind: str
    digest: str
    path: Path
    facts: dict[str, Any]
    build_seconds: float
    size: int
    hit: bool = field(compare=False, default=True)


class Cache:
    """All artefacts under one root."""

    def __init__(self, root: Path) -> None:
        self.root = root

    def get(
        self, kind: str, key: Mapping[str, Any], build: Callable[[Path], Mapping[str, Any] | None], *, needs: int = 0
    ) -> Artifact:
        """The artefact of ``key``, built by ``build(folder)`` when it is not there.

        Args:
            kind: the family, which is also the folder name ("ground-truth").
            key: JSON-able; everything that decides the content, a format version included.
            build: writes files into the folder it is given and may return JSON-able facts.
            needs: bytes the build writes, checked against the free disk before it starts.

        Raises:
            InputError: the disk has no room for it. ArtifactError: the builder wrote nothing.
        """
        digest = hashlib.sha256(json.dumps(key, sort_keys=True, default=str).encode()).hexdigest()[:20]
        folder = self.root / kind / digest
        if found := self._open(kind, folder):
            return found
        with self._single_flight(kind, digest):
            if found := self._open(kind, folder):
                return found
            return self._build(kind, dict(key), folder, build, needs)

    def entries(self) -> list[Artifact]:
        """Every finished artefact, oldest first."""
        manifests = sorted(self.root.glob(f"*/*/{_MANIFEST}"), key=lambda path: path.stat().st_mtime)
        found = (self._open(path.parent.parent.name, path.parent) for path in manifests)
        return [artifact for artifact in found if artifact]

    def damaged(self) -> list[Path]:
        """Folders whose files differ from their recorded checksums. Reads every byte."""
        bad = []
        for path in sorted(self.root.glob(f"*/*/{_MANIFEST}")):
            files = json.loads(path.read_text())["files"]
            if any(_checksum(path.parent / name) != facts["sha256"] for name, facts in files.items()):
                bad.append(path.parent)
        return bad

    def collect(self, limit: int) -> list[Artifact]:
        """Remove the least recently used artefacts until the rest fits into ``limit`` bytes; returns what went."""
        entries, removed = self.entries(), []
        total = sum(entry.size for entry in entries)
        for entry in entries:
            if total <= limit:
                break
            shutil.rmtree(entry.path)
            total -= entry.size
            removed.append(entry)
        return removed

    def _open(self, kind: str, folder: Path) -> Artifact | None:
        try:
            manifest = json.loads((folder / _MANIFEST).read_text())
            whole = all((folder / name).stat().st_size == facts["size"] for name, facts in manifest["files"].items())
        except (OSError, ValueError, KeyError):
            return None
        if not whole:
            log.warning("%s/%s is torn and will be built again", kind, folder.name)
            return None
        os.utime(folder / _MANIFEST)  # its mtime is the time of last use
        size = sum(facts["size"] for facts in manifest["files"].values())
        return Artifact(kind, folder.name, folder, manifest["facts"], manifest["build_seconds"], size)

    def _build(
        self, kind: str, key: dict[str, Any], folder: Path, build: Callable[[Path], Any], needs: int
    ) -> Artifact:
        free = shutil.disk_usage(self.root).free
        if free < needs:
            raise InputError(
                f"no disk space for {kind}: it needs {needs / 1e9:.1f} GB and {self.root} has {free / 1e9:.1f} GB free",
                "free some space (`nightgate cache gc`), move NIGHTGATE_HOME, or lower the scale",
            )
        draft = folder.with_name(f"{folder.name}.building")
        shutil.rmtree(draft, ignore_errors=True)  # ours alone under the lock: left by a builder that was killed
        draft.mkdir(parents=True)
        log.info("building %s/%s", kind, folder.name)
        start = time.monotonic()
        try:
            facts = dict(build(draft) or {})
            seconds = time.monotonic() - start
            files = {
                path.relative_to(draft).as_posix(): {"size": path.stat().st_size, "sha256": _checksum(path)}
                for path in sorted(draft.rglob("*")) if path.is_file()
            }  # fmt: skip
            if not files:
                raise ArtifactError(f"the builder of {kind} wrote no file")
            manifest = {"kind": kind, "key": key, "facts": facts, "files": files,
                        "build_seconds": seconds, "built_at": utc_now()}  # fmt: skip
            (draft / _MANIFEST).write_text(json.dumps(manifest, indent=1, default=str))
            shutil.rmtree(folder, ignore_errors=True)
            draft.rename(folder)
        except BaseException:
            shutil.rmtree(draft, ignore_errors=True)
            raise
        log.info("built %s/%s in %.1f s", kind, folder.name, seconds)
        size = sum(facts["size"] for facts in files.values())
        return Artifact(kind, folder.name, folder, facts, seconds, size, hit=False)

    @contextmanager
    def _single_flight(self, kind: str, digest: str) -> Iterator[None]:
        (self.root / kind).mkdir(parents=True, exist_ok=True)
        with open(self.root / kind / f"{digest}.lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield


def _checksum(path: Path) -> str:
    """SHA-256 of a file; what was written is on disk before it is trusted."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        os.fsync(file.fileno())
        while chunk := file.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
