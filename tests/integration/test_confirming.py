"""`nightgate measure` with a real benchmark: what is confirmed, by real measurements, and what is left behind."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

SMALL = [
    "--set", "hybrid_ann.rows=4000", "--set", "hybrid_ann.dim=32", "--set", "hybrid_ann.queries=100",
    "--set", "hybrid_ann.load_seconds=0", "--variant", "hybrid",
]  # fmt: skip
NEVER = "--set", "objectives.hybrid_ann.latency_p95=1e-6"
ALWAYS = "--set", "objectives.hybrid_ann.latency_p95=60"


def measure(*words):
    command = [sys.executable, "-m", "nightgate.cli", "measure", "hybrid_ann", "--json", *SMALL, *words]
    done = subprocess.run(command, env=os.environ, capture_output=True, text=True, timeout=600, check=False)
    assert done.stdout, done.stderr
    (record,) = json.loads(done.stdout)
    (report,) = [line for line in done.stderr.splitlines() if line.startswith("report: ")]
    folder = Path(report.removeprefix("report: ")).parent
    return done, record, folder


def verdicts(record):
    return {o["metric"]: (o["verdict"], o["looks"]) for o in record["objectives"]}


@pytest.fixture(scope="module")
def known():
    """What these vectors give, from a run in which nothing was to be confirmed."""
    done, record, folder = measure(*ALWAYS)
    assert done.returncode == 0, done.stderr
    assert "nothing is to be confirmed of hybrid_ann on cpu: every objective is decided" in " ".join(
        done.stderr.split()
    )
    assert record["looks"] == [] and list(folder.glob("*-confirm*")) == []
    return {name: metric["value"] for name, metric in record["metrics"].items()}


def test_a_breach_is_stated_after_a_run_that_confirms_it():
    done, record, folder = measure(*NEVER)
    assert done.returncode == 1, done.stderr
    verdict, looks = verdicts(record)["latency_p95"]
    assert (verdict, looks) == ("breach", 1 + len(record["looks"])) and looks >= 2
    first = np.load(folder / "hybrid_ann-cpu.npz")["hybrid/durations_ns"]
    again = np.load(folder / "hybrid_ann-cpu-confirm1.npz")["hybrid/durations_ns"]
    assert first.shape[-1] == again.shape[-1] == 100 and not np.array_equal(first, again)
    look = record["looks"][0]
    assert record["started_at"] < look["started_at"]
    assert look["metrics"]["latency_p95"]["value"] != record["metrics"]["latency_p95"]["value"]
    assert look["metrics"]["prepare_seconds"]["value"] > 0


def test_a_breach_that_nobody_confirms_is_none():
    done, record, _ = measure(*NEVER, "--no-confirm")
    assert verdicts(record)["latency_p95"][0] == "inconclusive"
    assert record["looks"] == []
    assert done.returncode == 3
    assert done.stderr.strip().splitlines()[-1].startswith("nightgate: exit code 3: undecided: ")


def test_what_lies_at_the_limit_is_measured_until_it_is_decided_or_often_enough(known):
    done, record, folder = measure("--set", f"objectives.hybrid_ann.latency_p95={known['latency_p95']:.9f}")
    verdict, looks = verdicts(record)["latency_p95"]
    assert len(list(folder.glob("hybrid_ann-cpu-confirm*.npz"))) == len(record["looks"])
    assert list(folder.glob("*-indexes")) == [], "no index that was built for a look is left"
    assert done.returncode == {"pass": 0, "breach": 1, "inconclusive": 3}[verdict], done.stderr
    assert len(record["looks"]) == 3 or verdict != "inconclusive"
    assert looks >= 2 or verdict != "breach"


def test_what_more_runs_would_not_tell_is_not_confirmed(known):
    """Of one set of queries the recall is at the limit, and a new index changes little of it."""
    done, record, _ = measure(*ALWAYS, "--set", f"objectives.hybrid_ann.recall_at_100={known['recall_at_100']:.6f}")
    verdict, looks = verdicts(record)["recall_at_100"]
    assert (verdict, done.returncode) == ("inconclusive", 3)
    assert looks == 1 + len(record["looks"])
    assert bool(record["looks"]) != ("is so by what all runs share" in " ".join(done.stderr.split()))
