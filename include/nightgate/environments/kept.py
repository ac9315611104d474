"""The environments that were used on this host, below NIGHTGATE_HOME: what was installed, and the project's own code."""

from __future__ import annotations

from pathlib import Path

from pydantic import ValidationError

from nightgate.environments import code
from nightgate.environments.build import code_folder
from nightgate.environments.lock import Lock, here
from nightgate.files import write_text


def keep(home: Path) -> Lock:
    """Keep that of this process, so that it can measure again beside what comes after it."""
    lock = here()
    code.keep(code_folder(home))
    file = _file(home, lock.digest)
    if not file.exists():
        file.parent.mkdir(parents=True, exist_ok=True)
        write_text(file, lock.model_dump_json(indent=1))
    return lock


def find(home: Path, digest: str) -> Lock | None:
    """What was installed, if it was used on this host."""
    try:
        return Lock.model_validate_json(_file(home, digest).read_text())
    except (OSError, ValidationError):
        return None


def _file(home: Path, digest: str) -> Path:
    return home / "environments" / f"{digest}.json"
