"""The hybrid ANN benchmark: prepare builds data, ground truth and indexes; measure times each strategy alone."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

from nightgate.artifacts import Cache
from nightgate.errors import NotMeasured, Unavailable
from nightgate.hybrid_ann import strategies
from nightgate.hybrid_ann.evidence import Evidence
from nightgate.hybrid_ann.indexes import build_index
from nightgate.hybrid_ann.settings import Settings
from nightgate.measure import host
from nightgate.measure.child import ChildResult, run_child
from nightgate.measure.samples import save
from nightgate.record import Device, Record, utc_now
from nightgate.vectors import data

log = logging.getLogger(__name__)


def prepare(settings: Settings, device: Device, cache: Cache) -> dict[str, Any]:
    """Build what is missing: vectors, ground truth, and the indexes that the variants read.

    Raises:
        Unavailable: on ``gpu``, when faiss or cupy sees no device, or no gated strategy runs there.
        NotMeasured: no gated strategy is installed.
        InputError: the user's data set cannot be used.
    """
    if device == "gpu":
        _see_gpu()
    missing = [strategies.unavailable(variant, device) for variant in settings.variants]
    if all(missing):
        reason = "; ".join(str(error) for error in missing)
        raise Unavailable(reason) if device == "gpu" else NotMeasured(reason)
    threads = _threads(settings)
    sources = data.prepare(cache, source=settings.source, threads=threads)
    variants = [v for v in (*settings.variants, *settings.controls) if not strategies.unavailable(v, device)]
    names = sorted({name for variant in variants for name in _reads(variant, device)})
    return {**sources, "indexes": {n: build_index(n, settings, sources["vectors"], threads, cache) for n in names}}


def measure(settings: Settings, device: Device, prepared: dict[str, Any], samples: Path) -> list[Record]:
    """One record per variant that is made for ``device``. One that fails is recorded as failed, and the next is measured.

    The strategies take turns, in the opposite order in every other process, so that a host that slows down meanwhile
    does not favour one of them.

    ``samples`` gets, per variant: durations_ns, int64, (passes, queries); recall, float64, (queries,); open_loop_ns,
    int64, (queries served,).
    """
    import numpy as np

    variants = [v for v in (*settings.variants, *settings.controls) if strategies.made_for(v, device)]
    found = [Evidence(_record(settings, device, prepared, variant, samples)) for variant in variants]
    for one in found:
        if missing := strategies.unavailable(one.variant, device):
            one.record.status, one.record.reason = "skipped", str(missing)
    for process, one in _turns(found, settings.processes):
        log.info("%s: process %d of %d", one.variant, process + 1, settings.processes)
        one.attempt(partial(_one_by_one, settings, prepared))
    if settings.load_seconds:
        for one in found:
            one.attempt(partial(_open_loop, settings, prepared))
            one.attempt(partial(_throughput, settings, prepared))
    hardness = np.load(Path(prepared["truth"], "queries-hardness.npy"))
    raw = {f"{one.variant}/{name}": array for one in found for name, array in one.finish(hardness).items()}
    if raw:
        save(samples, raw)
    return [one.record for one in found]


def _turns(found: list[Evidence], processes: int) -> Iterator[tuple[int, Evidence]]:
    for process in range(processes):
        for one in found if process % 2 == 0 else reversed(found):
            yield process, one


def _one_by_one(settings: Settings, prepared: dict[str, Any], one: Evidence) -> None:
    """Time every query alone in a fresh process; the first process also tunes."""
    import numpy as np

    with tempfile.TemporaryDirectory(prefix="nightgate-ann-") as folder:
        request = {
            "folder": folder, "truth": prepared["truth"], "passes": settings.passes,
            "recall_target": settings.recall_target, "recall_margin": settings.recall_margin,
        }  # fmt: skip
        child = _child("time_strategy", prepared, one, request, threads=1)
        durations, recall = (np.load(Path(folder, f"{name}.npy")) for name in ("durations", "recall"))
    one.add_process(child.value, durations, recall, child.peak_rss_bytes)
    if child.value["gpu"]:
        one.record.detail["gpu"] = child.value["gpu"]


def _open_loop(settings: Settings, prepared: dict[str, Any], one: Evidence) -> None:
    import numpy as np

    with tempfile.TemporaryDirectory(prefix="nightgate-ann-") as folder:
        asked = {"rate": settings.arrival_rate, "seconds": settings.load_seconds}
        child = _child("open_loop_latency", prepared, one, asked | {"folder": folder}, threads=1)
        one.add_open_loop(child.value, np.load(Path(folder, "latencies.npy")), **asked)


def _throughput(settings: Settings, prepared: dict[str, Any], one: Evidence) -> None:
    asked = {"threads": _threads(settings), "batch": settings.batch}
    request = asked | {"seconds": settings.load_seconds}
    one.add_throughput(_child("throughput", prepared, one, request, threads=asked["threads"]).value, **asked)


def _child(
    function: str, prepared: dict[str, Any], one: Evidence, request: dict[str, Any], *, threads: int
) -> ChildResult:
    device = one.record.device
    request = request | {
        "strategy": strategies.on(device, one.variant), "setting": one.setting, "vectors": prepared["vectors"],
        "indexes": {name: prepared["indexes"][name]["folder"] for name in _reads(one.variant, device)},
    }  # fmt: skip
    return run_child(f"nightgate.hybrid_ann.timed:{function}", request, threads=threads, device=device)


def _record(settings: Settings, device: Device, prepared: dict[str, Any], variant: str, samples: Path) -> Record:
    record = Record(
        benchmark="hybrid_ann", variant=variant, device=device, status="measured", samples=samples.name,
        host=host.describe(),        settings=settings.model_dump(mode="json"), started_at=utc_now(),
        detail={"data": prepared["data"], "recall_target": settings.recall_target, "threads": 1},
    )  # fmt: skip
    reads = _reads(variant, device)
    built = [prepared["indexes"][name] for name in reads if name in prepared["indexes"]]
    if built:
        record.add("build_seconds", sum(index["build_seconds"] for index in built))
        record.add("build_peak_rss_bytes", max(index["build_peak_rss_bytes"] for index in built))
        record.add("index_bytes", sum(index["bytes"] for index in built))
        facts = [{key: value for key, value in index.items() if key != "folder"} for index in built]
        record.detail["index"] = dict(zip(reads, facts, strict=True))
    return record


def _threads(settings: Settings) -> int:
    return settings.threads or len(os.sched_getaffinity(0))


def _reads(variant: str, device: Device) -> tuple[str, ...]:
    return strategies.READS[strategies.on(device, variant)]


def _see_gpu() -> None:
    """Raise `Unavailable` when the driver, faiss or cupy sees no device."""
    if host.gpu_name() is None:
        raise Unavailable("this host has no NVIDIA device")
    run_child("nightgate.hybrid_ann.timed:see_gpu", {}, threads=1, device="gpu")
