"""What the model and the clips in the settings are, looked at once before a run; and what a run of them takes."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from nightgate.benchmark import Looked
from nightgate.errors import InputError
from nightgate.suite import Needs, Takes
from nightgate.transcription import engines
from nightgate.transcription.clips.entry import Entry
from nightgate.transcription.clips.manifest import read_manifest
from nightgate.transcription.guess import looks_unlike
from nightgate.transcription.languages import ErrorRate, contradiction, judged_by
from nightgate.transcription.models import vad
from nightgate.transcription.models.look import Kind, look_at
from nightgate.transcription.models.published import MODELS, PACKAGED
from nightgate.transcription.settings import Settings

_XRT = 0.15  # of the packaged model on two cores
_DOWNLOAD = 5e6  # bytes of a model per second
_CLIPS = 0.1  # seconds to speak or to resample a second of audio
_BYTES = 8_000  # of a second of audio in a file that does not say how long it is, compressed well


class TranscriptionLooked(Looked):
    """``model``: its kind. ``clips`` and ``clip_seconds``: how many the user's are and how long, from above; None of the
    packaged ones. ``judged_by``: the error rate that an objective on ``wer`` holds for."""

    model: Kind = look_at(PACKAGED)
    clips: int | None = None
    clip_seconds: float | None = None
    judged_by: ErrorRate = "wer"


def look(settings: Settings) -> TranscriptionLooked:
    """See `Transcription.look`."""
    kind = look_at(settings.model)
    _must_know_the_language(settings, kind)
    warnings = _must_be_readable(settings, kind)
    if settings.vad_model:
        vad.must_be_one(Path(settings.vad_model))
    if settings.clips is None:
        return TranscriptionLooked(model=kind, warnings=warnings, judged_by=judged_by(settings.language, ()))
    entries = _entries(Path(settings.clips), settings.exclude)
    _must_be_in_the_language(settings.language, entries)
    return TranscriptionLooked(
        model=kind,
        warnings=warnings,
        clips=len(entries),
        clip_seconds=_seconds_of(entries),
        judged_by=judged_by(settings.language, (entry.text for entry in entries)),
    )


def needs(settings: Settings, looked: TranscriptionLooked) -> Needs:
    """Disk and memory; beside those of every benchmark the model, unless it is the packaged one."""
    size = 0 if settings.model == PACKAGED else looked.model.size
    return Needs(disk=2**29 + size, memory=2**30 + 2 * size)


def takes(settings: Settings, looked: TranscriptionLooked) -> Takes:
    """Seconds; the processing time of an engine is taken to follow the size of its model."""
    size, audio, lower = looked.model.size, settings.audio_seconds, "audio_seconds, repeats or controls"
    if looked.clip_seconds is not None:
        audio, lower = looked.clip_seconds, "repeats or controls, or the clips"
    cores = min(settings.threads or os.cpu_count() or 1, 16)
    xrt = _XRT * size / MODELS[PACKAGED].size * 2 / cores
    gated = len({*settings.variants, *settings.gpu_variants})
    variants = len({*settings.variants, *settings.gpu_variants, *settings.controls})
    batches = (settings.batch_repeats + 1) * min(settings.batch_seconds, audio) if settings.batch_repeats else 0
    in_batches = variants if settings.batch_controls else gated
    measure = 20 + variants * (30 + xrt * (settings.repeats + 1) * audio) + in_batches * xrt * batches
    return Takes(prepare=60 + size / _DOWNLOAD + _CLIPS * audio, measure=measure, lower=lower)


def _must_know_the_language(settings: Settings, kind: Kind) -> None:
    if kind.english_only and settings.language != "en":
        raise InputError(
            f"transcription.language={settings.language}, and the model {settings.model} knows English only",
            "use a multilingual model, such as --set transcription.model=base, or set the language to en",
        )
    if settings.language == "yue" and not kind.knows_cantonese:
        raise InputError(
            f"transcription.language=yue, and the model {settings.model} does not know Cantonese",
            "use --set transcription.model=large-v3 or one made from it",
        )


def _must_be_readable(settings: Settings, kind: Kind) -> tuple[str, ...]:
    """Refuse a model that no gated engine reads; returns what is to be known of those that some do not."""
    if settings.model == PACKAGED:
        return ()
    model = engines.Model(Path(settings.model), None, kind.n_vocab, kind.ftype)
    reasons = [reason.what for variant in settings.variants if (reason := engines.cannot_read(variant, model))]
    if len(reasons) == len(settings.variants):
        raise InputError(
            f"no gated engine reads {settings.model}: {'; '.join(reasons)}",
            "choose a model and --set transcription.variants=[…] that fit",
        )
    on_a_gpu = [
        reason.what
        for variant in settings.gpu_variants
        if variant not in settings.variants and (reason := engines.cannot_read(variant, model))
    ]
    return (
        *(f"{reason}; so it will be skipped, and its objectives cannot hold" for reason in reasons),
        *(f"{reason}; so it will be skipped on a GPU, and its objectives there cannot hold" for reason in on_a_gpu),
    )


def _entries(source: Path, exclude: Sequence[str]) -> list[Entry]:
    try:
        return read_manifest(source, exclude)
    except InputError as error:
        raise InputError(f"transcription.clips: {error.what}", error.next_step) from error


def _must_be_in_the_language(language: str, entries: Sequence[Entry]) -> None:
    if refusal := contradiction(language, ((entry.id, entry.language) for entry in entries)):
        raise InputError(refusal)
    if unlike := looks_unlike(language, " ".join(entry.text for entry in entries if not entry.language)):
        raise InputError(
            f"the texts of the clips {unlike}, and language is {language}",
            'set transcription.language, with a multilingual model, or label each clip in a manifest with its "language"',
        )


def _seconds_of(entries: Sequence[Entry]) -> float:
    """Of audio, from above: what is claimed, or what the size of the file allows."""
    claimed = [entry.duration for entry in entries if entry.duration is not None]
    sizes = [entry.audio.stat().st_size for entry in entries if entry.duration is None and entry.audio.exists()]
    return sum(claimed) + sum(sizes) / _BYTES
