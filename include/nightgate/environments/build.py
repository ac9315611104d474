"""A folder of exactly these packages, and how to start a child that imports them and nothing else."""

from __future__ import annotations

import logging
import os
import platform
import shutil
import subprocess
import sys
from collections.abc import Mapping
from functools import partial
from importlib.metadata import Distribution
from pathlib import Path
from typing import Any

from nightgate.artifacts import Cache
from nightgate.environments import code
from nightgate.environments.lock import Lock, closure
from nightgate.errors import InputError, NotMeasured
from nightgate.measure.child import Interpreter

log = logging.getLogger(__name__)

_PIP_SECONDS = 1800.0
_LAST_WORDS = 300
_LARGE = 2**20  # bytes


def code_folder(home: Path) -> Path:
    """Where the project's own code is kept, by its digest."""
    return home / "code"


def interpreter(cache: Cache, home: Path, lock: Lock) -> Interpreter:
    """How to start a child in the environment of ``lock``; its packages are put together when that was not done yet.

    Raises:
        InputError: it is of another Python, or its code was not kept on this host.
        NotMeasured: a package of it cannot be had.
    """
    if lock.python != platform.python_version():
        raise InputError(
            f"the environment {lock.digest} is of Python {lock.python} and this is {platform.python_version()}",
            "run this with that Python, or accept a newer night as the baseline: nightgate results accept RUN",
        )
    kept = code.keep(code_folder(home)) if lock.code == code.digest() else code_folder(home) / lock.code
    if not kept.is_dir():
        raise InputError(
            f"the code of Nightgate {lock.version} ({lock.revision or lock.code}) was not kept in {code_folder(home)}",
            "run this on the host that measured it, or accept a newer night as the baseline: nightgate results accept RUN",
        )
    return Interpreter(_base(), (kept, packages(cache, lock.packages)))


def with_packages(start: Interpreter, cache: Cache, versions: Mapping[str, str]) -> Interpreter:
    """The same, with other ``versions`` of some packages."""
    others = [packages(cache, {name: version}) for name, version in sorted(versions.items())]
    return Interpreter(start.python, (*others, *start.path))


def with_code(start: Interpreter, home: Path, digest: str) -> Interpreter:
    """The same, with the project's code of another digest."""
    return Interpreter(start.python, (code_folder(home) / digest, *start.path))


def packages(cache: Cache, versions: Mapping[str, str]) -> Path:
    """A folder with exactly these packages, made once: those that are installed in these versions are taken from there, others come
    through pip from wherever that is told to take them.

    Raises:
        NotMeasured: pip cannot install one; with its words.
    """
    # a wheel is of a platform and of an interpreter
    key = {
        "packages": dict(sorted(versions.items())),
        "python": platform.python_version(),
        "of": platform.platform(),
        "format": 1,
    }
    made = cache.get("environment", key, partial(_build, versions=versions))
    return made.path / "packages"


def _build(folder: Path, *, versions: Mapping[str, str]) -> dict[str, Any]:
    into, known = folder / "packages", closure()
    into.mkdir()
    taken = [name for name, version in versions.items() if name in known and known[name].version == version]
    for name in taken:
        _take(known[name], into)
    if others := [f"{name}=={version}" for name, version in sorted(versions.items()) if name not in taken]:
        _install(others, into)
    return {"taken": len(taken), "installed": others}


def _take(one: Distribution, into: Path) -> None:
    """Copies, with their times, by which compiled files are known to be theirs. What is large is a hard link: whoever upgrades a
    package puts new files in the place of these, and nobody edits a library or a model where it lies."""
    for file in one.files or ():
        if ".." in file.parts or file.is_absolute():
            continue
        source, target = Path(str(file.locate())), into / file
        if not source.is_file() or target.exists():  # compiled files come and go; two packages may bring one file
            continue
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            if source.stat().st_size < _LARGE:
                shutil.copy2(source, target)
            else:
                os.link(source, target)
        except FileNotFoundError:
            continue
        except OSError:  # another file system
            shutil.copy2(source, target)


def _install(wanted: list[str], into: Path) -> None:
    log.info("installing %s", ", ".join(wanted))
    command = [
        sys.executable,
        "-m",
        "pip",
        "install",
        "--quiet",
        "--no-input",
        "--no-deps",
        "--target",
        str(into),
        *wanted,
    ]
    try:
        answer = subprocess.run(
            command, capture_output=True, text=True, timeout=_PIP_SECONDS, check=False, stdin=subprocess.DEVNULL
        )
    except subprocess.TimeoutExpired:
        raise NotMeasured(f"pip took longer than {_PIP_SECONDS:.0f} s to install {', '.join(wanted)}") from None
    if answer.returncode:
        errors = [line for line in answer.stderr.splitlines() if line.startswith("ERROR")] or answer.stderr.splitlines()
        raise NotMeasured(
            f"pip cannot install {', '.join(wanted)}: {' '.join(errors)[-_LAST_WORDS:] or 'it does not say why'}",
            "see that pip on this host finds a package index that has them",
        )


def _base() -> str:
    """The interpreter without the packages of this one's virtual environment."""
    return getattr(sys, "_base_executable", None) or sys.executable
