"""What every engine looks like, and how all of them decode."""

from __future__ import annotations

import importlib.metadata
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Final, Protocol, runtime_checkable

from nightgate.errors import Unavailable
from nightgate.record import Device

if TYPE_CHECKING:
    import numpy as np

TEMPERATURES: Final = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
"""Tried in turn where a window may be decoded again: OpenAI's, whisper.cpp's and faster-whisper's own default."""

BEST_OF: Final = 5
"""Candidates at a temperature above 0, of which the likeliest is taken; the default of all three as well."""


@dataclass(frozen=True, slots=True)
class Decoding:
    """How a model decodes: the same for all engines, so that their times compare.

    As it stands it is greedy, at temperature 0, without a prompt: no window is decoded again at a higher temperature,
    which takes up to six times as long, and nothing is carried from one call to the next.
    """

    language: str = "en"
    """One of `languages.CODES`."""
    beam_size: int = 1
    """1 is greedy."""
    temperature_fallback: bool = False
    """Whether a window that looks wrong is decoded again at the next of `TEMPERATURES`."""
    initial_prompt: str | None = None
    vad: bool = False
    """Whether only what a detector takes for speech is decoded."""
    vad_model: str | None = None
    """The detector's ggml file for whisper.cpp; faster-whisper brings its own."""

    @property
    def best_of(self) -> int:
        return BEST_OF if self.temperature_fallback else 1

    @property
    def temperature_inc(self) -> float:
        """The step to the next temperature; whisper.cpp takes 0 as: never."""
        return TEMPERATURES[1] if self.temperature_fallback else 0.0

    def facts(self) -> dict[str, Any]:
        """What a record says of it."""
        return {
            "strategy": "greedy" if self.beam_size == 1 else "beam_search",
            "beam_size": self.beam_size,
            "best_of": self.best_of,
            "temperature": TEMPERATURES[0],
            "temperature_inc": self.temperature_inc,
            "language": self.language,
            "initial_prompt": self.initial_prompt,
            "no_context": True,
            "vad": self.vad,
        }


GREEDY: Final = Decoding()


@dataclass(frozen=True, slots=True)
class Model:
    """One set of weights: the ggml file, the folder of its CTranslate2 form where there is one, how many tokens it has
    and the type of its weights (1 for float16, above that quantised)."""

    ggml: Path
    ctranslate2: Path | None
    n_vocab: int
    ftype: int = 1


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
    requires: ClassVar[tuple[str, ...]]
    """Packages beside it that a set-up may lack."""
    install: ClassVar[str]
    devices: ClassVar[tuple[Device, ...]]
    ran_on: str
    """The device in the engine's own words: the proof of where the work was done."""

    def __init__(self, model: Model, threads: int, device: Device, decoding: Decoding) -> None: ...

    def transcribe(self, audio: np.ndarray, heard: Callable[[], None] | None = None) -> Transcript:
        """What ``audio`` says (float32, shape (samples,), mono, 16 kHz, in [-1, 1]).

        ``heard`` is called as soon as the first segment is known. NotMeasured when the engine fails.
        """

    @staticmethod
    def library() -> Any:
        """Import what the engine needs, so that loading a model is timed without it."""

    @staticmethod
    def cannot(decoding: Decoding) -> Unavailable | None:
        """Why the engine cannot decode so, or None. What it cannot do it would leave out without a word."""

    @staticmethod
    def lacks(model: Model | None, device: Device) -> Unavailable | None:
        """Why the installed engine cannot run this model on this device, or None. ``model`` None: any model."""


@runtime_checkable
class BatchEngine(Protocol):
    """An engine that also decodes several clips side by side."""

    @staticmethod
    def batches(decoding: Decoding) -> bool:
        """Whether it can where it is to decode so."""

    def transcribe_together(self, clips: Sequence[np.ndarray]) -> list[Transcript]:
        """What each of ``clips`` says, as of `Engine.transcribe`, decoded in one batch. NotMeasured when it fails."""


def not_installed(engine: type[Engine], device: Device) -> Unavailable | None:
    """Why ``engine`` cannot run on ``device`` at all: it is not installed, or is not made for it."""
    if device not in engine.devices:
        return Unavailable(f"{engine.package} does not run on a {device}")
    for package in (engine.package, *engine.requires):
        try:
            importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            beside = "" if package == engine.package else f", which {engine.package} needs"
            return Unavailable(f"{package} is not installed{beside}", engine.install)
    return None
