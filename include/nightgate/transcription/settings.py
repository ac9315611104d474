"""What can be asked of the transcription benchmark. Light: the trigger form is built from it, and no file is looked at."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, Self

from pydantic import Field, field_validator, model_validator

from nightgate.measure import host
from nightgate.suite import Aside, BenchmarkSettings
from nightgate.transcription import engines
from nightgate.transcription.languages import AUTO, CODES, LANGUAGES, nearest
from nightgate.transcription.models.published import PACKAGED, known


class Settings(BenchmarkSettings):
    known_variants: ClassVar[tuple[str, ...]] = tuple(engines.known())

    gpu_variants: Aside[tuple[str, ...]] = Field(
        default=(),
        title="Gated on a GPU too",
        description="Engines that the objectives gate on a GPU beside `variants`; on the CPU they do not.",
    )
    model: str = Field(
        default=PACKAGED,
        min_length=1,
        title="Model",
        description="tiny.en for the packaged weights, the name of a model that whisper.cpp publishes (fetched once), "
        "or the path of a ggml file.",
    )
    clips: Aside[str | None] = Field(
        default=None,
        title="Clips",
        description="Your own: a folder of audio files with a .txt beside each, a JSONL or csv manifest (audio_filepath, "
        "text, offset, duration), or a LibriSpeech, Hugging Face or Kaldi folder. All of them are transcribed. Empty "
        "means the packaged corpus.",
    )
    exclude: tuple[str, ...] = Field(
        default=(), title="Leave out", description="Names of your clips that are not to be used."
    )
    language: str = Field(
        default="en",
        title="Language",
        json_schema_extra={"enum": list(CODES)},
        description="What is spoken, as a code of Whisper's, or auto: the engine finds it out for each clip. It also "
        "decides how texts are normalised before errors are counted.",
    )
    beam_size: int = Field(
        default=1, ge=1, le=8, title="Beam size", description="1 decodes greedily; whisper.cpp's command line uses 5."
    )
    temperature_fallback: bool = Field(
        default=False,
        title="Temperature fallback",
        description="Decode a window that looks wrong again at a higher temperature, in steps of 0.2.",
    )
    initial_prompt: str | None = Field(
        default=None,
        min_length=1,
        max_length=800,
        title="Initial prompt",
        description="Text that every clip is decoded after, such as names to be expected. Whisper looks at no more than "
        "its last 224 tokens.",
    )
    vad: bool = Field(
        default=False,
        title="Voice activity detection",
        description="Decode only what is taken for speech, by the engines that can.",
    )
    vad_model: str | None = Field(
        default=None,
        title="VAD model",
        description="whisper.cpp's ggml file of Silero VAD, which pywhispercpp needs for it.",
    )
    audio_seconds: float = Field(
        default=60,
        ge=5,
        le=36_000,
        title="Audio seconds",
        description="Of the packaged corpus in one pass; whole clips are taken until it is reached.",
    )
    precision: Aside[float] = Field(
        default=0.02,
        gt=0,
        le=1,
        title="Precision",
        description="Clips are transcribed again until half of the interval of xRT, over xRT, is so small.",
    )
    least_repeats: Aside[int] = Field(
        default=2,
        ge=2,
        le=50,
        title="Repeats at least",
        description="Timed passes over all clips, each in a process of its own; the controls make no more. The last one "
        "ends when the precision is reached.",
    )
    repeats: Aside[int] = Field(
        default=5,
        ge=2,
        le=50,
        title="Repeats at most",
        description="Timed passes over all clips, whatever precision they reach.",
    )
    batch_seconds: float = Field(
        default=60,
        ge=5,
        le=36_000,
        title="Batch audio seconds",
        description="Audio that is also transcribed in batches: whole batches from the start of the clips.",
    )
    batch_repeats: Aside[int] = Field(
        default=3,
        ge=0,
        le=50,
        title="Batch repeats at most",
        description="Timed passes over the batches, until the precision is reached. 0 transcribes nothing in batches.",
    )
    batch_controls: Aside[bool] = Field(
        default=False, title="Controls in batches", description="Transcribe in batches with the controls, too."
    )
    threads: int | None = Field(
        default=None, ge=1, le=256, title="Threads", description="Cores an engine may use; empty means every core."
    )
    gpu_batch: int = Field(
        default=32,
        ge=1,
        le=1024,
        title="GPU batch",
        description="Clips in one batch on a GPU. On the CPU a quarter of it is used, and at least one.",
    )

    def gated(self, device: str) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*self.variants, *(self.gpu_variants if device == "gpu" else ()))))

    @classmethod
    def only(cls, variant: str) -> dict[str, list[str]]:
        return super().only(variant) | {"gpu_variants": []}

    @property
    def cores(self) -> int:
        """Threads that an engine may use."""
        return self.threads or host.usable_cores()

    @property
    def decoding(self) -> engines.Decoding:
        return engines.Decoding(
            language=self.language,
            beam_size=self.beam_size,
            temperature_fallback=self.temperature_fallback,
            initial_prompt=self.initial_prompt,
            vad=self.vad,
            vad_model=self.vad_model,
        )

    @field_validator("model")
    @classmethod
    def _is_a_name_or_absolute(cls, model: str) -> str:
        if "://" in model:
            raise ValueError(
                "it is an address: download the file and give its path, or name a mirror in NIGHTGATE_MODELS_URL"
            )
        return model if known(model) else _absolute(model)

    @field_validator("clips", "vad_model")
    @classmethod
    def _are_absolute(cls, path: str | None) -> str | None:
        return _absolute(path) if path else None

    @field_validator("initial_prompt")
    @classmethod
    def _is_text(cls, prompt: str | None) -> str | None:
        if prompt and ("\0" in prompt or not prompt.strip()):
            raise ValueError("it holds no text, or a zero byte that would end it")
        return prompt

    @field_validator("language", mode="before")
    @classmethod
    def _is_a_code(cls, language: object) -> object:
        if language is False:  # YAML reads a bare `no` so
            language = "no"
        if isinstance(language, str) and language not in CODES:
            code = nearest(language)
            name = f" ({LANGUAGES[code]})" if code in LANGUAGES else ""
            raise ValueError(f"it is no language code of Whisper's; did you mean {code!r}{name}?")
        return language

    @model_validator(mode="after")
    def _least_is_no_more_than_most(self) -> Self:
        if self.least_repeats > self.repeats:
            raise ValueError(f"least_repeats is {self.least_repeats}, and repeats are {self.repeats} at most")
        return self

    @model_validator(mode="after")
    def _clips_fit(self) -> Self:
        if self.clips is None and self.exclude:
            raise ValueError("exclude names clips of yours, and clips is not set")
        if self.clips is None and self.language not in ("en", AUTO):
            raise ValueError(f"the packaged clips are English, and language is {self.language}; set clips to your own")
        return self

    @model_validator(mode="after")
    def _gated_engines_can_decode_so(self) -> Self:
        if self.vad_model and not self.vad:
            raise ValueError("vad_model belongs to voice activity detection, and vad is not set")
        for variant in self.variants:
            if reason := engines.cannot(variant, self.decoding):
                raise ValueError(str(reason))
        return self


def _absolute(path: str) -> str:
    try:
        return str(Path(path).expanduser().absolute())
    except RuntimeError as error:  # of a user that there is not
        raise ValueError(str(error)) from None
