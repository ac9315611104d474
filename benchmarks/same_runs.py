"""Identical runs of the smoke hybrid one after the other on one host: by how much do they differ?

`make same-runs` takes about five minutes. It prints the standard deviation between the runs, of logarithms, of the latencies as
users get them and at the host's full speed, and of the ratio of the two strategies, which took turns. ``--read`` tells the same
of runs that are there already.
"""

from __future__ import annotations

import argparse
import math
import statistics
import subprocess
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from nightgate import paths
from nightgate.judge import comparison
from nightgate.measure import host, samples
from nightgate.record import Record
from nightgate.results import files

BENCHMARK, BESIDE = "hybrid_ann", "ivfpq_refine"
WANTED = {
    "latency_p50": None, "latency_p95": None, "latency_p50_fast": 0.03, "latency_p95_fast": 0.05, "fast_share": None,
}  # fmt: skip
"""Metric → the standard deviation that is wanted at most."""
RATIO_WANTED = 0.03


@dataclass(frozen=True)
class Run:
    """The judged record of one run, the ratio of the two strategies' P50 by its rounds, and how long the run took, seconds;
    None where it was not this program's."""

    run_id: str
    record: Record
    ratio: float | None
    seconds: float | None = None

    def value(self, metric: str) -> float | None:
        found = self.record.metrics.get(metric)
        return found.value if found else None


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--runs", type=int, default=14)
    asked.add_argument("--read", nargs="+", metavar="RUN", help="runs to read instead")
    given = asked.parse_args()
    runs = (
        [_read(run) for run in given.read] if given.read else [_measure(n + 1, given.runs) for n in range(given.runs)]
    )
    facts = host.describe()
    print(f"\n{len(runs)} runs, {datetime.now(UTC):%Y-%m-%d}, {facts.cpu}, {facts.cores} cores\n")
    print(report(runs))


def _measure(number: int, of: int) -> Run:
    before, start = set(files.newest_runs(10_000)), time.monotonic()
    command = [sys.executable, "-m", "nightgate.cli", "measure", BENCHMARK, "--scale", "smoke", "--no-confirm"]
    ended = subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False)
    seconds = time.monotonic() - start
    made = set(files.newest_runs(10_000)) - before
    if not made:
        raise SystemExit(f"run {number} left nothing: {ended.stderr[-500:]}")
    run = _read(made.pop(), seconds)
    told = ", ".join(f"{name} {value:.6g}" for name in WANTED if (value := run.value(name)) is not None)
    print(f"{number}/{of} in {seconds:.0f} s: {told}", file=sys.stderr, flush=True)
    return run


def _read(run_id: str, seconds: float | None = None) -> Run:
    record = next(one for one in files.read_records(run_id) if one.benchmark == BENCHMARK and one.gated)
    file = paths.run_dir(run_id) / Path(record.samples or "").name
    first, second = (samples.read(file, variant).get("round_p50") for variant in (BESIDE, record.variant))
    ratio = None if first is None or second is None else comparison.paired(first, second).value
    return Run(run_id, record, ratio, seconds)


def report(runs: Sequence[Run]) -> str:
    """A table in Markdown."""
    lines = ["| what | median | sd between runs (log) | wanted | runs |", "|---|---|---|---|---|"]
    for metric, wanted in WANTED.items():
        lines.append(_row(metric, [run.value(metric) for run in runs], wanted))
    lines.append(_row(f"P50, {runs[0].record.variant} / {BESIDE}", [run.ratio for run in runs], RATIO_WANTED))
    lines.append(_row("seconds", [run.seconds for run in runs], None))
    stopped = [run.record.facts.stopped for run in runs]
    lines.append(f"\nended by: precision {stopped.count('precision')}, budget {stopped.count('budget')}")
    lines.extend(f"{run.run_id} was disturbed: {why}" for run in runs if (why := _disturbed(run.record)))
    return "\n".join(lines)


def _row(what: str, found: Sequence[float | None], wanted: float | None) -> str:
    values = [value for value in found if value is not None]
    if not values:
        return f"| {what} | | | | 0 |"
    spread = "" if len(values) < 2 or min(values) <= 0 else f"{statistics.stdev(map(math.log, values)):.1%}"
    limit = "" if wanted is None else f"≤ {wanted:.0%}"
    return f"| {what} | {np.median(values):.4g} | {spread} | {limit} | {len(values)} |"


def _disturbed(record: Record) -> str | None:
    return record.facts.noise.disturbed if record.facts.noise else None


if __name__ == "__main__":
    print(f"home: {paths.home()}", file=sys.stderr)
    main()
