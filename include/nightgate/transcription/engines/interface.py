"""What every engine looks like, and how all of them decode."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, Protocol

from nightgate.errors import Unavailable
from nightgate.record import Device

if TYPE_CHECKING:
    import numpy as np

DECODING: Final[dict[str, Any]] = {
    "strategy": "greedy",
    "best_of": 1,
    "temperature": 0.0,
    "temperature_inc": 0.0,
    "language": "en",
    "no_context": True,
}
"""The same for all, so that their times compare. Nothing falls back to a higher temperature, because a fallback
decodes a bad window up to six times; nothing is carried from one window or call to the next; nothing is printed."""


@dataclass(frozen=True, slots=True)
class Model:
    """One set of weights: the ggml file, the folder of its CTranslate2 form where there is one, and its tokens."""

    ggml: Path
    ctranslate2: Path | None
    n_vocab: int


@dataclass(frozen=True, slots=True)
class Segment:
    """A stretch of speech, ``start`` and ``end`` in seconds from the beginning of the clip."""

    start: float
    end: float
    text: str


@dataclass(frozen=True, slots=True)
class Transcript:
    """What an engine heard."""

    segments: tuple[Segment, ...]

    @property
    def text(self) -> str:
        """All of it in one line, white space collapsed."""
        return " ".join(" ".join(segment.text for segment in self.segments).split())


class Engine(Protocol):
    """A loaded model. Loading raises ArtifactError when the engine refuses the file, NotMeasured when ``device`` is
    "gpu" and the model did not get there."""

    package: ClassVar[str]
    install: ClassVar[str]
    devices: ClassVar[tuple[Device, ...]]
    ran_on: str
    """The device in the engine's own words: the proof of where the work was done."""

    def __init__(self, model: Model, threads: int, device: Device) -> None: ...

    def transcribe(self, audio: np.ndarray, heard: Callable[[], None] | None = None) -> Transcript:
        """What ``audio`` says (float32, shape (samples,), mono, 16 kHz, in [-1, 1]).

        ``heard`` is called as soon as the first segment is known. NotMeasured when the engine fails.
        """

    @staticmethod
    def library() -> Any:
        """Import what the engine needs, so that loading a model is timed without it."""

    @staticmethod
    def lacks(model: Model | None, device: Device) -> Unavailable | None:
        """Why the installed engine cannot run this model on this device, or None. ``model`` None: any model."""


def not_installed(engine: type[Engine], device: Device) -> Unavailable | None:
    """Why ``engine`` cannot run on ``device`` at all: it is not installed, or is not made for it."""
    if device not in engine.devices:
        return Unavailable(f"{engine.package} does not run on a {device}")
    try:
        importlib.metadata.version(engine.package)
    except importlib.metadata.PackageNotFoundError:
        return Unavailable(f"{engine.package} is not installed", engine.install)
    return None
