"""The check as a person starts it, on the CPU and small: real engines, a real index, real processes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def checked(tmp_path):
    """``checked("faiss")``: exit code, what was printed, and what was written."""

    def run(group):
        file = tmp_path / "check.json"
        command = [
            sys.executable,
            str(ROOT / "benchmarks" / "gpu_check.py"),
            "--device",
            "cpu",
            "--only",
            group,
            "--rows",
            "4000",
            "--out",
            str(file),
        ]
        plain = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
        done = subprocess.run(
            command, env=plain, cwd=tmp_path, capture_output=True, text=True, timeout=600, check=False
        )
        return done.returncode, done.stdout, json.loads(file.read_text())

    return run


def by_part(found):
    return {one["part"]: {finding["name"]: finding for finding in one["findings"]} for one in found["outcomes"]}


def test_the_searches_run_without_a_device_and_reach_their_recall(checked):
    code, printed, found = checked("faiss")
    assert (code, found["complete"]) == (0, True), printed
    parts = by_part(found)
    assert list(parts) == ["vectors", "neighbours", "hybrid"]
    assert parts["neighbours"]["proven by float32 scores"]["value"].endswith(" of 200")
    assert parts["hybrid"]["recall@100"]["value"] >= 0.95
    assert parts["hybrid"]["recall@100"]["verdict"] == "held"
    rates = [parts["hybrid"][f"queries per second, batches of {size}"]["value"] for size in ("1", "10", "100", "1,000")]
    assert all(rate > 0 for rate in rates)
    assert max(map(len, printed.splitlines())) <= 100


def test_an_engine_runs_without_a_device_and_hears_what_is_said(checked):
    code, printed, found = checked("whispercpp")
    assert code == 0, printed
    heard = by_part(found)["pywhispercpp"]
    assert heard["ran on"]["value"].startswith("cpu, ")
    assert heard["word error rate"]["value"] <= 0.15
    assert heard["word error rate in batches"]["value"] <= 0.15
