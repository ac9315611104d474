"""The stages of a search, each timed alone, and how many of the true neighbours each keeps."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from nightgate.errors import NotMeasured
from nightgate.measure.clock import time_calls
from nightgate.vector_search.in_process import tuned
from nightgate.vector_search.session import Setting
from nightgate.vector_search.strategy import Staged
from nightgate.vector_search.timed import Work
from nightgate.vectors import recall
from nightgate.vectors.dataset import Dataset
from nightgate.vectors.truth import Truth, open_truth


@dataclass(frozen=True)
class Stages:
    """Mean seconds of each stage, and which share of the k nearest is still there after routing and after the scan."""

    route_seconds: float
    scan_seconds: float
    rerank_seconds: float
    route_recall: float
    scan_recall: float


@dataclass(frozen=True)
class StagesRequest:
    work: Work
    setting: Setting


def time_stages(request: StagesRequest) -> Stages:
    """Each stage timed alone, in passes and a process of their own, so that the clock readings between them touch no
    latency; see `stages_of`."""
    data, strategy = tuned(request.work, request.setting)
    if not isinstance(strategy, Staged):
        raise NotMeasured(f"{strategy.name} has no stages")
    for query in request.work.subject.encode(data.warmup):
        strategy.search(query, request.work.k)
    return stages_of(strategy, data, open_truth(request.work.truth, "queries"), request.work.k)


def stages_of(strategy: Staged, data: Dataset, truth: Truth, k: int) -> Stages:
    """Mean seconds per stage, and which share of the k nearest is in the lists to scan, and among the candidates, where a
    row as near as the k-th stands for it.

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
    return Stages(
        route_seconds=route,
        scan_seconds=scan,
        rerank_seconds=rerank,
        route_recall=float(routed.mean()),
        scan_recall=float(scanned.mean()),
    )


def _timed_all(stage: Callable[..., Any], arguments: Sequence[tuple[Any, ...]]) -> tuple[list[Any], float]:
    durations, results = time_calls(lambda given: stage(*given), arguments, passes=1)
    return results, float(durations.mean()) / 1e9
