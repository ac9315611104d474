"""What runs in the child processes: look for the GPU, build an index, time one strategy, put it under load."""

from __future__ import annotations

import logging
from importlib.metadata import version
from pathlib import Path
from typing import Any

from nightgate.hybrid_ann import strategies
from nightgate.hybrid_ann.settings import K
from nightgate.hybrid_ann.strategies.hybrid_gpu import see_device
from nightgate.measure.clock import time_calls
from nightgate.measure.load import closed_loop, open_loop
from nightgate.vectors import recall, tuning
from nightgate.vectors.dataset import Dataset, open_dataset
from nightgate.vectors.latency import open_loop_answer
from nightgate.vectors.truth import open_truth

log = logging.getLogger(__name__)

_WHOLE_CURVE_TO = 0.995
_TUNING_WARMUP = 50


def see_gpu(request: dict[str, Any]) -> dict[str, Any]:
    """See `hybrid_gpu.see_device`; in a child, so that the parent loads no CUDA library."""
    return see_device()


def train(request: dict[str, Any]) -> dict[str, Any]:
    """The first step of building ``request["index"]``, into ``request["folder"]``."""
    data = open_dataset(Path(request["vectors"]))
    module = strategies.builder(request["index"])
    return module.train(Path(request["folder"]), data.base, data.metric, **request["parameters"])


def build(request: dict[str, Any]) -> dict[str, Any]:
    """Build ``request["index"]`` into ``request["folder"]``, from what `train` left in ``request["trained"]``, if any."""
    data = open_dataset(Path(request["vectors"]))
    parameters = request["parameters"]
    if request["trained"]:
        parameters = parameters | {"trained": Path(request["trained"])}
    return strategies.builder(request["index"]).build(Path(request["folder"]), data.base, data.metric, **parameters)


def time_strategy(request: dict[str, Any]) -> dict[str, Any]:
    """Tune the strategy (unless ``setting`` is given), then time every query alone, ``passes`` times over.

    Saves ``durations`` (int64 ns, (passes, queries)) and ``recall`` (float64, (queries,)) as ``.npy`` beside each
    other in ``request["folder"]``; returns the setting, the curve, the first query's time, what the stages take and
    lose, and of a strategy on a GPU which one.
    """
    import faiss
    import numpy as np

    faiss.omp_set_num_threads(1)
    data, strategy = _open(request)
    queries, warmup = np.array(data.queries), np.array(data.warmup)

    def ask(query: Any) -> Any:
        return strategy.search(query, K)

    strategy.tune(request["setting"] or strategy.settings[0])
    first, _ = time_calls(ask, warmup[:1], passes=1)
    answer: dict[str, Any] = {"setting": request["setting"], "first_touch_ns": int(first[0, 0])}
    if answer["setting"] is None:
        tuned = _tune(strategy, data, open_truth(Path(request["truth"]), "tuning"), request)
        missed = tuned.shortfall(request["recall_target"])
        answer |= {"setting": tuned.setting, "reached": tuned.reached, "shortfall": missed, "curve": tuned.curve}
    strategy.tune(answer["setting"])
    durations, found = time_calls(ask, queries, passes=request["passes"], warmup=warmup)

    truth = open_truth(Path(request["truth"]), "queries")
    np.save(Path(request["folder"], "durations.npy"), durations)
    np.save(
        Path(request["folder"], "recall.npy"),
        recall.per_query(found, truth, data.exact("base"), data.exact("queries"), K, data.metric),
    )
    versions = {"faiss": faiss.__version__, "nmslib": version("nmslib"), "numpy": np.__version__}
    gpu = getattr(strategy, "gpu", None)
    return answer | {"stages": _stages(strategy, queries, truth.ids[:, :K]), "versions": versions, "gpu": gpu}


def open_loop_latency(request: dict[str, Any]) -> dict[str, Any]:
    """Serve queries at ``request["rate"]`` per second for ``request["seconds"]``, on one thread.

    Saves ``latencies`` (int64 ns, one per query served) as ``.npy``.
    """
    import faiss
    import numpy as np

    faiss.omp_set_num_threads(1)
    data, strategy = _open(request)
    strategy.tune(request["setting"])
    for query in np.array(data.warmup):
        strategy.search(query, K)
    load = open_loop(
        lambda query: strategy.search(query, K), np.array(data.queries), request["rate"], request["seconds"], seed=1
    )
    np.save(Path(request["folder"], "latencies.npy"), load.latencies_ns)
    return open_loop_answer(load)


def throughput(request: dict[str, Any]) -> dict[str, Any]:
    """Hand over whole batches on ``request["threads"]`` threads for at least ``request["seconds"]``.

    Returns the queries per second of each pass.
    """
    import numpy as np

    data, strategy = _open(request)
    strategy.tune(request["setting"])
    queries, size = np.array(data.queries), request["batch"]
    batches = [queries[start : start + size] for start in range(0, len(queries), size)]
    strategy.search_many(np.array(data.warmup), K, request["threads"])
    found = closed_loop(lambda batch: strategy.search_many(batch, K, request["threads"]), batches, request["seconds"])
    per_pass = found.sizes.sum() / (found.durations_ns.sum(axis=1) / 1e9)
    return {"per_second": per_pass.tolist()}


def _open(request: dict[str, Any]) -> tuple[Dataset, Any]:
    data = open_dataset(Path(request["vectors"]))
    float(data.base[:, 0].sum())  # touch every page once, so that no query pays for reading the file
    indexes = {name: Path(folder) for name, folder in request["indexes"].items()}
    return data, strategies.load(request["strategy"], indexes, data.base, data.metric)


def _tune(strategy: Any, data: Dataset, truth: Any, request: dict[str, Any]) -> tuning.Tuned:
    """The recall-latency curve over the tuning queries, and the cheapest setting that reaches the target."""
    import numpy as np

    queries, warmup = np.array(data.tuning), np.array(data.warmup)[:_TUNING_WARMUP]

    def measure(setting: dict[str, int]) -> dict[str, Any]:
        strategy.tune(setting)
        durations, found = time_calls(lambda query: strategy.search(query, K), queries, passes=1, warmup=warmup)
        reached = recall.per_query(found, truth, data.exact("base"), data.exact("tuning"), K, data.metric)
        seconds = durations[0] / 1e9
        return {
            "recall": float(reached.mean()),
            "latency_p50": float(np.quantile(seconds, 0.50, method="higher")),
            "latency_p95": float(np.quantile(seconds, 0.95, method="higher")),
        }

    target, margin = request["recall_target"], request["recall_margin"]
    return tuning.cheapest(strategy.settings, measure, target, margin, whole_curve_to=_WHOLE_CURVE_TO)


def _stages(strategy: Any, queries: Any, truth: Any) -> dict[str, float]:
    """Mean seconds per stage, and the share of the true neighbours (queries, K) that are still there after it.

    In passes of their own, so that the clock readings between stages touch no latency.
    """
    import numpy as np

    if not hasattr(strategy, "route"):
        return {}
    routes, route = _timed_all(strategy.route, [(q,) for q in queries])
    scans, scan = _timed_all(strategy.scan, [(q, r, K) for q, r in zip(queries, routes, strict=True)])
    _, rerank = _timed_all(strategy.rerank, [(q, c, K) for q, c in zip(queries, scans, strict=True)])
    lists = strategy.list_of[truth]
    routed = [np.isin(row, found[0][0]).mean() for row, found in zip(lists, routes, strict=True)]
    scanned = [np.isin(row, found).mean() for row, found in zip(truth, scans, strict=True)]
    return {
        "route_seconds": route, "scan_seconds": scan, "rerank_seconds": rerank,
        "route_recall": float(np.mean(routed)), "scan_recall": float(np.mean(scanned)),
    }  # fmt: skip


def _timed_all(stage: Any, arguments: list[tuple]) -> tuple[list[Any], float]:
    durations, results = time_calls(lambda given: stage(*given), arguments, passes=1)
    return results, float(durations.mean()) / 1e9
