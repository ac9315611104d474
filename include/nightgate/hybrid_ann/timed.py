"""What runs in the child processes: build an index, and time one strategy."""

from __future__ import annotations

from importlib.metadata import version
from pathlib import Path
from typing import Any

from nightgate.hybrid_ann.settings import K
from nightgate.hybrid_ann.strategies import STRATEGIES, build_hnsw, build_ivfpq
from nightgate.measure.clock import time_calls
from nightgate.vectors import recall, synthetic, tuning
from nightgate.vectors.truth import open_truth


def build(request: dict[str, Any]) -> dict[str, Any]:
    """Build the index family ``request["family"]`` ("hnsw" or "ivfpq") into ``request["folder"]``."""
    folder, base = Path(request["folder"]), synthetic.open_dataset(Path(request["vectors"])).base
    if request["family"] == "hnsw":
        build_hnsw(folder, base, **request["parameters"])
        return {}
    return build_ivfpq(folder, base)


def time_strategy(request: dict[str, Any]) -> dict[str, Any]:
    """Tune the strategy (unless ``knob`` is given), then time every query alone, ``passes`` times over.

    Saves ``durations`` (int64 ns, (passes, queries)) and ``recall`` (float64, (queries,)) as ``.npy`` beside each
    other in ``request["folder"]``; returns the knob, the tuning curve, the first query's time and the stage times.
    """
    import faiss
    import numpy as np

    faiss.omp_set_num_threads(1)
    data = synthetic.open_dataset(Path(request["vectors"]))
    queries, warmup = np.array(data.queries), np.array(data.warmup)
    truth_folder = Path(request["truth"])
    float(data.base[:, 0].sum())  # touch every page once, so that no query pays for reading the file
    strategy = STRATEGIES[request["variant"]](Path(request["index"]), data.base, request["refine"])

    answer: dict[str, Any] = {"knob": request.get("knob")}
    if answer["knob"] is None:
        tuned = _tune(strategy, data, open_truth(truth_folder, "tuning"), request["recall_target"])
        answer |= {"knob": tuned.setting, "reached": tuned.reached, "curve": tuned.curve}
    strategy.tune(answer["knob"])

    first, _ = time_calls(lambda query: strategy.search(query, K), warmup[:1], passes=1)
    durations, found = time_calls(
        lambda query: strategy.search(query, K), queries, passes=request["passes"], warmup=warmup
    )
    np.save(Path(request["folder"], "durations.npy"), durations)
    truth = open_truth(truth_folder, "queries")
    np.save(Path(request["folder"], "recall.npy"), recall.per_query(found, truth, data.base, queries, K))
    versions = {"faiss": faiss.__version__, "nmslib": version("nmslib"), "numpy": np.__version__}
    return answer | {"first_touch_ns": int(first[0, 0]), "stages": _stages(strategy, queries), "versions": versions}


def _tune(strategy: Any, data: synthetic.Dataset, truth: Any, target: float) -> tuning.Tuned:
    import numpy as np

    queries = np.array(data.tuning)

    def reached(knob: int) -> float:
        strategy.tune(knob)
        return float(recall.per_query([strategy.search(q, K) for q in queries], truth, data.base, queries, K).mean())

    return tuning.cheapest(strategy.knobs, reached, target)


def _stages(strategy: Any, queries: Any) -> dict[str, float]:
    """Mean seconds per stage, in a pass of its own, so that the clock readings between stages touch no latency."""
    if not hasattr(strategy, "stages"):
        return {}
    routes, route = _timed_all(strategy.route, [(q,) for q in queries])
    scans, scan = _timed_all(strategy.scan, [(q, r, K) for q, r in zip(queries, routes, strict=True)])
    _, rerank = _timed_all(strategy.rerank, [(q, c, K) for q, c in zip(queries, scans, strict=True)])
    return {"route": route, "scan": scan, "rerank": rerank}


def _timed_all(stage: Any, arguments: list[tuple]) -> tuple[list[Any], float]:
    durations, results = time_calls(lambda given: stage(*given), arguments, passes=1)
    return results, float(durations.mean()) / 1e9
