"""The hybrid ANN benchmark: prepare builds data, ground truth and indexes; measure times each strategy alone."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from nightgate.artifacts import Cache
from nightgate.errors import NightgateError, NotMeasured, Unavailable
from nightgate.hybrid_ann import strategies, timed
from nightgate.hybrid_ann.evidence import Evidence
from nightgate.hybrid_ann.indexes import build_index
from nightgate.hybrid_ann.metrics import BUILD_PEAK_RSS
from nightgate.hybrid_ann.settings import Settings
from nightgate.measure import devices, host
from nightgate.measure.child import ChildResult, run_child
from nightgate.measure.samples import save
from nightgate.record import Device, Record, utc_now
from nightgate.vectors import data
from nightgate.vectors.metrics import BUILD_SECONDS, INDEX_BYTES
from nightgate.vectors.places import open_places

log = logging.getLogger(__name__)


def prepare(settings: Settings, device: Device, cache: Cache) -> dict[str, Any]:
    """Build what is missing: vectors, ground truth, and the indexes that the variants read, each by itself.

    Returns:
        what `data.prepare` does; ``indexes``: name → what `build_index` tells; ``failed``: name → why it was not built;
        ``missing``: variant → why it cannot be measured on this host.

    Raises:
        Unavailable: on ``gpu``, when there is none, or nothing that was asked for runs there.
        NotMeasured: no gated strategy is installed. DriverError: the GPU's driver does not work.
        InputError: the user's data set cannot be used.
    """
    missing = _missing(settings, device)
    _refuse_nothing(settings, device, missing)
    threads = _threads(settings)
    sources = data.prepare(cache, source=settings.source, threads=threads)
    variants = [variant for variant in (*settings.variants, *settings.controls) if variant not in missing]
    indexes: dict[str, Any] = {}
    failed: dict[str, str] = {}
    for name in sorted({name for variant in variants for name in _reads(variant, device)}):
        try:
            indexes[name] = build_index(name, settings, sources["vectors"], threads, cache)
        except Unavailable as error:
            missing |= {variant: error for variant in variants if name in _reads(variant, device)}
        except Exception as error:  # whatever it is, the strategies that do not read this index are measured
            failed[name] = f"the index {name} was not built: {str(error) or type(error).__name__}"
            log.error("%s", failed[name], exc_info=not isinstance(error, NightgateError))
    _refuse_nothing(settings, device, missing)
    return {
        **sources, "indexes": indexes, "failed": failed,
        "missing": {variant: str(error) for variant, error in missing.items()},
    }  # fmt: skip


def measure(settings: Settings, device: Device, prepared: dict[str, Any], samples: Path) -> list[Record]:
    """One record per variant that is made for ``device``. One that fails is recorded as failed, and the next is measured.

    Failed is only one whose queries could not be timed at all: what else is missing is said in its record.

    The strategies take turns, in the opposite order in every other process, so that a host that slows down meanwhile
    does not favour one of them.

    ``samples`` gets, per variant: durations_ns, int64, (passes, queries); recall at k, float64, (queries,); ids, int64,
    (queries, k), -1 where an answer is missing; open_loop_ns, int64, (queries served,). Of a user's file the ids are its
    row numbers, and there are query_rows and held_out, see `Places`.
    """
    import numpy as np

    variants = [v for v in (*settings.variants, *settings.controls) if strategies.made_for(v, device)]
    found = [Evidence(_record(settings, device, prepared, variant, samples)) for variant in variants]
    for one in found:
        if missing := prepared["missing"].get(one.variant):
            one.record.status, one.record.reason = "skipped", missing
        elif lost := [prepared["failed"][name] for name in _reads(one.variant, device) if name in prepared["failed"]]:
            one.fail("; ".join(lost))
    for process, one in _turns(found, settings.processes):
        log.info("%s: process %d of %d", one.variant, process + 1, settings.processes)
        step = partial(_one_by_one, settings, prepared)
        if process == 0:
            one.attempt(step)
        else:
            one.attempt_beside(f"process {process + 1} of {settings.processes}", step)
    places = open_places(Path(prepared["vectors"]))
    for one in found:
        one.add_places(places)
        if one.staged:
            one.attempt_beside("the time of each stage", partial(_stages, settings, prepared))
        if settings.load_seconds:
            one.attempt_beside("the open loop", partial(_open_loop, settings, prepared))
            one.attempt_beside("the throughput", partial(_throughput, settings, prepared))
            if device == "gpu" or one.record.gated:
                one.attempt_beside("the batches", partial(_batches, settings, prepared))
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

    depths = settings.recall_depths
    with tempfile.TemporaryDirectory(prefix="nightgate-ann-") as folder:
        request = {
            "folder": folder, "passes": settings.passes, "depths": depths,
            "recall_target": settings.recall_target, "recall_margin": settings.recall_margin,
        }  # fmt: skip
        child = _child("time_strategy", settings, prepared, one, request, threads=1)
        durations, recalls, ids = (np.load(Path(folder, f"{name}.npy")) for name in ("durations", "recalls", "ids"))
    one.add_process(child.value, durations, dict(zip(depths, recalls, strict=True)), ids, child.peak_rss_bytes)
    one.add_device_memory(child.device_memory)
    if child.value["gpu"]:
        one.record.detail["gpu"] = child.value["gpu"]


def _stages(settings: Settings, prepared: dict[str, Any], one: Evidence) -> None:
    one.add_stages(_child("time_stages", settings, prepared, one, {}, threads=1).value)


def _open_loop(settings: Settings, prepared: dict[str, Any], one: Evidence) -> None:
    import numpy as np

    with tempfile.TemporaryDirectory(prefix="nightgate-ann-") as folder:
        asked = {"rate": settings.arrival_rate, "seconds": settings.load_seconds}
        child = _child("open_loop_latency", settings, prepared, one, asked | {"folder": folder}, threads=1)
        one.add_open_loop(child.value, np.load(Path(folder, "latencies.npy")), **asked)


def _throughput(settings: Settings, prepared: dict[str, Any], one: Evidence) -> None:
    asked = {"threads": _threads(settings), "batch": settings.batch}
    request = asked | {"seconds": settings.load_seconds}
    child = _child("throughput", settings, prepared, one, request, threads=asked["threads"])
    one.add_throughput(child.value, **asked)


def _batches(settings: Settings, prepared: dict[str, Any], one: Evidence) -> None:
    threads = _threads(settings)
    request = {"threads": threads, "seconds": settings.load_seconds}
    one.add_batches(_child("batches", settings, prepared, one, request, threads=threads).value, threads=threads)


def _child(
    function: str, settings: Settings, prepared: dict[str, Any], one: Evidence, request: dict[str, Any], *, threads: int
) -> ChildResult:
    device = one.record.device
    request = request | {
        "strategy": strategies.on(device, one.variant), "setting": one.setting, "k": settings.k,
        "vectors": prepared["vectors"], "truth": prepared["truth"],
        "indexes": {name: prepared["indexes"][name]["folder"] for name in _reads(one.variant, device)},
    }  # fmt: skip
    return run_child(f"nightgate.hybrid_ann.timed:{function}", request, threads=threads, device=device)


def _record(settings: Settings, device: Device, prepared: dict[str, Any], variant: str, samples: Path) -> Record:
    record = Record(
        benchmark="hybrid_ann", variant=variant, device=device, status="measured", samples=samples.name,
        host=host.describe(), settings=settings.model_dump(mode="json"), started_at=utc_now(),
        detail={"data": prepared["data"], "recall_target": settings.recall_target, "threads": 1},
    )  # fmt: skip
    built = {name: index for name in _reads(variant, device) if (index := prepared["indexes"].get(name))}
    if built:
        record.add(BUILD_SECONDS, sum(index["build_seconds"] for index in built.values()))
        record.add(BUILD_PEAK_RSS, max(index["build_peak_rss_bytes"] for index in built.values()))
        record.add(INDEX_BYTES, sum(index["bytes"] for index in built.values()))
        if days := [index.get("trained_at", index["built_at"]) for index in built.values() if index.get("reused")]:
            record.facts.earlier = dict.fromkeys((BUILD_SECONDS.name, BUILD_PEAK_RSS.name), min(days))
        record.detail["index"] = {
            name: {key: value for key, value in index.items() if key != "folder"} for name, index in built.items()
        }
    return record


def _threads(settings: Settings) -> int:
    return settings.threads or len(os.sched_getaffinity(0))


def _reads(variant: str, device: Device) -> tuple[str, ...]:
    return strategies.READS[strategies.on(device, variant)]


def _missing(settings: Settings, device: Device) -> dict[str, Unavailable]:
    """Why a variant cannot be measured on this host, for each that cannot."""
    if device == "gpu":
        devices.required("measure hybrid_ann on the cpu, or run on a host with one")
    variants = (*settings.variants, *settings.controls)
    missing = {variant: error for variant in variants if (error := strategies.unavailable(variant, device))}
    left = [variant for variant in variants if variant not in missing]
    if device == "gpu" and left:
        missing |= run_child(timed.see_gpu, left, threads=1, device="gpu").value
    return missing


def _refuse_nothing(settings: Settings, device: Device, missing: Mapping[str, Unavailable]) -> None:
    """Raise when no gated strategy can be measured; on a GPU a control is enough, for there a gated one may be skipped."""
    enough = settings.variants if device == "cpu" else (*settings.variants, *settings.controls)
    if all(variant in missing for variant in enough):
        reason = "; ".join(dict.fromkeys(str(missing[variant]) for variant in settings.variants))
        raise Unavailable(reason) if device == "gpu" else NotMeasured(reason)
