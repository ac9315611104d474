"""faster-whisper in single precision: what do its int8 weights gain, and what do they cost?"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from nightgate import api


class Float32(api.Engine):
    name, package, install = "faster-whisper-float32", "faster-whisper", "pip install faster-whisper"
    requires, devices = ("ctranslate2",), ("cpu",)

    def __init__(self, model: api.Model, threads: int, device: api.Device, decoding: api.Decoding) -> None:
        self.model = self.library().WhisperModel(
            str(model.ctranslate2), device="cpu", compute_type="float32", cpu_threads=threads, local_files_only=True
        )
        self.ran_on = f"{self.model.model.device}, {self.model.model.compute_type}"
        self.options = {
            "language": None if decoding.language == "auto" else decoding.language,
            "beam_size": decoding.beam_size,
            "initial_prompt": decoding.initial_prompt,
            "temperature": 0.0,
            "condition_on_previous_text": False,
        }

    def transcribe(self, audio: Any, on_first_segment: Callable[[], None] | None = None) -> api.Transcript:
        segments: list[api.Segment] = []
        for part in self.model.transcribe(audio, **self.options)[0]:  # decoding happens here
            if on_first_segment and not segments:
                on_first_segment()
            segments.append(api.Segment(part.start, part.end, part.text))
        return api.Transcript(tuple(segments))

    @staticmethod
    def library() -> Any:
        import faster_whisper

        return faster_whisper

    @staticmethod
    def cannot(decoding: api.Decoding) -> api.Unavailable | None:
        if decoding.temperature_fallback or decoding.vad:
            return api.Unavailable("faster-whisper-float32 decodes at temperature 0 and without a detector of speech")
        return None

    @staticmethod
    def cannot_read(model: api.Model) -> api.Unavailable | None:
        return None if model.ctranslate2 else api.Unavailable(f"{model.ggml.name} has no CTranslate2 form")
