"""What a newcomer meets first: the Makefile explains itself and refuses clearly."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


FROM_ABOVE = ("PYTHON", "VENV", "MAKEFLAGS", "MFLAGS", "MAKELEVEL", "MAKEOVERRIDES")
"""What a make that runs the tests hands down: its own choices, as PYTHON=…"""


def make(*words, path=None):
    environment = {name: value for name, value in os.environ.items() if name not in FROM_ABOVE}
    environment |= {"PATH": str(path)} if path else {}
    return subprocess.run(
        [shutil.which("make"), "--no-print-directory", *words],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def bare_path(tmp_path):
    """A PATH with a shell and nothing else."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name in ("sh", "bash"):
        (folder / name).symlink_to(shutil.which(name))
    return folder


def test_help_lists_every_target():
    shown = make("help").stdout
    targets = re.findall(r"^([a-z][a-z0-9-]*):.*##", (ROOT / "Makefile").read_text(), re.M)
    assert {"run", "test", "up", "down", "lint", "setup", "test-dags", "test-heavy"} <= set(targets)
    assert [name for name in targets if f"make {name} " not in shown] == []


@pytest.mark.parametrize(("given", "options"), [("", ""), ("/wheels", "--index-url /wheels")])
def test_torch_comes_from_the_index_that_is_named_and_triton_does_not_come(given, options):
    recipe = make("--dry-run", "setup-torch", f"TORCH_INDEX={given}").stdout
    assert re.findall(r"install --quiet (.*) torch==2\.13\.0$", recipe, re.M) == [options]
    assert re.search(r"install --quiet --no-deps openai-whisper==\S+ tiktoken==\S+$", recipe, re.M)


def test_a_missing_compiler_is_named_before_anything_is_installed(bare_path, tmp_path):
    done = make("setup", f"VENV={tmp_path}/venv", f"PYTHON={sys.executable}", path=bare_path)
    assert done.returncode == 2
    assert "A C++ compiler is needed" in done.stdout
    assert "Next step: install g++" in done.stdout
    assert not (tmp_path / "venv").exists()


def test_another_python_is_named(bare_path, tmp_path):
    fake = tmp_path / "python"
    fake.write_text('#!/bin/sh\n[ "$1" = -V ] && echo "Python 3.8.1" && exit 0\nexit 1\n')
    fake.chmod(0o755)
    done = make("setup", f"VENV={tmp_path}/venv", f"PYTHON={fake}", path=bare_path)
    assert done.returncode == 2
    assert "Python 3.11, 3.12 or 3.13 is needed" in done.stdout
    assert "3.8.1" in done.stdout


@pytest.fixture
def pythons(bare_path):
    """``pythons("3.12", "3.13")`` puts interpreters on the PATH that say so; one with "shim" fails as those of pyenv do."""

    def put(*versions):
        for version in versions:
            number, _, shim = version.partition(" ")
            file = bare_path / f"python{number}"
            works = number in ("3.11", "3.12", "3.13") and not shim
            file.write_text(f'#!/bin/sh\n[ "$1" = -V ] && echo "Python {number}.0" && exit\nexit {int(not works)}\n')
            file.chmod(0o755)

    return put


def chosen(tmp_path, path, *words):
    """The interpreter that make would set up with: what it would say of another."""
    (tmp_path / "print.mk").write_text(f"include {ROOT}/Makefile\n$(info $(PYTHON))\nchosen:;\n")
    done = make("-f", f"{tmp_path}/print.mk", f"VENV={tmp_path}/venv", "chosen", *words, path=path)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()[0]


@pytest.mark.parametrize(
    ("there", "best"),
    [
        (("3.11", "3.12", "3.13"), "python3.13"),
        (("3.11", "3.12", "3.13 shim"), "python3.12"),
        (("3.11", "3.14"), "python3.11"),
        (("3.14", "3"), "python3"),  # which is then refused, by its version
    ],
)
def test_the_newest_python_that_works_is_taken(pythons, bare_path, tmp_path, there, best):
    pythons(*there)
    assert chosen(tmp_path, bare_path) == best


def test_a_venv_keeps_its_python_until_another_is_asked_for(pythons, bare_path, tmp_path):
    pythons("3.11", "3.13")
    own = tmp_path / "venv" / "bin" / "python"
    own.parent.mkdir(parents=True)
    own.symlink_to(bare_path / "python3.11")
    assert chosen(tmp_path, bare_path) == str(own)
    assert chosen(tmp_path, bare_path, "PYTHON=python3.13") == "python3.13"
    for stamp in (".run", ".ci"):
        (own.parents[1] / stamp).touch()
    venv = f"VENV={tmp_path}/venv"
    assert "venv --clear" not in make("--dry-run", "setup", venv, path=bare_path).stdout
    assert "venv --clear" not in make("--dry-run", "setup", venv, "PYTHON=python3.11", path=bare_path).stdout
    assert "python3.13 -m venv --clear" in make("--dry-run", "setup", venv, "PYTHON=python3.13", path=bare_path).stdout
