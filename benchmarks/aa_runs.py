"""Forty runs of one and the same thing on one host, half of them while another program loads a core at random.

`make aa` takes about half an hour on two cores. Nothing changes between the runs, so each breach is false and each difference
that is called real is none; and a loaded run must either be recognised as disturbed or be covered by its interval. Tables of
how often, as Markdown, for the smoke hybrid and for smoke pgvector. ``--read`` counts anew over the runs that are there already, such as
after a change of how two are compared.
"""

from __future__ import annotations

import argparse
import math
import os
import random
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

from beside import beside
from nightgate import paths, registry
from nightgate.publish.comparing import compare
from nightgate.record import Metric, Record, Summary
from nightgate.results import files

BENCHMARKS = ("hybrid_ann", "pgvector_search")
_LOAD = """
import random, time
draw = random.Random({seed})
while True:
    end = time.monotonic() + draw.uniform(0.5, 5)
    while time.monotonic() < end:
        sum(range(1000))
    time.sleep(draw.uniform(0.5, 5))
"""


@dataclass(frozen=True)
class Run:
    """One run, and whether another program loaded a core meanwhile."""

    summary: Summary
    loaded: bool

    @property
    def gated(self) -> Record:
        return next(record for record in self.summary.results if record.gated)


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--runs", type=int, default=40)
    asked.add_argument("--benchmarks", nargs="+", default=list(BENCHMARKS), choices=BENCHMARKS)
    asked.add_argument("--seed", type=int, default=1)
    asked.add_argument(
        "--read", action="store_true", help="the newest that are there, made with the same --runs and --seed"
    )
    given = asked.parse_args()
    for benchmark in given.benchmarks:
        made = _read if given.read else _measure
        print(f"\n## {benchmark}, {given.runs} runs\n")
        print(_report(list(made(benchmark, given.runs, given.seed))))


def _loads(count: int, seed: int) -> list[bool]:
    """Beside which of the runs another program loads a core."""
    loaded = [number % 2 == 1 for number in range(count)]
    random.Random(seed).shuffle(loaded)
    return loaded


def _read(benchmark: str, count: int, seed: int) -> list[Run]:
    whole = (run for run in files.newest_runs(100 * count) if (paths.runs_dir() / run / "summary.json").exists())
    made = [run for run in whole if run.startswith(f"measure-{benchmark}-")][:count]
    if len(made) < count:
        raise SystemExit(f"{paths.runs_dir()} holds {len(made)} runs of {benchmark}, and {count} were asked for")
    return [
        Run(files.read_summary(run), loaded) for run, loaded in zip(reversed(made), _loads(count, seed), strict=True)
    ]


def _measure(benchmark: str, count: int, seed: int) -> Iterator[Run]:
    for number, under_load in enumerate(_loads(count, seed)):
        before = set(files.newest_runs(10 * count))
        start = time.monotonic()
        with beside(_LOAD.format(seed=seed + number) if under_load else None):
            ended = subprocess.run(
                [Path(sys.executable).with_name("nightgate"), "measure", benchmark, "--scale", "smoke"], env=os.environ,
                stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True, check=False,
            )  # fmt: skip
        (made,) = set(files.newest_runs(10 * count)) - before or {""}
        if not made:
            raise SystemExit(f"run {number} left nothing: {ended.stderr[-500:]}")
        run = Run(files.read_summary(made), under_load)
        say = f"{number + 1}/{count} {'loaded' if under_load else 'quiet '} {run.summary.state} in {time.monotonic() - start:.0f} s"
        print(say, _disturbed(run.gated) or "", file=sys.stderr, flush=True)
        yield run


def _report(runs: Sequence[Run]) -> str:
    quiet, loaded = ([run for run in runs if run.loaded is of] for of in (False, True))
    judged = [one.metric for one in quiet[0].gated.objectives]
    missed = [run for run in loaded if not _disturbed(run.gated) and not _covered(run, judged, quiet)]
    states = {of: sum(run.summary.state == of for run in runs) for of in ("pass", "inconclusive", "invalid", "breach")}
    lines = [
        "| what | found | wanted |", "|---|---|---|",
        f"| breaches | {states['breach']} of {len(runs)} | 0 |",
        f"| states | {', '.join(f'{count} {state}' for state, count in states.items() if count)} | |",
        f"| quiet runs taken for disturbed | {sum(bool(_disturbed(run.gated)) for run in quiet)} of {len(quiet)} | |",
        f"| loaded runs recognised as disturbed | {sum(bool(_disturbed(run.gated)) for run in loaded)} of {len(loaded)} | |",
        f"| loaded runs neither recognised nor covered | {len(missed)} of {len(loaded)} | 0 |",
        "", "| metric | sd between quiet runs | interval covers the median of the quiet | pairs called different | wanted |",
        "|---|---|---|---|---|",
    ]  # fmt: skip
    return "\n".join([*lines, *_metrics(quiet, runs)])


def _metrics(quiet: Sequence[Run], runs: Sequence[Run]) -> Iterator[str]:
    undisturbed = [run for run in runs if not _disturbed(run.gated)]
    different: dict[str, list[bool]] = {}
    for one, other in combinations(undisturbed, 2):
        for row in compare((one.gated, one.summary), (other.gated, other.summary)).rows:
            different.setdefault(row.metric, []).append(bool(row.difference.real))
    for name, called in different.items():
        values = [run.gated.metrics[name].value for run in quiet if name in run.gated.metrics]
        if len(values) < 2:  # a host that was never at full speed has nothing to tell of it
            continue
        spec = registry.spec_of(quiet[0].gated, name)
        logs = [math.log(value) for value in values] if spec.logarithmic and min(values) > 0 else values
        middle = statistics.median(values)
        held = [_holds(metric, middle) for run in quiet if (metric := run.gated.metrics.get(name)) and metric.ci95]
        covers = f"{sum(held)} of {len(held)}" if held else "no interval"
        share = sum(called) / len(called)
        yield f"| {name} | {statistics.stdev(logs):.2%} | {covers} | {sum(called)} of {len(called)} ({share:.1%}) | ≤ 5 % |"


def _disturbed(record: Record) -> str | None:
    return record.facts.noise.disturbed if record.facts.noise else None


def _covered(run: Run, judged: Sequence[str], quiet: Sequence[Run]) -> bool:
    """Whether the interval of every judged metric holds the median of the quiet runs."""
    found = [
        (run.gated.metrics[name], statistics.median(one.gated.metrics[name].value for one in quiet)) for name in judged
    ]
    return all(_holds(metric, middle) for metric, middle in found)


def _holds(metric: Metric, value: float) -> bool:
    return metric.ci95 is not None and metric.ci95[0] <= value <= metric.ci95[1]


if __name__ == "__main__":
    print(f"home: {paths.home()}", file=sys.stderr)
    main()
