"""`pywhispercpp`: current whisper.cpp, on the CPU or, where it was built for CUDA, on a GPU."""

from __future__ import annotations

import logging
import re
import tempfile
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from nightgate.errors import ArtifactError, ChildError, NotMeasured, Unavailable
from nightgate.measure.child import run_child
from nightgate.record import Device
from nightgate.transcription.engines.interface import TEMPERATURES, Decoding, Engine, Model, Segment, Transcript

if TYPE_CHECKING:
    from nightgate.transcription.engines.interface import Audio

log = logging.getLogger(__name__)

_GREEDY, _BEAM_SEARCH = 0, 1  # as its Model takes them
_NO_PATIENCE = -1.0  # whisper.cpp's default; it has not implemented another
_TICK = 0.01  # seconds per unit of its time stamps
_QUIET = {f"print_{what}": False for what in ("special", "progress", "realtime", "timestamps")}
_CUDA_BUILD = "`make setup-gpu` builds it with GGML_CUDA=1"
_BACKEND = re.compile(r"using (\S+) backend")
_WEIGHTS = re.compile(r"(\S+) total size = +([\d.]+) MB")


class PyWhisperCpp(Engine):
    """The wheel is a CPU build; a build with ``GGML_CUDA=1`` runs on both devices."""

    name = package = "pywhispercpp"
    install = "pip install pywhispercpp"
    devices = ("cpu", "gpu")

    def __init__(self, model: Model, threads: int, device: Device, decoding: Decoding) -> None:
        chosen: dict[str, Any] = {}
        if decoding.beam_size > 1:
            chosen["beam_search"] = {"beam_size": decoding.beam_size, "patience": _NO_PATIENCE}
        if decoding.initial_prompt:
            chosen["initial_prompt"] = decoding.initial_prompt
        if decoding.vad:
            chosen |= {"vad": True, "vad_model_path": decoding.vad_model}
        with tempfile.NamedTemporaryFile("r", suffix=".log") as printed:
            try:
                self._model = _checked(self.library())(
                    str(model.ggml),
                    params_sampling_strategy=_GREEDY if decoding.beam_size == 1 else _BEAM_SEARCH,
                    redirect_whispercpp_logs_to=printed.name,
                    context_params={"use_gpu": device == "gpu"},
                    n_threads=threads,
                    greedy={"best_of": decoding.best_of},
                    temperature=TEMPERATURES[0],
                    temperature_inc=decoding.temperature_inc,
                    language=decoding.language,
                    no_context=True,
                    **_QUIET,
                    **chosen,
                )
            except RuntimeError as error:
                raise ArtifactError(
                    f"pywhispercpp cannot load {model.ggml} ({error})", printed.read()[-300:]
                ) from error
            loading = printed.read()
        self.ran_on = f"{device}, {threads} threads" if device == "cpu" else proven_gpu(loading)

    def transcribe(self, audio: Audio, on_first_segment: Callable[[], None] | None = None) -> Transcript:
        waiting = on_first_segment

        def on_segment(_: object) -> None:
            nonlocal waiting
            if waiting:
                waiting()
                waiting = None

        parts = self._model.transcribe(audio, new_segment_callback=on_segment if waiting else None)
        return Transcript(tuple(Segment(part.t0 * _TICK, part.t1 * _TICK, part.text) for part in parts))

    @staticmethod
    def library() -> Any:
        from pywhispercpp import model

        logging.getLogger(model.__name__).setLevel(logging.WARNING)  # it logs two lines per call, inside the timer
        return model

    @staticmethod
    def cannot(decoding: Decoding) -> Unavailable | None:
        if decoding.vad and not decoding.vad_model:
            return Unavailable(
                "pywhispercpp needs a model of its own to detect voice activity",
                "set transcription.vad_model to whisper.cpp's ggml file of Silero VAD, or leave pywhispercpp out",
            )
        return None

    @staticmethod
    def cannot_run_on(device: Device) -> Unavailable | None:
        if device != "gpu":
            return None
        try:
            facts = run_child(system_info, None, threads=1, device="gpu").value
        except ChildError as error:  # in a process of its own: a library may bring down the one that imports it
            return Unavailable(f"the installed pywhispercpp does not start ({error.what})", _CUDA_BUILD)
        return None if "CUDA :" in facts else Unavailable("the installed pywhispercpp is a CPU build", _CUDA_BUILD)


def _checked(library: Any) -> Any:
    """Its `Model`, which pays no heed to what whisper_full returns: a clip that failed would look like one in which
    nothing was heard."""

    class Checked(library.Model):  # type: ignore[misc]  # it has no types
        def _transcribe(self, audio: Audio, **_: Any) -> Any:
            if code := library.pw.whisper_full(self._ctx, self._params, audio, audio.size):
                raise NotMeasured(f"pywhispercpp failed on a clip of {len(audio) / 16_000:.1f} s (code {code})")
            return self._get_segments(self._ctx, 0, library.pw.whisper_full_n_segments(self._ctx))

    return Checked


def system_info(_: None) -> str:
    """The child's side of `PyWhisperCpp.cannot_run_on`: what whisper.cpp was built for, in its own words."""
    return str(PyWhisperCpp.library().Model.system_info())


def proven_gpu(loading: str) -> str:
    """Where the weights went, from what whisper.cpp says while it loads them: "CUDA0, 77.1 MB of weights".

    Raises:
        NotMeasured: it fell back to the CPU, which it does without an error.
    """
    backend = _BACKEND.search(loading)
    weights = {place: size for place, size in _WEIGHTS.findall(loading) if place.startswith("CUDA")}
    if not backend or not backend[1].startswith("CUDA") or not weights:
        reason = "no GPU found" if "no GPU found" in loading else "no CUDA backend in its log"
        raise NotMeasured(f"pywhispercpp was asked for the GPU and ran on the CPU ({reason})", _CUDA_BUILD)
    return ", ".join(f"{place}, {size} MB of weights" for place, size in weights.items())
