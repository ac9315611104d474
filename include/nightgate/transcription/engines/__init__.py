"""The engines, side by side: each loads one model and turns audio in memory into text."""

from __future__ import annotations

import importlib.metadata

from nightgate.errors import NotMeasured, Unavailable
from nightgate.record import Device
from nightgate.transcription.engines.faster_whisper import FasterWhisper
from nightgate.transcription.engines.interface import (
    GREEDY,
    BatchEngine,
    Decoding,
    Engine,
    Model,
    Segment,
    Transcript,
    not_installed,
)
from nightgate.transcription.engines.openai_whisper import OpenAIWhisper
from nightgate.transcription.engines.pywhispercpp import PyWhisperCpp
from nightgate.transcription.engines.whisper_cpp_python import WhisperCppPython

__all__ = [
    "BatchEngine",
    "Decoding",
    "Engine",
    "Model",
    "Segment",
    "Transcript",
    "cannot",
    "cannot_read",
    "has_batches",
    "import_library",
    "in_one_call",
    "load",
    "made_for",
    "unavailable",
]

_ENGINES: dict[str, type[Engine]] = {
    engine.package: engine for engine in (WhisperCppPython, PyWhisperCpp, FasterWhisper, OpenAIWhisper)
}


def load(variant: str, model: Model, threads: int, device: Device, decoding: Decoding = GREEDY) -> Engine:
    """Load ``model`` into the engine called ``variant``, to decode as ``decoding`` says.

    Raises:
        ArtifactError: the engine refuses the file.
        NotMeasured: ``device`` is "gpu" and the model did not get onto one, or the engine cannot decode so.
    """
    engine = _ENGINES[variant]
    if not made_for(variant, device):
        raise NotMeasured(f"{variant} does not run on a {device}")
    if reason := engine.cannot(decoding):
        raise NotMeasured(reason.what, reason.next_step)
    return engine(model, threads, device, decoding)


def import_library(variant: str) -> str:
    """Import what the engine needs, so that loading a model is timed without it; returns the package's version."""
    _ENGINES[variant].library()
    return importlib.metadata.version(variant)


def made_for(variant: str, device: Device) -> bool:
    """Whether ``variant`` can run on such a device at all, installed or not."""
    return device in _ENGINES[variant].devices


def has_batches(variant: str) -> bool:
    """Whether ``variant`` has a way of its own to transcribe a batch of clips in one call."""
    return issubclass(_ENGINES[variant], BatchEngine)


def in_one_call(variant: str, decoding: Decoding) -> bool:
    """Whether ``variant`` transcribes a batch of clips in one call when it decodes so."""
    engine = _ENGINES[variant]
    return issubclass(engine, BatchEngine) and engine.batches(decoding)


def cannot(variant: str, decoding: Decoding) -> Unavailable | None:
    """Why ``variant`` cannot decode so, on any host; None if it can."""
    return _ENGINES[variant].cannot(decoding)


def cannot_read(variant: str, model: Model) -> Unavailable | None:
    """Why ``variant`` cannot read ``model``, on any host; None if it can."""
    return _ENGINES[variant].lacks(model, "cpu")


def unavailable(
    variant: str, device: Device, model: Model | None = None, decoding: Decoding = GREEDY
) -> Unavailable | None:
    """Why this host cannot run ``variant`` on ``device`` (with ``model``, decoding so), with the line that installs it;
    None if it can."""
    engine = _ENGINES[variant]
    return not_installed(engine, device) or engine.cannot(decoding) or engine.lacks(model, device)
