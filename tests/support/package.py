"""Wheels, built from a copy of their sources, and a project's folder that they are installed in."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOURCES = (
    "include/nightgate",
    "include/suites",
    "include/pools.json",
    "dags",
    "dashboards",
    "pyproject.toml",
    "README.md",
    "LICENSE",
)
"""Of Nightgate's own wheel."""


def build(root: Path, sources: Sequence[str], scratch: Path) -> Path:
    """The wheel of the project in ``root``, which consists of ``sources``; the build may litter ``scratch``."""
    copy = scratch / "source"
    for name in sources:
        (copy / name).parent.mkdir(parents=True, exist_ok=True)
        if (root / name).is_dir():
            shutil.copytree(root / name, copy / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(root / name, copy / name)
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--no-build-isolation"]
    command += ["--wheel-dir", str(scratch), str(copy)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    (made,) = scratch.glob("*.whl")
    return made


@dataclass(frozen=True)
class Project:
    """A folder that is no checkout, with wheels beside it and the packages of this environment."""

    folder: Path

    @property
    def home(self) -> Path:
        return self.folder / "home"

    def install(self, wheel: Path) -> None:
        with zipfile.ZipFile(wheel) as archive:  # as pip lays down a wheel without scripts or headers
            archive.extractall(self.folder / "site")

    def python(self, *words: str, timeout: float = 600, **more: str) -> subprocess.CompletedProcess[str]:
        """Run the interpreter in the folder; ``more`` is its environment beside the usual."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("NIGHTGATE_", "AIRFLOW"))}
        env = kept | {
            "PYTHONPATH": str(self.folder / "site"), "NIGHTGATE_HOME": str(self.home),
            "AIRFLOW_HOME": str(self.folder / "airflow"), "AIRFLOW__CORE__LOAD_EXAMPLES": "False",
            "NIGHTGATE_SHARED_HOST": "1", "NIGHTGATE_AGAIN_AFTER": "0",
        }  # fmt: skip
        return subprocess.run(
            [sys.executable, *words], cwd=self.folder, env=env | more, capture_output=True, text=True, timeout=timeout,
            check=False,
        )  # fmt: skip

    def nightgate(self, *words: str, **more: str) -> subprocess.CompletedProcess[str]:
        return self.python("-m", "nightgate.cli", *words, **more)
