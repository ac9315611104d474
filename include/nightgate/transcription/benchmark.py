"""Transcription: how long an engine takes for a second of speech (xRT), and how well it hears (WER)."""

from __future__ import annotations

import logging
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nightgate.artifacts.cache import Cache
from nightgate.errors import NightgateError, Unavailable
from nightgate.measure import estimates, host
from nightgate.measure.child import ChildResult, run_child
from nightgate.measure.samples import save
from nightgate.record import Device, Record, utc_now
from nightgate.transcription import engines, models, scoring
from nightgate.transcription.clips import clip_set, read_clips
from nightgate.transcription.settings import Settings
from nightgate.transcription.whisper_batch import batch_size_cpu

if TYPE_CHECKING:
    import numpy as np

log = logging.getLogger(__name__)

NAME = "transcription"
_SLOWEST_XRT = 20  # a child slower than this is given up


def prepare(settings: Settings, device: Device, cache: Cache) -> dict[str, Any]:
    """The model as a ggml file and the clips, both from the cache.

    Raises:
        Unavailable: ``device`` is "gpu": no engine here runs on one.
        InputError: there is no such model. ArtifactError: the model is not usable.
    """
    if device == "gpu":
        raise _no_gpu()
    model = models.resolve(settings.model, cache)
    clips = clip_set(settings.audio_seconds, cache)
    return {"model": model, "clips": {"folder": str(clips.path), **clips.facts}}


def measure(settings: Settings, device: Device, prepared: dict[str, Any], samples: Path) -> list[Record]:
    """One record per variant; durations go to ``samples`` as ``<variant>/durations_ns``, int64, (repeats, clips)."""
    if device == "gpu":
        raise _no_gpu()
    raw: dict[str, np.ndarray] = {}
    records = []
    for variant in (*settings.variants, *settings.controls):
        record = Record(
            benchmark=NAME, variant=variant, device=device, status="measured", host=host.describe(),
            settings=settings.model_dump(mode="json"), started_at=utc_now(),
        )  # fmt: skip
        try:
            durations = _measure_variant(record, settings, prepared)
        except NightgateError as error:
            record.status, record.reason = "failed", str(error)
            log.warning("%s/%s: %s", NAME, variant, error)
        else:
            raw[f"{variant}/durations_ns"] = durations
            record.samples = samples.name
        record.finished_at = utc_now()
        records.append(record)
    if raw:
        save(samples, raw)
    return records


def _measure_variant(record: Record, settings: Settings, prepared: dict[str, Any]) -> np.ndarray:
    """Fill ``record`` in; returns int64 nanoseconds, shape (repeats, clips)."""
    folder = Path(prepared["clips"]["folder"])
    clips = read_clips(folder)
    threads = settings.threads or len(os.sched_getaffinity(0))
    batch_size = batch_size_cpu(settings.gpu_batch)
    audio_seconds = sum(clip["seconds"] for clip in clips)
    record.detail = {
        "model": {name: prepared["model"][name] for name in ("name", "source", "bytes", "sha256")},
        "clips": {name: prepared["clips"][name] for name in ("count", "repeated", "sha256")},
        "audio_seconds": audio_seconds,
        "threads": threads,
        "batch_size_cpu": batch_size,
        "decoding": engines.DECODING,
    }
    request = {
        "variant": record.variant,
        "model": prepared["model"]["path"],
        "threads": threads,
        "clips": [str(folder / clip["file"]) for clip in clips],
        "batch_size": batch_size,
        "repeats": settings.repeats,
    }
    timeout = 120 + _SLOWEST_XRT * audio_seconds * (settings.repeats + 1)
    child, durations = _run(request, threads, timeout)
    transcripts = child.value["transcripts"]
    record.detail["versions"] = {record.variant: child.value["version"]}
    record.detail["transcripts"] = {clip["id"]: text for clip, text in zip(clips, transcripts, strict=True)}
    silent = [clip["id"] for clip, text in zip(clips, transcripts, strict=True) if not scoring.normalise(text)]
    if silent:  # its times stay as evidence, but no metric may be judged
        record.status, record.reason = "failed", f"{record.variant} returned no text for {', '.join(silent)}"
        return durations
    record.add("xrt", *estimates.ratio_of_sums(durations.sum(axis=1) / 1e9, audio_seconds))
    record.add("wer", *scoring.wer([clip["text"] for clip in clips], transcripts))
    record.add("load_seconds", child.value["load_seconds"])
    record.add("peak_rss_bytes", child.peak_rss_bytes)
    return durations


def _run(request: dict[str, Any], threads: int, timeout: float) -> tuple[ChildResult, np.ndarray]:
    import numpy as np

    with tempfile.TemporaryDirectory(prefix="nightgate-transcription-") as scratch:
        saved = Path(scratch, "durations.npy")
        target = "nightgate.transcription.timed:transcribe"
        child = run_child(target, request | {"durations": str(saved)}, threads=threads, timeout=timeout)
        return child, np.load(saved)


def _no_gpu() -> Unavailable:
    if (name := host.gpu_name()) is None:
        return Unavailable(
            "this host has no NVIDIA device", "measure transcription on the cpu, or run on a host with one"
        )
    return Unavailable(f"no installed transcription engine runs on {name}: both are CPU builds", "measure on the cpu")
