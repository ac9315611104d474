"""The project's own code, kept by its digest, so that what measured last month can measure again."""

from __future__ import annotations

import hashlib
import io
import os
import shutil
import subprocess
import tarfile
import tempfile
import tomllib
from dataclasses import dataclass
from functools import cache
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

from nightgate import __version__
from nightgate.errors import InputError

_PACKAGE = Path(__file__).parents[1]
_KEPT = (".py", ".txt", ".html", ".css", ".sql", ".md", ".yaml", ".json", ".yml", ".typed")


@dataclass(frozen=True)
class Commit:
    """One of the project's: twelve digits of its name, and the first line of what it says."""

    id: str
    subject: str


@cache
def digest() -> str:
    """Twelve hex digits of the sources of this package."""
    return _digest(_PACKAGE)


def _digest(package: Path) -> str:
    found = hashlib.sha256()
    for file in sorted(package.rglob("*.py")):
        name = file.relative_to(package)
        if name.parts[0] != "dags":  # a link in a checkout and files in a copy, and nothing that is timed
            found.update(str(name).encode() + b"\0" + file.read_bytes() + b"\0")
    return found.hexdigest()[:12]


def keep(folder: Path) -> Path:
    """Put a copy of this code into ``folder``, unless it is there; returns the folder to put on the path.

    What tells of the package, its entry points above all, lies beside it, so that it counts as installed there.
    """
    kept = folder / digest()
    if kept.exists():
        return kept
    folder.mkdir(parents=True, exist_ok=True)
    draft = Path(tempfile.mkdtemp(prefix=".draft-", dir=folder))
    try:
        shutil.copytree(_PACKAGE, draft / _PACKAGE.name, ignore=_others)
        _tell(draft)
        try:
            os.rename(draft, kept)
        except OSError:
            if not kept.exists():
                raise
    finally:
        shutil.rmtree(draft, ignore_errors=True)
    return kept


def of_revision(folder: Path, checkout: Path, revision: str) -> Path:
    """As `keep`, the code of a Git revision of the project's checkout.

    Raises:
        InputError: there is no such revision.
    """
    asked = _git(checkout, "rev-parse", "--verify", "--quiet", f"{revision}^{{commit}}")
    if asked.returncode:
        raise InputError(
            f"{checkout} has no revision {revision!r}", "name a commit, a tag or a branch: git log --oneline"
        )
    kept = folder / f"rev-{asked.stdout.decode().strip()[:12]}"
    if kept.exists():
        return kept
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".draft-", dir=folder) as draft:
        archive = _git(checkout, "archive", "--format=tar", revision)
        with tarfile.open(fileobj=io.BytesIO(archive.stdout)) as tar:
            tar.extractall(Path(draft, "tree"), filter="tar")
        tree, made = Path(draft, "tree"), Path(draft, "code")
        shutil.copytree(tree / "include" / _PACKAGE.name, made / _PACKAGE.name, ignore=_others)
        project = tomllib.loads((tree / "pyproject.toml").read_text())["project"]
        told = made / f"{_PACKAGE.name}-{project['version']}.dist-info"
        told.mkdir()
        (told / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {_PACKAGE.name}\nVersion: {project['version']}\n")
        groups = project.get("entry-points", {})
        (told / "entry_points.txt").write_text(
            "".join(
                f"[{group}]\n" + "".join(f"{name} = {of}\n" for name, of in points.items())
                for group, points in groups.items()
            )
        )
        os.rename(made, kept)
    return kept


def between(folder: Path, checkout: Path, first: tuple[str | None, str], last: tuple[str | None, str]) -> list[Commit]:
    """The commits that changed the code from one revision to another, oldest first.

    Args:
        first: a revision and the digest of the code that ran as such, as ``last``.

    Returns:
        None of them where they lead from one to the other on no line, or where what ran was not what the revision says.
    """
    for revision, ran in (first, last):
        try:
            if revision is None or _digest(of_revision(folder, checkout, revision) / _PACKAGE.name) != ran:
                return []
        except InputError:
            return []
    if _git(checkout, "merge-base", "--is-ancestor", str(first[0]), str(last[0])).returncode:
        return []
    told = _git(
        checkout,
        "log",
        "--reverse",
        "--first-parent",
        "--abbrev=12",
        "--format=%h%x09%s",
        f"{first[0]}..{last[0]}",
        "--",
        f"include/{_PACKAGE.name}",
    ).stdout.decode(errors="replace")
    return [Commit(*line.split("\t", 1)) for line in told.splitlines()]


def _git(checkout: Path, *words: str) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(["git", "-C", str(checkout), *words], capture_output=True, check=False, timeout=60)
    except FileNotFoundError:
        raise InputError("this host has no git, so no revision can be had", "install git") from None


def _tell(folder: Path) -> None:
    told = folder / f"{_PACKAGE.name}-{__version__}.dist-info"
    told.mkdir()
    try:
        known = distribution(_PACKAGE.name)
    except PackageNotFoundError:
        return
    for name in ("METADATA", "entry_points.txt", "top_level.txt"):
        if text := known.read_text(name):
            (told / name).write_text(text)


def _others(folder: str, names: list[str]) -> set[str]:
    """What is no source: caches, and what editors leave."""
    return {
        name
        for name in names
        if (not name.endswith(_KEPT) and not Path(folder, name).is_dir()) or name == "__pycache__"
    }
