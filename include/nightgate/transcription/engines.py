"""The engines, side by side: each loads one ggml file and turns audio in memory into text.

All decode alike, so that their times compare: greedy, temperature 0 and no fallback to a higher one (a fallback decodes
a bad window up to six times), English, nothing carried over from one call to the next, nothing printed.
"""

from __future__ import annotations

import ctypes
import importlib.metadata
import logging
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Protocol

from nightgate.errors import ArtifactError, NotMeasured

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
_GREEDY = 0  # WHISPER_SAMPLING_GREEDY of both libraries


class Engine(Protocol):
    """A loaded model."""

    def transcribe(self, audio: np.ndarray) -> str:
        """Text of ``audio`` (float32, mono, 16 kHz, in [-1, 1]), white space collapsed. NotMeasured when it fails."""


def load(variant: str, model: Path, threads: int) -> Engine:
    """Load ``model`` into the engine called ``variant``. ArtifactError when the engine refuses the file."""
    return _ENGINES[variant](model, threads)


def import_library(variant: str) -> str:
    """Import what the engine needs, so that loading a model is timed without it; returns the package's version."""
    _ENGINES[variant].library()
    return importlib.metadata.version(variant)


class WhisperCppPython:
    """`whisper-cpp-python` 0.2.0 through its ctypes layer.

    Its own `Whisper` class samples at temperature 0.8 on one thread, reads files inside `transcribe` and never frees
    the model, so only the library beneath is used.
    """

    @staticmethod
    def library() -> Any:
        from whisper_cpp_python import whisper_cpp

        return whisper_cpp

    def __init__(self, model: Path, threads: int) -> None:
        self._lib = self.library()
        context = self._lib.whisper_init_from_file(str(model).encode())
        if not context:
            raise ArtifactError(f"whisper-cpp-python cannot load {model}", "its reason stands in the log above")
        self._context = ctypes.c_void_p(context)
        self._params = self._lib.whisper_full_default_params(_GREEDY)
        self._params.n_threads = threads
        self._params.greedy.best_of = DECODING["best_of"]
        self._params.temperature = DECODING["temperature"]
        self._params.temperature_inc = DECODING["temperature_inc"]
        self._params.language = DECODING["language"].encode()
        self._params.no_context = DECODING["no_context"]
        for name in ("print_special", "print_progress", "print_realtime", "print_timestamps"):
            setattr(self._params, name, False)

    def transcribe(self, audio: np.ndarray) -> str:
        samples = audio.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
        if code := self._lib.whisper_full(self._context, self._params, samples, len(audio)):
            raise NotMeasured(f"whisper-cpp-python failed on a clip of {len(audio) / 16_000:.1f} s (code {code})")
        count = self._lib.whisper_full_n_segments(self._context)
        parts = [self._lib.whisper_full_get_segment_text(self._context, i) for i in range(count)]
        return _one_line(b"".join(parts).decode(errors="replace"))

    def __del__(self) -> None:
        if context := getattr(self, "_context", None):
            self._lib.whisper_free(context)


class PyWhisperCpp:
    """`pywhispercpp`: current whisper.cpp, on the CPU."""

    @staticmethod
    def library() -> Any:
        from pywhispercpp import model

        logging.getLogger(model.__name__).setLevel(logging.WARNING)  # it logs two lines per call, inside the timer
        return model

    def __init__(self, model: Path, threads: int) -> None:
        try:
            self._model = self.library().Model(
                str(model),
                params_sampling_strategy=_GREEDY,
                context_params={"use_gpu": False},
                n_threads=threads,
                greedy={"best_of": DECODING["best_of"]},
                temperature=DECODING["temperature"],
                temperature_inc=DECODING["temperature_inc"],
                language=DECODING["language"],
                no_context=DECODING["no_context"],
                print_special=False, print_progress=False, print_realtime=False, print_timestamps=False,
            )  # fmt: skip
        except RuntimeError as error:
            raise ArtifactError(f"pywhispercpp cannot load {model} ({error})") from error

    def transcribe(self, audio: np.ndarray) -> str:
        return _one_line(" ".join(segment.text for segment in self._model.transcribe(audio)))


_ENGINES: Final[dict[str, type]] = {"whisper-cpp-python": WhisperCppPython, "pywhispercpp": PyWhisperCpp}


def _one_line(text: str) -> str:
    return " ".join(text.split())
