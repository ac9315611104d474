"""Transcription: how long an engine takes for a second of speech (xRT), and how well it hears (WER)."""

from __future__ import annotations

import logging
import os
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nightgate.artifacts.cache import Cache
from nightgate.errors import InputError, NotMeasured, Unavailable
from nightgate.measure import devices, host
from nightgate.measure.child import ChildResult, run_child
from nightgate.measure.samples import save
from nightgate.record import Device, Record, utc_now
from nightgate.transcription import engines, scoring
from nightgate.transcription.clips.folder import read_clips
from nightgate.transcription.clips.sets import clip_set, user_clip_set
from nightgate.transcription.evidence import Evidence
from nightgate.transcription.languages import contradiction, judged_by
from nightgate.transcription.models.look import look_at
from nightgate.transcription.models.resolve import ctranslate2_folder, resolve
from nightgate.transcription.settings import Settings
from nightgate.transcription.timed import AT_WORK
from nightgate.transcription.whisper_batch import batch_size_cpu, splits

if TYPE_CHECKING:
    import numpy as np

log = logging.getLogger(__name__)

NAME = "transcription"
_PROCESSES = 2
_SLOWEST_XRT = 20  # a child slower than this is given up


def prepare(settings: Settings, device: Device, cache: Cache) -> dict[str, Any]:
    """The model as a ggml file and the clips, both from the cache.

    Raises:
        Unavailable: ``device`` is "gpu" and the host has none, or no gated engine runs on it.
        InputError: a clip is labelled with another language than the run's.
        NotMeasured: no gated engine is installed. DriverError: the GPU's driver does not work.
        ArtifactError: the model or a clip is not usable.
    """
    if device == "gpu":
        devices.required("measure transcription on the cpu, or run on a host with one")
    missing = [engines.unavailable(variant, device, None, settings.decoding) for variant in settings.gated(device)]
    if all(missing):
        reason = "; ".join(str(error) for error in missing)
        raise Unavailable(reason) if device == "gpu" else NotMeasured(reason)
    model = resolve(settings.model, cache) | {
        "ctranslate2": _text(ctranslate2_folder(settings.model)), "ftype": look_at(settings.model).ftype,
    }  # fmt: skip
    if settings.clips:
        clips = user_clip_set(Path(settings.clips), settings.exclude, cache)
    else:
        clips = clip_set(settings.audio_seconds, cache)
    _must_be_in_the_language(settings, read_clips(clips.path))
    return {"model": model, "clips": {"folder": str(clips.path), **clips.facts}}


def measure(settings: Settings, device: Device, prepared: dict[str, Any], samples: Path) -> list[Record]:
    """One record per variant that is made for ``device``; one that is not installed is skipped with the install line.

    The repeats are split between two fresh processes per engine. The engines take turns, in the opposite order the
    second time, so that a host that slows down meanwhile does not favour one of them.

    ``samples`` gets, per variant: durations_ns and first_segment_ns, int64, shape (repeats, clips); xrt_repeats,
    float64, (repeats,); wer_errors, wer_words, cer_errors and cer_characters, int64, (clips,); batch_seconds, float64,
    (passes,). What was heard goes to ``<samples>-<variant>.jsonl`` beside it.
    """
    clips = read_clips(Path(prepared["clips"]["folder"]))
    found = [
        Evidence(_record(settings, device, prepared, clips, variant), clips, settings.language)
        for variant in (*settings.gated(device), *settings.beside(device))
        if engines.made_for(variant, device)
    ]
    model = _model(prepared)
    for one in found:
        if missing := engines.unavailable(one.variant, device, model, settings.decoding):
            one.record.status, one.record.reason = "skipped", str(missing)
    for process, one in _turns(found):
        repeats = settings.repeats // _PROCESSES + (process < settings.repeats % _PROCESSES)
        one.attempt(partial(_one_by_one, settings, device, prepared, repeats))
    for one in found:
        one.attempt_beside("batch", partial(_in_batches, settings, device, prepared))
    raw: dict[str, np.ndarray] = {}
    for one in found:
        raw |= one.finish(samples)
    if raw:
        save(samples, raw)
    return [one.record for one in found]


def _turns(found: list[Evidence]) -> Iterator[tuple[int, Evidence]]:
    for process in range(_PROCESSES):
        for one in found if process % 2 == 0 else reversed(found):
            yield process, one


def _one_by_one(settings: Settings, device: Device, prepared: dict[str, Any], repeats: int, one: Evidence) -> None:
    import numpy as np

    request = _request(settings, device, prepared, one.variant, one.clips)
    with tempfile.TemporaryDirectory(prefix="nightgate-transcription-") as scratch:
        saved = Path(scratch, "spent.npy")
        request |= {"repeats": repeats, "saved": str(saved)}
        child = _child("one_by_one", request, one.audio_seconds * (repeats + 1))
        one.add_process(child, np.load(saved))


def _in_batches(settings: Settings, device: Device, prepared: dict[str, Any], one: Evidence) -> None:
    size = settings.gpu_batch if device == "gpu" else batch_size_cpu(settings.gpu_batch)
    places = _whole_batches(one.clips, settings.batch_seconds, size)
    clips = [one.clips[place] for place in places]
    request = _request(settings, device, prepared, one.variant, clips)
    most = min(size, len(clips), _contexts_that_fit(prepared["model"]["bytes"]))
    if engines.has_batches(one.variant):  # contexts of one process would contend for Python's lock
        most = 1
    request |= {
        "batch_size": size,
        "passes": settings.batch_repeats,
        "splits": splits(request["threads"], most, device),
        "in_one_call": engines.in_one_call(one.variant, settings.decoding),
        "alone": one.seconds_one_by_one(places),
    }
    child = _child("in_batches", request, 2 * settings.batch_repeats * sum(clip["seconds"] for clip in clips))
    one.add_batches(child, size, places)


def _whole_batches(clips: list[dict[str, Any]], seconds: float, size: int) -> list[int]:
    """Places of the first clips that make up ``seconds``, rounded up to whole batches as far as clips are left."""
    total, count = 0.0, 0
    while count < len(clips) and (total < seconds or count % size):
        total += clips[count]["seconds"]
        count += 1
    return list(range(count))


def _contexts_that_fit(model_bytes: int) -> int:
    """Contexts that half of the memory holds; one takes its weights and about as much again for its buffers."""
    return max(1, int(host.describe().memory_bytes / 2 // (2 * model_bytes + 2**28)))


def _request(
    settings: Settings, device: Device, prepared: dict[str, Any], variant: str, clips: list[dict[str, Any]]
) -> dict[str, Any]:
    folder = Path(prepared["clips"]["folder"])
    return {
        "variant": variant,
        "model": {"ggml": prepared["model"]["path"], "ctranslate2": prepared["model"]["ctranslate2"]},
        "device": device,
        "threads": _threads(settings),
        "decoding": asdict(settings.decoding),
        "clips": [str(folder / clip["file"]) for clip in clips],
        "ids": [clip["id"] for clip in clips],
    }


def _child(function: str, request: dict[str, Any], audio_seconds: float) -> ChildResult:
    """Run ``function`` of `timed`; when its process is gone, the error names the clips it was working on."""
    timeout = 120 + _SLOWEST_XRT * audio_seconds
    target = f"nightgate.transcription.timed:{function}"
    with tempfile.TemporaryDirectory(prefix="nightgate-progress-") as folder:
        progress = Path(folder, "progress")
        request = request | {"progress": str(progress)}
        try:
            return run_child(target, request, threads=request["threads"], device=request["device"], timeout=timeout)
        except NotMeasured as error:
            marks = progress.read_bytes() if progress.exists() else b""
            if at_work := [name for name, mark in zip(request["ids"], marks, strict=False) if mark == AT_WORK[0]]:
                what = f"{request['variant']} failed on the clip {' or '.join(at_work)}: {error.what}"
                raise type(error)(what, error.next_step) from error
            raise


def _must_be_in_the_language(settings: Settings, clips: list[dict[str, Any]]) -> None:
    found = contradiction(settings.language, ((clip["id"], clip.get("language")) for clip in clips))
    if found:
        raise InputError(found)


def _record(
    settings: Settings, device: Device, prepared: dict[str, Any], clips: list[dict[str, Any]], variant: str
) -> Record:
    judged = judged_by(settings.language, (clip["text"] for clip in clips))
    facts = {name: value for name, value in prepared["clips"].items() if name != "folder"}
    return Record(
        benchmark=NAME, variant=variant, device=device, status="measured", host=host.describe(),
        settings=settings.model_dump(mode="json"), gated=variant in settings.gated(device), started_at=utc_now(),
        detail={
            "model": {name: prepared["model"][name] for name in ("name", "source", "bytes", "sha256")},
            "clips": {**facts, "ids": [clip["id"] for clip in clips]},
            "audio_seconds": sum(clip["seconds"] for clip in clips),
            "threads": _threads(settings),
            "batch_size_cpu": batch_size_cpu(settings.gpu_batch),
            "decoding": settings.decoding.facts(),
            "scoring": {"normaliser": scoring.normaliser(settings.language), "judged_by": judged},
        },
    )  # fmt: skip


def _threads(settings: Settings) -> int:
    return settings.threads or len(os.sched_getaffinity(0))


def _model(prepared: dict[str, Any]) -> engines.Model:
    folder = prepared["model"]["ctranslate2"]
    return engines.Model(
        Path(prepared["model"]["path"]),
        Path(folder) if folder else None,
        prepared["model"]["n_vocab"],
        prepared["model"].get("ftype", 1),  # one prepared before this was kept
    )


def _text(path: Path | None) -> str | None:
    return str(path) if path else None
