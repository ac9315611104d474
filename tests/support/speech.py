"""The transcription benchmark as the platform calls it: what is prepared travels as JSON in between."""

from __future__ import annotations

from nightgate.artifacts import Cache
from nightgate.benchmark import Context
from nightgate.transcription.plugin import BENCHMARK
from nightgate.transcription.prepared import TranscriptionPrepared


def prepare(settings, cache, device="cpu"):
    made = BENCHMARK.prepare(settings, Context(device, cache))
    return TranscriptionPrepared.model_validate_json(made.model_dump_json())


def measure(settings, prepared, samples, device="cpu"):
    return BENCHMARK.measure(settings, prepared, Context(device, Cache(samples.parent / "cache"), samples=samples))
