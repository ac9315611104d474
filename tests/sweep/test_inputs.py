"""Three hundred generated inputs: whatever they are like, the recall that is reported is the one by brute force."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from sweep import cases

from nightgate.measure.child import run_child


@pytest.mark.parametrize("metric", cases.METRICS)
@pytest.mark.parametrize("strategy", cases.STRATEGIES)
def test_reported_recall_is_true(tmp_path, monkeypatch, metric, strategy):
    # in a process of its own, so that a crash of one index is a failure of one test
    monkeypatch.setenv(
        "PYTHONPATH", os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    )
    found = run_child(cases.check_all, (metric, strategy, tmp_path), threads=1, timeout=300).value
    assert found["wrong"] == []
    assert len(found["recalls"]) == cases.CASES
