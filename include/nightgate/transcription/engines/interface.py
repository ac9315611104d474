"""A speech engine as its author writes it.

A class of `Engine` that an entry point of the group ``nightgate.engines`` names is a variant of the benchmark
transcription, under the name of the entry point. Its module must import light: the library, and whatever else costs
seconds or needs a device, is imported inside the methods, so that all the class attributes say is known without it.
"""

from __future__ import annotations

import importlib.metadata
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Final, Protocol, runtime_checkable

from nightgate.errors import Unavailable
from nightgate.record import Device

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Audio = npt.NDArray[np.float32]
    """float32, shape (samples,), mono, 16 kHz, in [-1, 1]."""

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
    """What an engine makes of one clip."""

    segments: tuple[Segment, ...]

    @property
    def text(self) -> str:
        """All of it in one line, white space collapsed."""
        return " ".join(" ".join(segment.text for segment in self.segments).split())


class Engine(ABC):
    """A loaded model, in a process of its own.

    Attributes:
        name: that of its entry point.
        package: the distribution that it is installed as.
        requires: other distributions that it computes with. All their versions go into the record.
        install: the line that installs it.
        devices: where it can run; on another it is not tried.
        ran_on: the device in the engine's own words, of a loaded model: the proof of where the work is done.

    Args:
        threads: how many it may use.

    Raises:
        ArtifactError: it refuses the file.
        NotMeasured: ``device`` is "gpu" and the model did not get onto one.
    """

    name: ClassVar[str]
    package: ClassVar[str]
    requires: ClassVar[tuple[str, ...]] = ()
    install: ClassVar[str]
    devices: ClassVar[tuple[Device, ...]] = ("cpu",)
    ran_on: str

    @abstractmethod
    def __init__(self, model: Model, threads: int, device: Device, decoding: Decoding) -> None: ...

    @abstractmethod
    def transcribe(self, audio: Audio, on_first_segment: Callable[[], None] | None = None) -> Transcript:
        """Transcribe one clip; this is the call that is timed, and it returns when all work is done.

        Args:
            on_first_segment: called as soon as the first segment is known; if it never is, the end of the call counts.

        Raises:
            NotMeasured: the engine fails.
        """

    @staticmethod
    @abstractmethod
    def library() -> object:
        """Import what the engine needs, so that loading a model is timed without it."""

    @staticmethod
    def cannot(decoding: Decoding) -> Unavailable | None:
        """Why the engine cannot decode so, or None. What it cannot do it would leave out without a word."""
        return None

    @staticmethod
    def cannot_read(model: Model) -> Unavailable | None:
        """Why the engine cannot read this model, on any host, or None."""
        return None

    @staticmethod
    def cannot_run_on(device: Device) -> Unavailable | None:
        """Why the engine as it is installed cannot run on this one of `devices`, or None."""
        return None

    def versions(self) -> dict[str, str]:
        """Distribution → version, of all that a loaded model computes with."""
        return {name: importlib.metadata.version(name) for name in (self.package, *self.requires)}


@runtime_checkable
class BatchEngine(Protocol):
    """An engine that also decodes several clips side by side."""

    @staticmethod
    def batches(decoding: Decoding) -> bool:
        """Whether it can where it is to decode so."""

    def transcribe_together(self, clips: Sequence[Audio]) -> list[Transcript]:
        """What `Engine.transcribe` makes of each of ``clips``, decoded in one batch. NotMeasured when it fails."""


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
