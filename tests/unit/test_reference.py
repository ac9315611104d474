"""The reference pages say what the code says."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pytest

from nightgate import registry

FOLDER = Path(__file__).resolve().parents[2] / "docs/reference"
MADE = runpy.run_path(str(FOLDER / "make.py"))["pages"]()


@pytest.mark.parametrize("file", sorted(MADE))
def test_a_page_is_what_the_code_makes_of_it(file):
    assert (FOLDER / file).read_text() == MADE[file], "make reference"


def test_no_key_metric_or_command_is_missing():
    for name, known in registry.installed().items():
        section = MADE["suite.md"].partition(f"## `{name}`")[2].partition("\n## ")[0]
        assert [key for key in known.settings.model_fields if f"| `{key}` |" not in section] == []
        metrics = MADE["metrics.md"].partition(f"## `{name}`")[2].partition("\n## ")[0]
        named = {spec.name for spec in known.all_metrics if f"| `{spec.name}` |" in metrics}
        for first, last in re.findall(r"\| `(\w+)` … `(\w+)` \|", metrics):
            names = [spec.name for spec in known.all_metrics]
            named |= set(names[names.index(first) : names.index(last) + 1])
        assert named == {spec.name for spec in known.all_metrics}
    for name in ("BENCHMARK.DEVICE.measure", "verdict", "regression_watch", "require_gpu"):
        assert f"`{name}`" in MADE["dags.md"]
    for command in ("run", "measure", "up", "results list", "results compare", "cache gc", "doctor"):
        assert f"## `nightgate {command}`" in MADE["cli.md"]
