"""The hybrid beside its controls and peers at full scale, as ratios of one run on one quiet host.

`make ratios-hybrid` takes about 25 minutes, nearly all of it to build the three graphs over all vectors (1 M × 256); they are
kept in NIGHTGATE_HOME, so the next time takes four. Every strategy is taken at its cheapest setting that reaches recall@100
0.95.
"""

from __future__ import annotations

import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from time import perf_counter_ns

import numpy as np
from rich.console import Console
from rich.table import Table

from nightgate import paths
from nightgate.artifacts import Cache
from nightgate.benchmark import Context
from nightgate.hybrid_ann import strategies
from nightgate.hybrid_ann.indexes import build_index
from nightgate.hybrid_ann.plugin import BENCHMARK
from nightgate.hybrid_ann.settings import Settings
from nightgate.hybrid_ann.strategies.ivfpq_index import IVFPQ
from nightgate.measure import blocks, estimates, host
from nightgate.measure.child import run_child
from nightgate.record import Record
from nightgate.vector_search.session import Ids, Setting
from nightgate.vectors import truth
from nightgate.vectors.data import TRUTH_DEPTH as K
from nightgate.vectors.dataset import open_dataset
from nightgate.vectors.prepared import PreparedData

GATED, BASELINE = "hybrid", "hnsw"
OTHERS = ("hybrid_seeded", "ivfpq_refine", "hnswlib", "usearch")
RECALL = 0.95
ROUNDS, QUERIES_AT_ONCE, BLOCK = 10, 20, 5
ROWS_AT_ONCE = 8192


def main() -> None:
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s", stream=sys.stderr)
    settings = Settings(
        variants=(GATED, BASELINE), controls=OTHERS, rows=1_000_000, queries=1000, recall_target=RECALL,
        recall_margin=0.005, most_passes=3, load_seconds=0,
    )  # fmt: skip
    cache = Cache(paths.cache_dir())
    folder = paths.home() / "ratios"
    console = Console(width=140)
    with host.quiet(paths.home()):
        prepared = BENCHMARK.prepare(settings, Context("cpu", cache))
        folder.mkdir(parents=True, exist_ok=True)
        measured = BENCHMARK.measure(settings, prepared, Context("cpu", cache, samples=folder / "samples.npz"))
        records = {record.variant: record for record in measured}
        console.print(strategies_table(records))
        table = Table("what", "measured", "wanted", title=f"{host.describe().cpu}, {host.describe().cores} cores")
        add_ratios(table, records)
        threads = os.cpu_count() or 1
        exact = run_child(ground_truth, prepared.vectors, threads=threads).value
        table.add_row(
            "exact ground truth of 1,000 queries / numpy's sgemm",
            f"{exact['truth'] / exact['sgemm']:.2f} ({exact['truth'] / 1e9:.0f} of {exact['sgemm'] / 1e9:.0f} GFLOP/s)",
            "≥ 0.60",
        )
        tuned = records[GATED].facts.tuning
        assert tuned
        child = run_child(overhead, Asked(prepared.vectors, prepared.indexes["ivfpq"].folder, tuned.setting), threads=1)
        low, high = child.value.ci95
        table.add_row(
            "timed loop / bare loop around the hybrid", f"{child.value.ratio:.4f} ({low:.4f}–{high:.4f})", "≤ 1.02"
        )
        whole, resumed = killed_and_resumed(
            PreparedData(vectors=prepared.vectors, truth=prepared.truth, data=prepared.data), folder / "resumed"
        )
        table.add_row("build killed while adding vectors, then resumed / whole", f"{resumed / whole:.2f} "
                      f"({resumed:.1f} of {whole:.1f} s)", "")  # fmt: skip
    console.print(table)


def strategies_table(records: dict[str, Record]) -> Table:
    table = Table(
        "strategy", "setting", "recall@100", "P50 ms", "P95 ms (95 %)", "build s", "index MB", "build peak GB"
    )
    for record in records.values():
        if record.status != "measured":
            table.add_row(record.variant, record.reason or record.status)
            continue
        m, tuned = record.metrics, record.facts.tuning
        assert tuned
        low, high = m["latency_p95"].ci95 or (float("nan"),) * 2
        table.add_row(
            record.variant, " ".join(f"{k}={v}" for k, v in tuned.setting.items()),
            f"{m['recall_at_100'].value:.3f}", f"{m['latency_p50'].value * 1e3:.2f}",
            f"{m['latency_p95'].value * 1e3:.2f} ({low * 1e3:.2f}–{high * 1e3:.2f})",
            f"{m['build_seconds'].value:.0f}", f"{m['index_bytes'].value / 1e6:.0f}",
            f"{m['build_peak_rss_bytes'].value / 1e9:.1f}",
        )  # fmt: skip
    return table


def add_ratios(table: Table, records: dict[str, Record]) -> None:
    ours, theirs = records[GATED], records[BASELINE]

    def ratio(name: str) -> float:
        return ours.metrics[name].value / theirs.metrics[name].value

    table.add_row(f"build, {GATED} / {BASELINE}", f"{ratio('build_seconds'):.3f}", "≤ 0.10")
    table.add_row(f"index bytes, {GATED} / {BASELINE}", f"{ratio('index_bytes'):.3f}", "≤ 0.25")
    vectors = ours.settings["rows"] * ours.settings["dim"] * 4
    links = theirs.metrics["index_bytes"].value - vectors
    of_links = f"{ours.metrics['index_bytes'].value / links:.2f}"
    table.add_row(f"the same, without the copy of the vectors that {BASELINE} holds", of_links, "")
    table.add_row(f"P95 at recall ≥ {RECALL}, {GATED} / {BASELINE}", f"{ratio('latency_p95'):.2f}", "≤ 1.25")
    assert ours.facts.tuning
    good = [point.latency_p95 for point in ours.facts.tuning.curve if point.recall >= 0.92 and point.latency_p95]
    table.add_row(f"P95 of the {GATED}'s cheapest setting with recall ≥ 0.92", f"{good[0] * 1e3:.2f} ms", "≤ 2 ms")
    peak = max(ours.metrics[name].value for name in ("peak_rss_bytes", "build_peak_rss_bytes"))
    table.add_row(f"peak memory of the {GATED}, building and answering", f"{peak / 2**30:.1f} GiB", "≤ 6 GiB")


@dataclass(frozen=True)
class Asked:
    """The gated strategy over the data set in ``vectors``, on its ``index``, at ``setting``."""

    vectors: Path
    index: Path
    setting: Setting


@dataclass(frozen=True)
class Ratio:
    ratio: float
    ci95: tuple[float, float]


def ground_truth(vectors: Path) -> dict[str, float]:
    """In a child: floating-point operations per second of the exact search, and of the bare product in numpy."""
    dataset = open_dataset(vectors)
    queries, base = np.array(dataset.queries), dataset.base
    float(base[:, 0].sum())
    room = np.empty(
        (len(queries), ROWS_AT_ONCE), np.float32
    )  # reused, as fresh memory would cost more than the product

    def product() -> None:
        for start in range(0, len(base), ROWS_AT_ONCE):
            block = base[start : start + ROWS_AT_ONCE]
            np.matmul(queries, block.T, out=room[:, : len(block)])

    spent = {}
    for name, call in (("truth", lambda: truth.exact(base, queries, K, dataset.metric)), ("sgemm", product)) * 2:
        start = perf_counter_ns()
        call()
        spent[name] = (perf_counter_ns() - start) / 1e9  # the second time counts: the file is in memory by then
    return {name: 2.0 * len(queries) * base.size / seconds for name, seconds in spent.items()}


def overhead(asked: Asked) -> Ratio:
    """In a child: the times that `time_blocks` tells, with the kernel on either side of each block, over a loop without a clock
    in it, on a few queries at a time, in turns ABBA. Either holds queries and answers in lists: which arrays are alive decides where
    the next ones lie, and that alone makes some per cent.

    Returns the mean of the pairs' ratios; the pairs are short, so that a host that changes its speed changes both.
    """
    dataset = open_dataset(asked.vectors)
    float(dataset.base[:, 0].sum())
    strategy = strategies.on("cpu", GATED).open([asked.index], dataset.base, dataset.metric)
    strategy.tune(asked.setting)
    queries = np.array(dataset.queries)

    def ask(query: np.ndarray) -> Ids:
        return strategy.search(query, K)

    def bare(some: np.ndarray) -> int:
        held, answers = list(some), []
        began = perf_counter_ns()
        for query in held:
            answers.append(ask(query))
        return perf_counter_ns() - began

    def timed(some: np.ndarray) -> int:
        return int(blocks.time_blocks(ask, some, BLOCK).durations.sum())

    calls = [timed, bare]
    bare(queries)
    ratios = []
    for _ in range(ROUNDS):
        for start in range(0, len(queries), QUERIES_AT_ONCE):
            some, spent = queries[start : start + QUERIES_AT_ONCE], [0, 0]
            for which in (0, 1, 1, 0):
                spent[which] += calls[which](some)
            ratios.append(spent[0] / spent[1])
    value, _, bounds = estimates.mean(np.array(ratios))
    assert bounds
    return Ratio(value, bounds)


def killed_and_resumed(data: PreparedData, folder: Path) -> tuple[float, float]:
    """Seconds of a whole build, and of one that goes on where a killed one was: its training was done."""
    spent = []
    for kill in (False, True):
        shutil.rmtree(folder, ignore_errors=True)
        if kill:
            # else it would wait for this process, which holds the host
            own = os.environ | {"NIGHTGATE_HOME": str(folder), "NIGHTGATE_LOCK": str(folder / "lock")}
            command = [sys.executable, __file__, "build", data.model_dump_json(), str(folder)]
            builder = subprocess.Popen(command, env=own)
            while not list(folder.glob("ivfpq/*.building")) and builder.poll() is None:
                time.sleep(0.05)
            time.sleep(2)  # some of the vectors are in by now
            builder.send_signal(signal.SIGKILL)
            builder.wait()
        start = perf_counter_ns()
        build(data, folder)
        spent.append((perf_counter_ns() - start) / 1e9)
    shutil.rmtree(folder, ignore_errors=True)
    return spent[0], spent[1]


def build(data: PreparedData, folder: Path) -> None:
    build_index(IVFPQ, data, Settings(variants=(GATED,)).parameters, Cache(folder))


if __name__ == "__main__":
    import hybrid_ann_ratios  # by its name, under which a child finds its functions

    if sys.argv[1:2] == ["build"]:
        build(PreparedData.model_validate_json(sys.argv[2]), Path(sys.argv[3]))
    else:
        hybrid_ann_ratios.main()
