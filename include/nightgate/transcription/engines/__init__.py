"""The engines, side by side: those here and those that other packages bring. Each loads one model and turns audio in
memory into text."""

from __future__ import annotations

import logging
from collections.abc import Callable
from functools import cache

from nightgate import plugins
from nightgate.errors import NotMeasured, Unavailable
from nightgate.record import Device
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

__all__ = [
    "GREEDY",
    "BatchEngine",
    "Decoding",
    "Engine",
    "Model",
    "Segment",
    "Transcript",
    "cannot",
    "cannot_read",
    "has_batches",
    "in_one_call",
    "known",
    "load",
    "made_for",
    "named",
    "unavailable",
]

log = logging.getLogger(__name__)


@cache
def known() -> dict[str, type[Engine]]:
    """Variant → engine; whether its library is installed is not asked."""
    return plugins.classes(plugins.ENGINES, Engine)  # type: ignore[type-abstract]  # classes of it are what is wanted


def named(variant: str) -> type[Engine]:
    return known()[variant]


def load(engine: type[Engine], model: Model, threads: int, device: Device, decoding: Decoding = GREEDY) -> Engine:
    """Load ``model`` into ``engine``, to decode as ``decoding`` says.

    Raises:
        ArtifactError: the engine refuses the file.
        NotMeasured: ``device`` is "gpu" and the model did not get onto one, or the engine cannot decode so.
    """
    if device not in engine.devices:
        raise NotMeasured(f"{engine.name} does not run on a {device}")
    if reason := engine.cannot(decoding):
        raise NotMeasured(reason.what, reason.next_step)
    return engine(model, threads, device, decoding)


def made_for(variant: str, device: Device) -> bool:
    """Whether ``variant`` can run on such a device at all, installed or not."""
    return device in named(variant).devices


def has_batches(variant: str) -> bool:
    """Whether ``variant`` has a way of its own to transcribe a batch of clips in one call."""
    return issubclass(named(variant), BatchEngine)


def in_one_call(variant: str, decoding: Decoding) -> bool:
    """Whether ``variant`` transcribes a batch of clips in one call when it decodes so."""
    engine = named(variant)
    return issubclass(engine, BatchEngine) and engine.batches(decoding)


def cannot(variant: str, decoding: Decoding) -> Unavailable | None:
    """Why ``variant`` cannot decode so, on any host; None if it can."""
    return _asked(variant, lambda engine: engine.cannot(decoding))


def cannot_read(variant: str, model: Model) -> Unavailable | None:
    """Why ``variant`` cannot read ``model``, on any host; None if it can."""
    return _asked(variant, lambda engine: engine.cannot_read(model))


def unavailable(
    variant: str, device: Device, model: Model | None = None, decoding: Decoding = GREEDY
) -> Unavailable | None:
    """Why this host cannot run ``variant`` on ``device`` (with ``model``, decoding so), with the line that installs it;
    None if it can."""
    return (
        _asked(variant, lambda engine: not_installed(engine, device))
        or cannot(variant, decoding)
        or (cannot_read(variant, model) if model else None)
        or _asked(variant, lambda engine: engine.cannot_run_on(device))
    )


def _asked(variant: str, question: Callable[[type[Engine]], Unavailable | None]) -> Unavailable | None:
    try:
        return question(named(variant))
    except Exception as error:  # of another package, and no reason to lose the other engines
        log.debug("%s", variant, exc_info=True)
        return Unavailable(f"{variant} failed when it was asked what it can do ({type(error).__name__}: {error})")
