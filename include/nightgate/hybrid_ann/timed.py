"""What runs in the child processes: look for the GPU, build an index, time one strategy, put it under load.

Each is called by its name, see `measure.child`. Of a strategy all take: ``vectors`` (the folder of the data set),
``strategy``, ``indexes`` (name → folder), ``setting`` and ``k``, the neighbours that every query is asked for.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from contextlib import suppress
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from nightgate.errors import NotMeasured, Unavailable
from nightgate.hybrid_ann import strategies
from nightgate.hybrid_ann.batches import BatchRate, sweep
from nightgate.measure.clock import time_calls
from nightgate.measure.load import closed_loop, open_loop
from nightgate.vectors import recall, tuning
from nightgate.vectors.dataset import Dataset, open_dataset
from nightgate.vectors.latency import open_loop_answer
from nightgate.vectors.places import open_places
from nightgate.vectors.truth import open_truth

log = logging.getLogger(__name__)

_WHOLE_CURVE_TO = 0.995
_TUNING_WARMUP = 50
_PEERS = ("nmslib", "hnswlib", "usearch")


def see_gpu(variants: Sequence[str]) -> dict[str, Unavailable]:
    """Why a variant cannot run on the GPU of this host, for each that cannot; in a child, so that the parent loads no CUDA
    library."""
    missing = {}
    for variant in variants:
        try:
            log.info("%s on a gpu: %s", variant, strategies.see_device(variant))
        except Unavailable as error:
            missing[variant] = error
    return missing


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

    Saves as ``.npy`` beside each other in ``request["folder"]``: ``durations`` (int64 ns, (passes, queries)); ``recalls``
    (float64, (depths, queries)), one line for each of ``request["depths"]``: how many of the first so many answers are
    among as many true neighbours; ``ids``, the answers of the first pass (int64, (queries, k), -1 where one is missing),
    numbered as in the user's file if there is one.

    Returns:
        the ``setting``; where it was looked for ``reached``, ``shortfall`` and the ``curve``; ``first_touch_ns``, the
        first query's time; ``staged``, whether `time_stages` can be called; ``versions``; ``gpu`` or None.
    """
    import faiss
    import numpy as np

    faiss.omp_set_num_threads(1)
    data, strategy = _open(request)
    queries, warmup, k = np.array(data.queries), np.array(data.warmup), request["k"]

    def ask(query: Any) -> Any:
        return strategy.search(query, k)

    strategy.tune(request["setting"] or strategy.settings[0])
    first, _ = time_calls(ask, warmup[:1], passes=1)
    answer: dict[str, Any] = {"setting": request["setting"], "first_touch_ns": int(first[0, 0])}
    if answer["setting"] is None:
        tuned = _tune(strategy, data, open_truth(Path(request["truth"]), "tuning"), request)
        missed = tuned.shortfall(request["recall_target"])
        answer |= {"setting": tuned.setting, "reached": tuned.reached, "shortfall": missed, "curve": tuned.curve}
    strategy.tune(answer["setting"])
    durations, found = time_calls(ask, queries, passes=request["passes"], warmup=warmup)

    truth, places = open_truth(Path(request["truth"]), "queries"), open_places(Path(request["vectors"]))
    base, exact = data.exact("base"), data.exact("queries")
    recalls = [recall.per_query(found, truth, base, exact, depth, data.metric) for depth in request["depths"]]
    ids = _rectangle(found, k)
    saved = {"durations": durations, "recalls": recalls, "ids": places.in_file_order(ids) if places else ids}
    for name, array in saved.items():
        np.save(Path(request["folder"], f"{name}.npy"), array)
    staged, gpu = hasattr(strategy, "route"), getattr(strategy, "gpu", None)
    return answer | {"staged": staged, "versions": _versions(), "gpu": gpu}


def time_stages(request: dict[str, Any]) -> dict[str, Any]:
    """Mean seconds per stage, and the share of the true neighbours that are still there after it: see `_stages`.

    In passes and a process of their own, so that the clock readings between stages touch no latency.
    """
    import faiss
    import numpy as np

    faiss.omp_set_num_threads(1)
    data, strategy = _open(request)
    strategy.tune(request["setting"])
    for query in np.array(data.warmup):
        strategy.search(query, request["k"])
    return _stages(strategy, data, open_truth(Path(request["truth"]), "queries"), request["k"])


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
        strategy.search(query, request["k"])
    load = open_loop(
        lambda query: strategy.search(query, request["k"]),
        np.array(data.queries),
        request["rate"],
        request["seconds"],
        seed=1,
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
    strategy.search_many(np.array(data.warmup), request["k"], request["threads"])

    def ask_many(batch: Any) -> Any:
        return strategy.search_many(batch, request["k"], request["threads"])

    found = closed_loop(ask_many, batches, request["seconds"])
    per_pass = found.sizes.sum() / (found.durations_ns.sum(axis=1) / 1e9)
    return {"per_second": per_pass.tolist()}


def batches(request: dict[str, Any]) -> list[BatchRate]:
    """Hand over the measured queries in batches of each size, on ``request["threads"]`` threads; see `sweep`."""
    import numpy as np

    data, strategy = _open(request)
    strategy.tune(request["setting"])
    k, truth = request["k"], open_truth(Path(request["truth"]), "queries")
    base, exact = data.exact("base"), data.exact("queries")
    return sweep(
        lambda batch: strategy.search_many(batch, k, request["threads"]),
        np.array(data.queries),
        lambda answers: float(recall.per_query(answers, truth, base, exact, k, data.metric).mean()),
        request["seconds"],
        loop=closed_loop,
    )


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
        durations, found = time_calls(
            lambda query: strategy.search(query, request["k"]), queries, passes=1, warmup=warmup
        )
        reached = recall.per_query(found, truth, data.exact("base"), data.exact("tuning"), request["k"], data.metric)
        seconds = durations[0] / 1e9
        return {
            "recall": float(reached.mean()),
            "latency_p50": float(np.quantile(seconds, 0.50, method="higher")),
            "latency_p95": float(np.quantile(seconds, 0.95, method="higher")),
        }

    target, margin = request["recall_target"], request["recall_margin"]
    return tuning.cheapest(strategy.settings, measure, target, margin, whole_curve_to=_WHOLE_CURVE_TO)


def _stages(strategy: Any, data: Dataset, truth: Any, k: int) -> dict[str, float]:
    """``route_seconds``, ``scan_seconds``, ``rerank_seconds``; ``route_recall`` and ``scan_recall``: which share of the
    k nearest is in the lists to scan, and among the candidates, where a row as near as the k-th stands for it.

    Raises:
        NotMeasured: there is a candidate out of a list that was not to be scanned.
    """
    import numpy as np

    queries, exact, metric = np.array(data.queries), truth.ids[:, :k], data.metric
    routes, route = _timed_all(strategy.route, [(q,) for q in queries])
    scans, scan = _timed_all(strategy.scan, [(q, r, k) for q, r in zip(queries, routes, strict=True)])
    _, rerank = _timed_all(strategy.rerank, [(q, c, k) for q, c in zip(queries, scans, strict=True)])
    base, asked = data.exact("base"), data.exact("queries")
    routed, scanned = np.empty(len(queries)), np.empty(len(queries))
    for row, (to_scan, candidates) in enumerate(zip(routes, scans, strict=True)):
        ids = np.unique(candidates[candidates >= 0])
        if strays := np.count_nonzero(~np.isin(strategy.list_of[ids], to_scan[0][0])):
            raise NotMeasured(f"query {row} has {strays} candidates out of lists that were not to be scanned")
        scanned[row] = min(k, recall.reaching(ids, exact[row, -1], base, asked[row], metric)) / k
        # and so what the scan has found was in the lists, also where it ties with the k-th
        routed[row] = max(scanned[row], np.isin(strategy.list_of[exact[row]], to_scan[0][0]).mean())
    return {
        "route_seconds": route, "scan_seconds": scan, "rerank_seconds": rerank,
        "route_recall": float(routed.mean()), "scan_recall": float(scanned.mean()),
    }  # fmt: skip


def _timed_all(stage: Any, arguments: list[tuple]) -> tuple[list[Any], float]:
    durations, results = time_calls(lambda given: stage(*given), arguments, passes=1)
    return results, float(durations.mean()) / 1e9


def _rectangle(answers: list[Any], k: int) -> Any:
    """The first k ids of each answer, int64, (answers, k), -1 where one is missing."""
    import numpy as np

    ids = np.full((len(answers), k), -1, np.int64)
    for row, answer in zip(ids, answers, strict=True):
        row[: len(answer)] = answer[:k]
    return ids


def _versions() -> dict[str, str]:
    """Of the libraries that answer, those that are installed."""
    import faiss
    import numpy as np

    found = {"faiss": faiss.__version__, "numpy": np.__version__}
    for package in _PEERS:
        with suppress(PackageNotFoundError):
            found[package] = version(package)
    return found
