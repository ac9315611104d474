"""`faster-whisper`: the same weights in CTranslate2's form, the peer to compare with. int8 on the CPU, float16 on a GPU."""

from __future__ import annotations

import importlib.metadata
import os
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from nightgate.errors import ArtifactError, ChildError, NotMeasured, Unavailable
from nightgate.measure.child import run_child
from nightgate.record import Device
from nightgate.transcription.engines.interface import TEMPERATURES, Decoding, Engine, Model, Segment, Transcript
from nightgate.transcription.languages import AUTO

if TYPE_CHECKING:
    from nightgate.transcription.engines.interface import Audio

COMPUTE_TYPE: dict[Device, str] = {"cpu": "int8", "gpu": "float16"}
_PLACE: dict[Device, str] = {"cpu": "cpu", "gpu": "cuda"}


class FasterWhisper(Engine):
    """CTranslate2 raises where it cannot use a GPU, it never falls back to the CPU."""

    name = package = "faster-whisper"
    requires = ("ctranslate2",)
    install = "pip install faster-whisper"
    devices = ("cpu", "gpu")

    def __init__(self, model: Model, threads: int, device: Device, decoding: Decoding) -> None:
        if model.ctranslate2 is None:
            raise ArtifactError(f"{model.ggml} has no CTranslate2 form")
        try:
            self._model = self.library().WhisperModel(
                str(model.ctranslate2),
                device=_PLACE[device],
                compute_type=COMPUTE_TYPE[device],
                cpu_threads=threads,
                local_files_only=True,
            )
        except (RuntimeError, ValueError) as error:
            raise NotMeasured(f"faster-whisper cannot load {model.ctranslate2} on the {device} ({error})") from error
        core = self._model.model
        if core.device != _PLACE[device]:
            raise NotMeasured(f"faster-whisper was asked for the {device} and runs on {core.device}")
        self._options = {
            "language": None if decoding.language == AUTO else decoding.language,
            "beam_size": decoding.beam_size,
            "best_of": decoding.best_of,
            "temperature": TEMPERATURES if decoding.temperature_fallback else TEMPERATURES[0],
            "initial_prompt": decoding.initial_prompt,
            "vad_filter": decoding.vad,
            "condition_on_previous_text": False,
        }
        self.ran_on = f"{core.device}{core.device_index}, {core.compute_type}, {threads} threads"

    def transcribe(self, audio: Audio, on_first_segment: Callable[[], None] | None = None) -> Transcript:
        try:
            lazy, _ = self._model.transcribe(audio, **self._options)
            segments: list[Segment] = []
            for part in lazy:  # decoding happens here
                if on_first_segment and not segments:
                    on_first_segment()
                segments.append(Segment(part.start, part.end, part.text))
        except RuntimeError as error:
            raise NotMeasured(f"faster-whisper failed on a clip of {len(audio) / 16_000:.1f} s ({error})") from error
        return Transcript(tuple(segments))

    def versions(self) -> dict[str, str]:
        """Its detector of voice activity is an ONNX model."""
        if not self._options["vad_filter"]:
            return super().versions()
        return super().versions() | {"onnxruntime": importlib.metadata.version("onnxruntime")}

    @staticmethod
    def library() -> Any:
        os.environ["ORT_DISABLE_TELEMETRY"] = "1"  # it imports onnxruntime, which would report its use
        os.environ["HF_HUB_OFFLINE"] = "1"  # every file it needs is in the folder
        import faster_whisper

        return faster_whisper

    @staticmethod
    def cannot_read(model: Model) -> Unavailable | None:
        if model.ctranslate2:
            return None
        return Unavailable(
            f"faster-whisper reads CTranslate2 models, and {model.ggml.name} is a ggml file only",
            "use the packaged model, or leave faster-whisper out",
        )

    @staticmethod
    def cannot_run_on(device: Device) -> Unavailable | None:
        if device != "gpu":
            return None
        try:
            count = run_child(cuda_devices, None, threads=1, device="gpu").value
        except ChildError as error:  # in a process of its own: a library may bring down the one that imports it
            return Unavailable(f"the installed faster-whisper does not start ({error.what})", FasterWhisper.install)
        return None if count else Unavailable("CTranslate2 sees no CUDA device", "check the driver with nvidia-smi")


def cuda_devices(_: None) -> int:
    """The child's side of `FasterWhisper.cannot_run_on`: how many CTranslate2 sees."""
    import ctranslate2

    return int(ctranslate2.get_cuda_device_count())
