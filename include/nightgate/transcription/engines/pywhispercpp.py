"""`pywhispercpp`: current whisper.cpp, on the CPU or, where it was built for CUDA, on a GPU."""

from __future__ import annotations

import logging
import re
import tempfile
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, ClassVar

from nightgate.errors import ArtifactError, NotMeasured, Unavailable
from nightgate.record import Device
from nightgate.transcription.engines.interface import DECODING, Model, Segment, Transcript

if TYPE_CHECKING:
    import numpy as np

log = logging.getLogger(__name__)

_GREEDY = 0  # WHISPER_SAMPLING_GREEDY
_TICK = 0.01  # seconds per unit of its time stamps
_CUDA_BUILD = "`make setup-gpu` builds it with GGML_CUDA=1"
_BACKEND = re.compile(r"using (\S+) backend")
_WEIGHTS = re.compile(r"(\S+) total size = +([\d.]+) MB")


class PyWhisperCpp:
    """The wheel is a CPU build; a build with ``GGML_CUDA=1`` runs on both devices."""

    package: ClassVar[str] = "pywhispercpp"
    install: ClassVar[str] = "pip install pywhispercpp"
    devices: ClassVar[tuple[Device, ...]] = ("cpu", "gpu")

    def __init__(self, model: Model, threads: int, device: Device) -> None:
        with tempfile.NamedTemporaryFile("r", suffix=".log") as said:
            try:
                self._model = self.library().Model(
                    str(model.ggml),
                    params_sampling_strategy=_GREEDY,
                    redirect_whispercpp_logs_to=said.name,
                    context_params={"use_gpu": device == "gpu"},
                    n_threads=threads,
                    greedy={"best_of": DECODING["best_of"]},
                    temperature=DECODING["temperature"],
                    temperature_inc=DECODING["temperature_inc"],
                    language=DECODING["language"],
                    no_context=DECODING["no_context"],
                    print_special=False, print_progress=False, print_realtime=False, print_timestamps=False,
                )  # fmt: skip
            except RuntimeError as error:
                raise ArtifactError(f"pywhispercpp cannot load {model.ggml} ({error})", said.read()[-300:]) from error
            loading = said.read()
        self.ran_on = f"{device}, {threads} threads" if device == "cpu" else proven_gpu(loading)

    def transcribe(self, audio: np.ndarray, heard: Callable[[], None] | None = None) -> Transcript:
        def on_segment(_: Any) -> None:
            nonlocal heard
            waiting, heard = heard, None
            if waiting:
                waiting()

        found = self._model.transcribe(audio, new_segment_callback=on_segment if heard else None)
        return Transcript(tuple(Segment(part.t0 * _TICK, part.t1 * _TICK, part.text) for part in found))

    @staticmethod
    def library() -> Any:
        from pywhispercpp import model

        logging.getLogger(model.__name__).setLevel(logging.WARNING)  # it logs two lines per call, inside the timer
        return model

    @staticmethod
    def lacks(model: Model | None, device: Device) -> Unavailable | None:
        if device == "gpu" and "CUDA :" not in PyWhisperCpp.library().Model.system_info():
            return Unavailable("the installed pywhispercpp is a CPU build", _CUDA_BUILD)
        return None


def proven_gpu(loading: str) -> str:
    """Where the weights went, from what whisper.cpp says while it loads them: "CUDA0, 77.1 MB of weights".

    Raises:
        NotMeasured: it fell back to the CPU, which it does without an error.
    """
    backend = _BACKEND.search(loading)
    weights = {place: size for place, size in _WEIGHTS.findall(loading) if place.startswith("CUDA")}
    if not backend or not backend[1].startswith("CUDA") or not weights:
        said = "no GPU found" if "no GPU found" in loading else "no CUDA backend in its log"
        raise NotMeasured(f"pywhispercpp was asked for the GPU and ran on the CPU ({said})", _CUDA_BUILD)
    return ", ".join(f"{place}, {size} MB of weights" for place, size in weights.items())
