"""What other packages build upon: it is whole, and importing it costs nothing."""

from __future__ import annotations

import json
import subprocess
import sys
import tomllib
from importlib.metadata import entry_points
from pathlib import Path

from nightgate import api, plugins

ROOT = Path(__file__).resolve().parents[2]
HEAVY = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["ruff"]["lint"]["flake8-tidy-imports"][
    "banned-module-level-imports"
]
LOAD = """
import json, sys
from importlib.metadata import entry_points
from nightgate import api, plugins

loaded = [point.load() for group in plugins.GROUPS for point in entry_points(group=group)]
print(json.dumps({"loaded": len(loaded), "modules": sorted(sys.modules)}))
"""


def test_nothing_is_public_by_accident():
    mine = {name for name, of in vars(api).items() if getattr(of, "__module__", "").startswith("nightgate")}
    assert mine <= set(api.__all__)


def test_the_text_names_every_group_of_entry_points():
    assert all(group in api.__doc__ for group in plugins.GROUPS)


def test_what_is_built_in_declares_itself_light():
    """A DAG that is parsed loads every entry point, in each process that parses it."""
    done = subprocess.run([sys.executable, "-c", LOAD], capture_output=True, text=True, check=True)
    found = json.loads(done.stdout)
    assert found["loaded"] == sum(len(entry_points(group=group)) for group in plugins.GROUPS) >= 3
    assert [name for name in HEAVY if name in found["modules"]] == []
