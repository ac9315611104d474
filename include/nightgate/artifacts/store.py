"""Artefacts on disk: ``<root>/<kind>/<hash>/`` holds what the builder wrote and ``manifest.json``.

A folder appears under its name only when it is complete: written under a temporary name, hashed, synced, renamed. Of two
that were built at once the first to be renamed stays. Manifests of older versions, without seal or id, are read as well.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from nightgate.errors import ArtifactError
from nightgate.files import sha256_of, sync_file, write_text
from nightgate.record import utc_now

MANIFEST = "manifest.json"
DRAFT, TRASH = ".building", ".trash"


def digest_of(key: Mapping[str, Any]) -> str:
    """The name of an artefact: a hash of all that decides its content."""
    return hashlib.sha256(json.dumps(key, sort_keys=True, default=str).encode()).hexdigest()[:20]


def walk(root: Path) -> Iterator[Path]:
    """Every folder under its final name."""
    for kind in _folders(root):
        yield from _folders(kind)


def _folders(parent: Path) -> list[Path]:
    try:
        with os.scandir(parent) as found:
            return sorted(parent / entry.name for entry in found if "." not in entry.name and entry.is_dir())
    except FileNotFoundError:
        return []


def read(folder: Path) -> dict[str, Any] | None:
    """The manifest of a folder whose files are all there in their sizes; None otherwise.

    The manifest carries a checksum of itself, so that a changed fact is found as well.
    """
    try:
        manifest = loads((folder / MANIFEST).read_bytes())
        whole = all((folder / name).stat().st_size == facts["size"] for name, facts in manifest["files"].items())
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return manifest if whole else None


def loads(text: str | bytes) -> dict[str, Any]:
    """Parse a manifest. Raises ValueError or KeyError when it is not what was written."""
    manifest = json.loads(text)
    if not isinstance(manifest, dict) or manifest.pop("seal", None) not in (None, _seal(manifest)):
        raise ValueError("the manifest was changed")
    if any(PurePosixPath(name).is_absolute() or ".." in PurePosixPath(name).parts for name in manifest["files"]):
        raise ValueError("the manifest names files outside its folder")
    manifest.setdefault("id", manifest["built_at"])  # caches of older versions have neither id nor seal
    return manifest


def dumps(manifest: Mapping[str, Any]) -> str:
    plain = json.loads(json.dumps(manifest, default=str))
    return json.dumps(plain | {"seal": _seal(plain)}, indent=1)


def size_of(manifest: Mapping[str, Any]) -> int:
    return sum(facts["size"] for facts in manifest["files"].values())


def matches(folder: Path, manifest: Mapping[str, Any]) -> bool:
    """Whether every byte is as recorded. Reads all files."""
    try:
        return all(sha256_of(folder / name) == facts["sha256"] for name, facts in manifest["files"].items())
    except OSError:
        return False


def clear(folder: Path) -> None:
    """Remove the drafts that dead builders of ``folder`` left. For who holds the lock of its key, before a draft of its own."""
    for old in folder.parent.glob(f"{folder.name}.*"):
        if old.suffix in (DRAFT, TRASH):
            shutil.rmtree(old, ignore_errors=True)


@contextmanager
def draft_of(folder: Path) -> Iterator[Path]:
    """An empty folder beside ``folder``, removed after the block unless it got its name there."""
    draft = folder.with_name(f"{folder.name}.{uuid.uuid4().hex[:12]}{DRAFT}")
    draft.mkdir(parents=True)
    try:
        yield draft
    finally:
        shutil.rmtree(draft, ignore_errors=True)


def seal(draft: Path, kind: str, key: Mapping[str, Any], facts: Mapping[str, Any], seconds: float) -> dict[str, Any]:
    """Hash and sync what the builder wrote, and write the manifest.

    Raises:
        ArtifactError: it wrote nothing.
    """
    paths = [path for path in sorted(draft.rglob("*")) if path.is_file()]
    if not paths:
        raise ArtifactError(f"the builder of {kind} wrote no file")
    files = {
        path.relative_to(draft).as_posix(): {"size": path.stat().st_size, "sha256": sha256_of(path)} for path in paths
    }
    manifest = {
        "kind": kind,
        "key": dict(key),
        "facts": dict(facts),
        "files": files,
        "build_seconds": seconds,
        "built_at": utc_now(),
        "id": uuid.uuid4().hex,
    }
    write_manifest(draft, manifest)
    return loads((draft / MANIFEST).read_bytes())


def write_manifest(draft: Path, manifest: Mapping[str, Any]) -> None:
    """Write it, and wait until all that it names is on the disk."""
    write_text(draft / MANIFEST, dumps(manifest))
    for path in (draft, *draft.rglob("*")):
        sync_file(path)


def publish(draft: Path, folder: Path) -> bool:
    """Give the finished draft its name. False when another has it: the first copy stays."""
    try:
        draft.rename(folder)
    except OSError as error:
        if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
            return False
        raise
    sync_file(folder.parent)
    return True


def discard(folder: Path) -> bool:
    """Take a folder out of sight at once, then remove its files. False when there is none."""
    trash = folder.with_name(f"{folder.name}.{uuid.uuid4().hex[:12]}{TRASH}")
    try:
        folder.rename(trash)
    except FileNotFoundError:
        return False
    shutil.rmtree(trash, ignore_errors=True)
    return True


def _seal(manifest: Mapping[str, Any]) -> str:
    return hashlib.sha256(json.dumps(manifest, sort_keys=True).encode()).hexdigest()
