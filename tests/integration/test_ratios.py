"""The benchmarks of the project itself, where they do more than measure."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
KILLED = """
import sys
from pathlib import Path

import hybrid_ann_ratios
from nightgate.artifacts import Cache
from nightgate.benchmark import Context
from nightgate.hybrid_ann.plugin import BENCHMARK
from nightgate.hybrid_ann.settings import Settings
from nightgate.measure import machine
from nightgate.vectors.prepared import PreparedData

folder = Path(sys.argv[1])
settings = Settings(variants=("hybrid",), controls=(), rows=4000, queries=100)
with machine.alone():
    made = BENCHMARK.prepare(settings, Context("cpu", Cache(folder / "cache")))
    data = PreparedData(vectors=made.vectors, truth=made.truth, data=made.data)
    whole, resumed = hybrid_ann_ratios.killed_and_resumed(data, folder / "resumed")
assert whole > 0 and resumed > 0 and not (folder / "resumed").exists()
"""


def test_a_build_that_is_killed_on_purpose_waits_for_nobody(tmp_path):
    """Whoever times it holds the machine meanwhile."""
    env = os.environ | {"PYTHONPATH": os.pathsep.join((str(ROOT / "include"), str(ROOT / "benchmarks")))}
    done = subprocess.run(
        [sys.executable, "-c", KILLED, str(tmp_path)], env=env, capture_output=True, text=True, timeout=180, check=False
    )
    assert done.returncode == 0, done.stderr
