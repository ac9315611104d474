"""What does a cluster add, and how many nights an hour do one, two and four machines measure: `make cluster-throughput`, half
an hour.

All of them are processes of this machine, so beyond as many as it has cores they share what they measure with: the numbers say what
the cluster adds or takes, and not how fast a night is.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Mapping
from datetime import datetime
from pathlib import Path

from support.cluster import NAMES, Cluster, started

_EACH = 3  # nights of every machine
_ASKED = {"scale": "smoke", "benchmarks": ["hybrid_ann"], "devices": ["cpu"]}


def main() -> None:
    with tempfile.TemporaryDirectory() as folder, started(Path(folder), 1) as cluster:
        suite = (cluster.main.checkout / "include/suites/nightly.yaml").read_text()
        cluster.trigger("first", **_ASKED)  # what is built first is not what is asked
        cluster.ended("first")
        beside = [_seconds(_night(cluster, f"alone-{number}")) for number in range(_EACH)]
    alone = _of_one_machine(suite)
    print("| the same night | seconds from its plan to its report, median of three |")
    print("|---|---|")
    print(f"| `nightgate run` | {statistics.median(alone):.1f} |")
    print(f"| in the cluster | {statistics.median(beside):.1f} |\n", flush=True)
    print("| machines | nights | seconds | nights an hour |")
    print("|---|---|---|---|")
    for count in (1, 2, 4):
        with tempfile.TemporaryDirectory() as folder, started(Path(folder), count) as cluster:
            took, nights = _at_once(cluster, NAMES[:count])
            print(f"| {count} | {nights} | {took:.0f} | {3600 * nights / took:.0f} |", flush=True)


def _night(cluster: Cluster, run_id: str) -> Mapping[str, str]:
    cluster.trigger(run_id, **_ASKED)
    state, tasks = cluster.ended(run_id)
    assert state == "success", tasks
    return cluster.store.summary(run_id).model_dump()


def _of_one_machine(suite: str) -> list[float]:
    """The same nights by `nightgate run`, in a home of their own; a first one that builds is not counted."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "small.yaml"
        file.write_text(suite)
        ours = {"NIGHTGATE_HOME": f"{folder}/home", "NIGHTGATE_RUNS": f"{folder}/runs", "NIGHTGATE_SUITE": str(file)}
        for _ in range(_EACH + 1):
            subprocess.run(
                [Path(sys.executable).with_name("nightgate"), "run", "--benchmarks", "hybrid_ann", "--devices", "cpu"],
                env=os.environ | ours,
                check=True,
                stdout=subprocess.DEVNULL,
            )
        runs = [json.loads(summary.read_text()) for summary in Path(folder, "runs").glob("*/summary.json")]
        return [_seconds(run) for run in sorted(runs, key=lambda run: run["started_at"])[1:]]


def _seconds(run: Mapping[str, str]) -> float:
    started_at, finished_at = (datetime.fromisoformat(run[when]) for when in ("started_at", "finished_at"))
    return (finished_at - started_at).total_seconds()


def _at_once(cluster: Cluster, names: tuple[str, ...]) -> tuple[float, int]:
    """How long the machines of a cluster take for their nights, triggered all at once, and how many these are."""
    for name in names:  # what is built first is not what is asked
        cluster.trigger("first", f"each.{name}", **_ASKED)
    for name in names:
        cluster.ended("first", f"each.{name}")
    nights = [(f"n{number}", f"each.{name}") for number in range(_EACH) for name in names]
    start = time.monotonic()
    for night in nights:
        cluster.trigger(*night, **_ASKED)
    for night in nights:
        state, tasks = cluster.ended(*night, seconds=900)
        assert state == "success", tasks
    return time.monotonic() - start, len(nights)


if __name__ == "__main__":
    main()
