"""`whisper-cpp-python` 0.2.0 through its ctypes layer.

Its own `Whisper` class samples at temperature 0.8 on one thread, reads files inside `transcribe` and never frees the
model, so only the library beneath is used.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from nightgate.errors import ArtifactError, NotMeasured, Unavailable
from nightgate.record import Device
from nightgate.transcription.engines.interface import TEMPERATURES, Decoding, Engine, Model, Segment, Transcript

if TYPE_CHECKING:
    from nightgate.transcription.engines.interface import Audio

_GREEDY, _BEAM_SEARCH = 0, 1  # WHISPER_SAMPLING_GREEDY, WHISPER_SAMPLING_BEAM_SEARCH
_TICK = 0.01  # seconds per unit of its time stamps
_MULTILINGUAL, _ENGLISH = 51_865, 51_864
_FLOAT16 = 1
_LEAVE_OUT = "leave whisper-cpp-python out of transcription.variants and transcription.controls"
_OLDER_CODES = {"he": "iw"}


class WhisperCppPython(Engine):
    """whisper.cpp of May 2023, on the CPU."""

    name = package = "whisper-cpp-python"
    install = "CMAKE_POLICY_VERSION_MINIMUM=3.5 pip install whisper-cpp-python==0.2.0"

    def __init__(self, model: Model, threads: int, device: Device, decoding: Decoding) -> None:
        self._lib = self.library()
        context = self._lib.whisper_init_from_file(str(model.ggml).encode())
        if not context:
            raise ArtifactError(f"whisper-cpp-python cannot load {model.ggml}", "its reason stands in the log above")
        self._context = ctypes.c_void_p(context)
        greedy = decoding.beam_size == 1
        self._params = self._lib.whisper_full_default_params(_GREEDY if greedy else _BEAM_SEARCH)
        self._params.n_threads = threads
        self._params.greedy.best_of = decoding.best_of
        if not greedy:
            self._params.beam_search.beam_size = decoding.beam_size
        self._params.temperature = TEMPERATURES[0]
        self._params.temperature_inc = decoding.temperature_inc
        self._params.language = _OLDER_CODES.get(decoding.language, decoding.language).encode()
        self._params.no_context = True
        if decoding.initial_prompt:
            self._params.initial_prompt = decoding.initial_prompt.encode()
        for name in ("print_special", "print_progress", "print_realtime", "print_timestamps"):
            setattr(self._params, name, False)
        self._waiting: list[Callable[[], None]] = []
        self._params.new_segment_callback = self._callback = self._lib.whisper_new_segment_callback(
            _once(self._waiting)  # not a method: the cycle would keep the context alive
        )
        self.ran_on = f"{device}, {threads} threads"

    def transcribe(self, audio: Audio, on_first_segment: Callable[[], None] | None = None) -> Transcript:
        self._waiting[:] = [on_first_segment] if on_first_segment else []
        samples = audio.ctypes.data_as(ctypes.POINTER(ctypes.c_float))
        if code := self._lib.whisper_full(self._context, self._params, samples, len(audio)):
            raise NotMeasured(f"whisper-cpp-python failed on a clip of {len(audio) / 16_000:.1f} s (code {code})")
        return Transcript(tuple(self._segment(i) for i in range(self._lib.whisper_full_n_segments(self._context))))

    @staticmethod
    def library() -> Any:
        from whisper_cpp_python import whisper_cpp

        return whisper_cpp

    @staticmethod
    def cannot(decoding: Decoding) -> Unavailable | None:
        if decoding.vad:
            return Unavailable("whisper-cpp-python has no voice activity detection", _LEAVE_OUT)
        if decoding.language == "yue":
            return Unavailable("whisper-cpp-python is of 2023 and does not know yue (Cantonese)", _LEAVE_OUT)
        return None

    @staticmethod
    def cannot_read(model: Model) -> Unavailable | None:
        if model.ftype != _FLOAT16:  # it ends the process, or hears nonsense
            return Unavailable(
                f"whisper-cpp-python is of 2023 and does not read the quantised weights of {model.ggml.name}",
                f"use a float16 model, or {_LEAVE_OUT}",
            )
        if model.n_vocab not in (_ENGLISH, _MULTILINGUAL):  # it would take other tokens for the special ones
            return Unavailable(
                f"whisper-cpp-python is of 2023 and does not know the {model.n_vocab} tokens of {model.ggml.name}",
                f"use an older model, or {_LEAVE_OUT}",
            )
        return None

    def _segment(self, i: int) -> Segment:
        start = self._lib.whisper_full_get_segment_t0(self._context, i) * _TICK
        end = self._lib.whisper_full_get_segment_t1(self._context, i) * _TICK
        text = self._lib.whisper_full_get_segment_text(self._context, i)
        return Segment(start, end, text.decode(errors="replace"))

    def __del__(self) -> None:
        if context := getattr(self, "_context", None):
            self._lib.whisper_free(context)


def _once(waiting: list[Callable[[], None]]) -> Callable[..., None]:
    def on_segment(*_: Any) -> None:
        if waiting:
            waiting.pop()()

    return on_segment
