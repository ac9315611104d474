"""What a record's detail tells of a transcription, typed; `Detail` holds all of it."""

from __future__ import annotations

from typing import Literal, Self

from pydantic import BaseModel, ConfigDict, JsonValue

from nightgate.transcription import scoring
from nightgate.transcription.clips.folder import ClipFacts, SavedClip
from nightgate.transcription.engines import Decoding
from nightgate.transcription.engines.interface import TEMPERATURES
from nightgate.transcription.languages import ErrorRate, judged_by
from nightgate.transcription.models.resolve import ResolvedModel
from nightgate.transcription.prepared import TranscriptionPrepared
from nightgate.transcription.settings import Settings
from nightgate.transcription.whisper_batch import batch_size_cpu


class _Model(BaseModel):
    model_config = ConfigDict(frozen=True)


class ModelDetail(_Model):
    """See `models.resolve.ResolvedModel`."""

    name: str
    source: str
    bytes: int
    sha256: str

    @classmethod
    def of(cls, model: ResolvedModel) -> Self:
        return cls(name=model.name, source=model.source, bytes=model.bytes, sha256=model.sha256)


class ClipsDetail(ClipFacts):
    """``ids`` in order of transcription."""

    ids: list[str]

    @classmethod
    def of(cls, facts: ClipFacts, clips: list[SavedClip]) -> Self:
        return cls(**facts.model_dump(exclude_none=True), ids=[clip.id for clip in clips])


class DecodingDetail(_Model):
    """See `engines.Decoding`, in the words of whisper.cpp."""

    strategy: Literal["greedy", "beam_search"]
    beam_size: int
    best_of: int
    temperature: float
    temperature_inc: float
    language: str
    initial_prompt: str | None
    no_context: bool
    vad: bool

    @classmethod
    def of(cls, decoding: Decoding) -> Self:
        return cls(
            strategy="greedy" if decoding.beam_size == 1 else "beam_search",
            beam_size=decoding.beam_size,
            best_of=decoding.best_of,
            temperature=TEMPERATURES[0],
            temperature_inc=decoding.temperature_inc,
            language=decoding.language,
            initial_prompt=decoding.initial_prompt,
            no_context=True,
            vad=decoding.vad,
        )


class Scoring(_Model):
    """How texts are normalised before errors are counted, and the error rate that an objective on ``wer`` holds for."""

    normaliser: str
    judged_by: ErrorRate


class Calibration(_Model):
    """A way to transcribe a batch, see `timed.Way`, and the seconds that it took for one."""

    contexts: int
    threads: int
    at_once: int
    seconds: float


class Batch(_Model):
    """The clips in batches of ``size``, in the fastest of the ways that were tried (``calibration``). ``wer`` is None
    where nobody speaks."""

    size: int
    clips: int
    audio_seconds: float
    contexts: int
    threads: int
    at_once: int
    calibration: list[Calibration]
    speedup_over_one_by_one: float
    wer: float | None
    peak_rss_bytes: int
    peak_device_bytes: int | None = None


class Detail(BaseModel):
    """``ran_on``: the device in the engine's own words. The two lists name clips."""

    model: ModelDetail | None = None
    clips: ClipsDetail | None = None
    audio_seconds: float | None = None
    batch_size_cpu: int | None = None
    decoding: DecodingDetail | None = None
    scoring: Scoring | None = None
    ran_on: str | None = None
    heard_nothing_in: list[str] | None = None
    heard_differently_the_second_time: list[str] | None = None
    batch: Batch | None = None

    @classmethod
    def of(cls, settings: Settings, prepared: TranscriptionPrepared, clips: list[SavedClip]) -> Self:
        """What is known before anything is measured."""
        return cls(
            model=ModelDetail.of(prepared.model),
            clips=ClipsDetail.of(prepared.clips.facts, clips),
            audio_seconds=sum(clip.seconds for clip in clips),
            batch_size_cpu=batch_size_cpu(settings.gpu_batch),
            decoding=DecodingDetail.of(settings.decoding),
            scoring=Scoring(
                normaliser=scoring.normaliser(settings.language),
                judged_by=judged_by(settings.language, (clip.text for clip in clips)),
            ),
        )

    def as_data(self) -> dict[str, JsonValue]:
        """As it stands in a record: what nobody has set is not there."""
        return self.model_dump(mode="json", exclude_unset=True)
