"""Types are checked strictly, by the command that checks style."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
CONFIG = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["mypy"]
MOST_IGNORED = 20


def test_the_checker_is_strict_and_runs_with_make_lint():
    assert CONFIG["strict"] is True
    assert set(CONFIG["files"]) == {"include/nightgate", "plugins", "dags", "examples", "benchmarks"}
    recipe = re.search(r"^lint:.*\n((?:\t.*\n)+)", (ROOT / "Makefile").read_text(), re.M)
    assert recipe and "\t$(BIN)/mypy\n" in recipe[1]


def test_few_lines_are_left_out():
    lines = [
        line
        for name in CONFIG["files"]
        for file in (ROOT / name).rglob("*.py")
        for line in file.read_text().splitlines()
    ]
    assert len(lines) > 1000
    assert sum("type: ignore" in line for line in lines) < MOST_IGNORED


def test_no_room_is_left_out():
    assert not [each["module"] for each in CONFIG["overrides"] if each.get("ignore_errors")]
