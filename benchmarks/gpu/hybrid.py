"""The hybrid: on the device as on all cores of the CPU, each tuned to the same recall, one by one and in batches."""

from __future__ import annotations

import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from gpu import neighbours, speeds, vectors
from gpu.asked import BATCHES, RECALL, RECALL_TOLERANCE, Asked, K
from gpu.outcome import Finding, at_least, at_most
from gpu.runner import Both, Earlier, Part
from gpu.speeds import Speeds
from nightgate.publish import figures

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np

    from nightgate.vector_search.strategy import Index

_ROWS_PER_LIST = 128
_MARGIN = 0.005  # above the recall, on the queries to tune on, so that the measured ones reach it
_VARIANT = "hybrid"


@dataclass(frozen=True)
class Answered:
    """``recall``: of each measured query at 100, float64 (queries,). ``same_index``: that of the same index and setting
    when the CPU scans it, on a device alone. ``where``: the proof of the device, in the strategy's words."""

    setting: dict[str, int]
    recall: np.ndarray
    same_index: np.ndarray | None
    build_seconds: float
    speeds: Speeds
    where: str


def measure(asked: Asked, earlier: Earlier) -> Answered:
    import faiss
    import numpy as np

    from nightgate.facts import Point
    from nightgate.hybrid_ann import strategies
    from nightgate.hybrid_ann.strategies.hybrid import Hybrid
    from nightgate.vector_search import tuning
    from nightgate.vectors import recall
    from nightgate.vectors.dataset import open_dataset
    from nightgate.vectors.truth import open_truth

    faiss.omp_set_num_threads(asked.threads)
    kind = strategies.on(asked.device, _VARIANT)
    kind.see_device()
    data = open_dataset(vectors.folder(asked))
    base, truth = np.array(data.base), earlier[neighbours.NAME].truth
    start = time.perf_counter()
    folders = [_built(index, asked, base, data.metric) for index in kind.indexes()]
    build_seconds = time.perf_counter() - start
    strategy: Any = kind.open(folders, base, data.metric)

    def found(strategy: Any, queries: np.ndarray, of: str) -> Any:
        answers = strategy.search_many(queries, K, asked.threads)
        return recall.per_query(answers, open_truth(truth, of), base, queries, K, data.metric)

    def tried(setting: dict[str, int]) -> Point:
        strategy.tune(setting)
        return Point(setting=setting, recall=float(found(strategy, np.array(data.tuning), "tuning").mean()))

    tuned = tuning.cheapest(strategy.settings, tried, RECALL + _MARGIN)
    strategy.tune(tuned.setting)
    queries = np.array(data.queries)
    reached, same_index = found(strategy, queries, "queries"), None
    if asked.device == "gpu":
        twin = Hybrid(folders, base, data.metric)
        twin.tune(tuned.setting)
        same_index = found(twin, queries, "queries")
    timed = speeds.measure(lambda some: strategy.search_many(some, K, asked.threads), queries, asked.sizes.load_seconds)
    where = getattr(strategy, "gpu", None) or f"{asked.threads} threads"
    return Answered(tuned.setting, reached, same_index, build_seconds, timed, str(where))


def _built(index: Index, asked: Asked, base: np.ndarray, metric: str) -> Path:
    """The folder of the index, trained and built with all threads."""
    trained, folder = (asked.folder / f"{index.name}-{step}" for step in ("trained", "built"))
    for made in (trained, folder):
        made.mkdir(exist_ok=True)
    assert index.train
    index.train(trained, base, metric, threads=asked.threads, rows_per_list=_ROWS_PER_LIST)
    index.build(folder, base, metric, trained=trained, threads=asked.threads)
    return folder


def findings(both: Both) -> list[Finding]:
    found: Answered = both.gpu or both.cpu
    made = [
        Finding(name="ran on", value=found.where),
        Finding(name="setting", value=figures.named(found.setting)),
        Finding(name="building the index", value=found.build_seconds, unit="seconds"),
        at_least(f"recall@{K}", float(found.recall.mean()), RECALL),
        *speeds.findings(found.speeds),
    ]
    if found.same_index is not None:
        apart = abs(float(found.same_index.mean() - found.recall.mean()))
        made.append(at_most("recall, apart from the CPU's on this index", apart, RECALL_TOLERANCE))
    if both.gpu and both.cpu:
        made.append(at_least(f"recall@{K} of the CPU's own index", float(both.cpu.recall.mean()), RECALL))
        most = max(BATCHES)
        for size in BATCHES:
            times, bounds = speeds.speedup(both.gpu.speeds.seconds[size], both.cpu.speeds.seconds[size])
            limit = both.limits.hybrid_speedup if both.limits and size == most else None
            made.append(at_least(f"times as fast as all cores, batches of {size:,}", times, limit, ci95=bounds))
    return made


PART = Part(
    _VARIANT, measure, findings, seconds=100, groups=("faiss",), needs=(vectors.PART.name, neighbours.PART.name)
)
