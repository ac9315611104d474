"""`openai-whisper`: OpenAI's own implementation, in PyTorch, on the weights of the ggml file."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, Final

from nightgate.errors import ArtifactError, ChildError, NotMeasured, Unavailable
from nightgate.measure.child import run_child
from nightgate.record import Device
from nightgate.transcription.engines.interface import TEMPERATURES, Decoding, Engine, Model, Segment, Transcript
from nightgate.transcription.engines.together import Windowed, transcribe_together
from nightgate.transcription.languages import AUTO
from nightgate.transcription.models.ggml_layout import WHISPER
from nightgate.transcription.models.ggml_weights import GgmlWeights, read_ggml

if TYPE_CHECKING:
    import torch

    from nightgate.transcription.engines.interface import Audio

_PLACE: Final[dict[Device, str]] = {"cpu": "cpu", "gpu": "cuda"}
_FLOAT16 = 1  # the type of file
_NO_SPEECH, _LOGPROB = 0.6, -1.0  # OpenAI's defaults: a window that is likelier silent and not heard well is skipped
_LEAVE_OUT = "leave openai-whisper out of transcription.variants, gpu_variants and controls"
_SEES_NONE = "check the driver with nvidia-smi, or install a build of torch for it: `make setup-torch TORCH_INDEX=…`"


class OpenAIWhisper(Engine):
    """float32 on the CPU; on a GPU the matrices are float16, as they are in the file, and the rest stays float32."""

    name = package = "openai-whisper"
    requires = ("torch", "tiktoken", "greenlet")
    install = "`make setup-torch`, or pip install openai-whisper greenlet"
    devices = ("cpu", "gpu")

    def __init__(self, model: Model, threads: int, device: Device, decoding: Decoding) -> None:
        import torch

        self._library = self.library()
        if device == "gpu" and not torch.cuda.is_available():
            raise NotMeasured(
                f"openai-whisper was asked for the gpu, and torch {torch.__version__} sees none", _SEES_NONE
            )
        torch.set_num_threads(threads)  # of the whole process
        before = _allocated(device)
        weights = read_ggml(model.ggml)
        self._model = _network(self._library, weights, half=device == "gpu").to(_PLACE[device])
        _must_be_openais(self._library, self._model, weights, model)
        self._device: Device = device
        self.ran_on = proven(self._model, device, _allocated(device) - before)
        self._options = {
            "language": None if decoding.language == AUTO else decoding.language,
            "beam_size": decoding.beam_size if decoding.beam_size > 1 else None,  # a beam of one is slower than none
            "best_of": decoding.best_of,
            "temperature": TEMPERATURES if decoding.temperature_fallback else TEMPERATURES[0],
            "initial_prompt": decoding.initial_prompt,
            "condition_on_previous_text": False,
            "no_speech_threshold": _NO_SPEECH,
            "logprob_threshold": _LOGPROB,
            "fp16": device == "gpu",
        }

    def transcribe(self, audio: Audio, on_first_segment: Callable[[], None] | None = None) -> Transcript:
        waiting, known = on_first_segment, False

        def decode(mel: torch.Tensor, options: Any) -> Any:
            """A window that is decoded at the lowest temperature is the next one: the last is done with."""
            nonlocal waiting, known
            if waiting and known and options.temperature == TEMPERATURES[0]:
                waiting()
                waiting = None
            result = self._model.decode(mel, options)
            known = bool(result.text) and (result.no_speech_prob <= _NO_SPEECH or result.avg_logprob > _LOGPROB)
            return result

        try:
            (clip,) = self._placed([audio])
            found = self._library.transcribe(Windowed(self._model, decode), clip, **self._options)
            self._finish()
        except RuntimeError as error:
            raise _failed(f"a clip of {len(audio) / 16_000:.1f} s", error) from error
        return _transcript(found)

    def transcribe_together(self, clips: Sequence[Audio]) -> list[Transcript]:
        try:
            found = transcribe_together(self._model, self._placed(clips), **self._options)
            self._finish()
        except RuntimeError as error:
            raise _failed(f"a batch of {len(clips)} clips", error) from error
        return [_transcript(each) for each in found]

    def _placed(self, clips: Sequence[Audio]) -> list[torch.Tensor]:
        """On the device, where the spectrogram is then computed too."""
        import torch

        self._finish()
        return [torch.from_numpy(clip).to(_PLACE[self._device]) for clip in clips]

    def _finish(self) -> None:
        """Wait for the device, so that no work crosses the clock."""
        import torch

        if self._device == "gpu":
            torch.cuda.synchronize()

    @staticmethod
    def library() -> Any:
        import greenlet  # noqa: F401  so that it is not imported inside the clock
        import whisper
        import whisper.tokenizer

        return whisper

    @staticmethod
    def batches(decoding: Decoding) -> bool:
        return decoding.beam_size == 1

    @staticmethod
    def cannot(decoding: Decoding) -> Unavailable | None:
        if decoding.vad:
            return Unavailable("openai-whisper has no voice activity detection", _LEAVE_OUT)
        return None

    @staticmethod
    def cannot_read(model: Model) -> Unavailable | None:
        if model.ftype == _FLOAT16:
            return None
        return Unavailable(
            f"openai-whisper computes in floating point, and the weights of {model.ggml.name} are quantised",
            f"use a float16 model, or {_LEAVE_OUT}",
        )

    @staticmethod
    def cannot_run_on(device: Device) -> Unavailable | None:
        if device != "gpu":
            return None
        try:
            torch_ = run_child(torch_facts, None, threads=1, device="gpu").value
        except ChildError as error:  # in a process of its own: a library may bring down the one that imports it
            return Unavailable(f"the installed torch does not start ({error.what})", OpenAIWhisper.install)
        return None if torch_.sees_cuda else Unavailable(f"torch {torch_.version} sees no CUDA device", _SEES_NONE)


@dataclass(frozen=True, slots=True)
class TorchFacts:
    version: str
    sees_cuda: bool


def torch_facts(_: None) -> TorchFacts:
    """The child's side of `OpenAIWhisper.cannot_run_on`."""
    import torch

    return TorchFacts(str(torch.__version__), torch.cuda.is_available())


def proven(network: Any, device: Device, allocated: int) -> str:
    """Where the weights are, in torch's words: "NVIDIA H200, float16, 77.3 MB of weights".

    Args:
        allocated: bytes that torch says it took on the GPU for them; on the CPU it keeps no count.

    Raises:
        NotMeasured: they are elsewhere.
    """
    import torch

    tensors = [*network.parameters(), *network.buffers()]
    places = {str(tensor.device.type) for tensor in tensors}
    size = sum(tensor.nbytes for tensor in network.parameters())
    if places != {_PLACE[device]} or (device == "gpu" and allocated < size):
        raise NotMeasured(
            f"openai-whisper was asked for the {device} and its weights are on {' and '.join(sorted(places))} "
            f"({allocated:,} of {size:,} bytes allocated on a GPU)",
            _SEES_NONE,
        )
    dtype = str(network.encoder.conv1.weight.dtype).removeprefix("torch.")
    if device == "cpu":
        return f"cpu, {dtype}, {torch.get_num_threads()} threads, {size / 1e6:.1f} MB of weights"
    return f"{torch.cuda.get_device_name()}, {dtype}, {allocated / 1e6:.1f} MB of weights"


def _allocated(device: Device) -> int:
    import torch

    return int(torch.cuda.memory_allocated()) if device == "gpu" else 0


def _network(library: Any, weights: GgmlWeights, *, half: bool) -> Any:
    """OpenAI's module with every weight of the file: in float32, or its matrices in float16."""
    import torch

    sizes = {name: size for name, size in asdict(weights.hparams).items() if name != "ftype"}
    network = library.model.Whisper(library.model.ModelDimensions(**sizes))
    wanted = {name: tensor.shape for name, tensor in network.state_dict().items()}
    network.load_state_dict(
        {name: torch.tensor(values).reshape(wanted[name]) for name, values in weights.tensors.items()}
    )
    if half:
        for module in network.modules():  # but not LayerNorm, which OpenAI computes in float32
            if isinstance(module, (torch.nn.Linear, torch.nn.Conv1d, torch.nn.Embedding)):
                module.half()
    return network.eval().requires_grad_(False)


def _must_be_openais(library: Any, network: Any, weights: GgmlWeights, model: Model) -> None:
    """The package hears through filters and spells with tokens of its own, not with those of the file.

    Raises:
        ArtifactError: they differ, and the text would be another.
    """
    import numpy as np

    tokenizer = library.tokenizer.get_tokenizer(network.is_multilingual, num_languages=network.num_languages)
    spelling = tokenizer.encoding.decode_single_token_bytes
    other = next((i for i in range(WHISPER.base_tokens) if spelling(i) != weights.tokens[i]), None)
    filters = library.audio.mel_filters("cpu", weights.hparams.n_mels).numpy()
    for what, differs in (("vocabulary", other is not None), ("mel filters", not np.allclose(filters, weights.mel))):
        if differs:
            raise ArtifactError(
                f"openai-whisper brings OpenAI's {what}, and {model.ggml.name} has another",
                f"use a model with OpenAI's, or {_LEAVE_OUT}",
            )


def _transcript(found: Any) -> Transcript:
    return Transcript(tuple(Segment(part["start"], part["end"], part["text"]) for part in found["segments"]))


def _failed(what: str, error: RuntimeError) -> NotMeasured:
    reason, *_ = str(error).splitlines() or [type(error).__name__]  # torch adds pages of advice
    return NotMeasured(f"openai-whisper failed on {what} ({reason})")
