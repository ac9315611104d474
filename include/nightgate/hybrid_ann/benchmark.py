"""The hybrid ANN benchmark: prepare builds data, ground truth and indexes; measure times each strategy alone."""

from __future__ import annotations

import logging
import os
import tempfile
from pathlib import Path
from typing import Any

from nightgate.artifacts import Cache
from nightgate.errors import NightgateError, Unavailable
from nightgate.hybrid_ann.settings import Settings
from nightgate.hybrid_ann.strategies import FORMAT
from nightgate.measure import estimates, host
from nightgate.measure.child import run_child
from nightgate.measure.samples import save
from nightgate.record import Device, Record, utc_now
from nightgate.vectors import data

log = logging.getLogger(__name__)

_FAMILY = {"hnsw": "hnsw", "ivfpq_refine": "ivfpq", "hybrid": "ivfpq"}
_LATENCIES = (("latency_p50", 0.50), ("latency_p95", 0.95), ("latency_p99", 0.99))


def prepare(settings: Settings, device: Device, cache: Cache) -> dict[str, Any]:
    """Build what is missing: vectors, ground truth, one index per family that the variants need.

    Raises:
        Unavailable: on ``gpu``, when faiss sees no device.
    """
    if device == "gpu":
        raise _no_gpu()
    threads = settings.threads or os.cpu_count() or 1
    sources = data.prepare(
        cache, rows=settings.rows, dim=settings.dim, queries=settings.queries, seed=settings.seed, threads=threads
    )
    families = {_FAMILY[variant] for variant in (*settings.variants, *settings.controls)}
    indexes = {family: _index(settings, family, sources["vectors"], threads, cache) for family in sorted(families)}
    return {**sources, "indexes": indexes}


def measure(settings: Settings, device: Device, prepared: dict[str, Any], samples: Path) -> list[Record]:
    """One record per variant. A variant that fails is recorded as failed, and the next one is measured."""
    records, arrays = [], {}
    for variant in (*settings.variants, *settings.controls):
        record = Record(
            benchmark="hybrid_ann", variant=variant, device=device, status="measured", samples=samples.name,
            settings=settings.model_dump(mode="json"), host=host.describe(), started_at=utc_now(),
        )  # fmt: skip
        try:
            durations, recall = _time(settings, variant, prepared, record)
        except NightgateError as error:
            log.error("%s: %s", variant, error)
            record.status, record.reason, record.samples = "failed", str(error), None
        else:
            _estimate(record, durations, recall)
            arrays |= {f"{variant}/durations_ns": durations, f"{variant}/recall": recall}
        record.finished_at = utc_now()
        records.append(record)
    if arrays:
        save(samples, arrays)
    return records


def _index(settings: Settings, family: str, vectors: str, threads: int, cache: Cache) -> dict[str, Any]:
    parameters = {}
    if family == "hnsw":
        parameters = {"m": settings.hnsw_m, "ef_construction": settings.hnsw_ef_construction, "threads": threads}
    request = {"family": family, "vectors": vectors, "parameters": parameters}

    def build(folder: Path) -> dict[str, Any]:
        built = run_child("nightgate.hybrid_ann.timed:build", request | {"folder": str(folder)}, threads=threads)
        return built.value | {"build_seconds": built.wall_seconds, "peak_rss_bytes": built.peak_rss_bytes}

    made = cache.get(family, request | {"format": FORMAT}, build)
    return {"folder": str(made.path), "bytes": made.size, **made.facts}


def _time(settings: Settings, variant: str, prepared: dict[str, Any], record: Record) -> tuple[Any, Any]:
    """Time one variant in fresh processes; the first one tunes. Returns durations (passes, queries) and recalls."""
    import numpy as np

    index = prepared["indexes"][_FAMILY[variant]]
    request = {
        "variant": variant, "index": index["folder"], "vectors": prepared["vectors"], "truth": prepared["truth"],
        "refine": settings.refine, "passes": settings.passes, "recall_target": settings.recall_target,
    }  # fmt: skip
    durations, answers, peak = [], [], 0
    for process in range(settings.processes):
        with tempfile.TemporaryDirectory(prefix="nightgate-ann-") as folder:
            log.info("%s: process %d of %d", variant, process + 1, settings.processes)
            child = run_child("nightgate.hybrid_ann.timed:time_strategy", request | {"folder": folder}, threads=1)
            durations.append(np.load(Path(folder, "durations.npy")))
            recall = np.load(Path(folder, "recall.npy"))
        answers.append(child.value)
        peak = max(peak, child.peak_rss_bytes)
        request["knob"] = child.value["knob"]
    record.add("first_touch", answers[0]["first_touch_ns"] / 1e9)
    for stage, seconds in answers[0]["stages"].items():
        record.add(f"{stage}_seconds", seconds, n=settings.queries)
    record.add("build_seconds", index["build_seconds"])
    record.add("index_bytes", index["bytes"])
    record.add("peak_rss_bytes", peak)
    record.detail = {
        "data": prepared["data"],
        "knob": answers[0]["knob"], "tuning_reached_target": answers[0]["reached"], "tuning": answers[0]["curve"],
        "build_peak_rss_bytes": index["peak_rss_bytes"], "index": {k: index[k] for k in ("lists", "pq") if k in index},
        "versions": answers[0]["versions"],
    }  # fmt: skip
    return np.concatenate(durations), recall


def _estimate(record: Record, durations: Any, recall: Any) -> None:
    import numpy as np

    record.add("recall_at_100", *estimates.mean(recall))
    record.add("recall_p5", float(np.quantile(recall, 0.05)), n=len(recall))
    for name, q in _LATENCIES:
        record.add(name, *estimates.quantile(durations / 1e9, q, independent=durations.shape[1]))
    record.add("qps", 1e9 / float(durations.mean()), n=durations.size)


def _no_gpu() -> Unavailable:
    if host.gpu_name() is None:
        return Unavailable("this host has no NVIDIA device")
    return Unavailable(
        f"the hybrid has no GPU path yet, so {host.gpu_name()} stays idle", "measure it on the cpu device"
    )
