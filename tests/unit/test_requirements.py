"""The requirement files: what continuous integration must have, and that none says where packages come from."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

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
    assert all(re.fullmatch(r"[a-z0-9-]+>=[\d.]+( ; platform_machine == \"\w+\")?", line) for line in found)
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
