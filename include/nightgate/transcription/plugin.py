"""The transcription benchmark as the platform knows it."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, ClassVar

from nightgate.benchmark import Benchmark, Context, Gauge, Looked, Prepared
from nightgate.metrics import MetricSpec
from nightgate.objectives import Limit
from nightgate.record import Record
from nightgate.transcription.metrics import HEADLINES, METRICS, XRT
from nightgate.transcription.settings import Settings

_SLOWEST = "Processing time per audio time of the slowest gated engine in the newest run."


class TranscriptionPrepared(Prepared):
    """See `benchmark.prepare`."""

    model: dict[str, Any]
    clips: dict[str, Any]


class Transcription(Benchmark[Settings, TranscriptionPrepared]):
    name = "transcription"
    title = "Transcription"
    settings = Settings
    prepared = TranscriptionPrepared
    metrics: ClassVar[tuple[MetricSpec, ...]] = METRICS
    headlines = HEADLINES

    def applicable(
        self, settings: Settings, looked: Looked, limits: Mapping[str, Mapping[str, Limit]]
    ) -> dict[str, dict[str, Limit]]:
        return settings.applicable(limits)

    def prepare(self, settings: Settings, context: Context) -> TranscriptionPrepared:
        from nightgate.transcription.benchmark import prepare

        return TranscriptionPrepared.model_validate(prepare(settings, context.device, context.cache))

    def measure(self, settings: Settings, prepared: TranscriptionPrepared, context: Context) -> list[Record]:
        from nightgate.transcription.benchmark import measure

        return measure(settings, context.device, prepared.model_dump(), context.samples)

    def gauges(self, records: Iterable[Record]) -> Iterator[Gauge]:
        """``whisper_xrt``: per device the highest xRT among the gated engines."""
        slowest: dict[str, float] = {}
        for record in records:
            if record.gated and record.status == "measured" and (xrt := record.metrics.get(XRT.name)):
                slowest[record.device] = max(xrt.value, slowest.get(record.device, 0.0))
        for device, value in slowest.items():
            yield Gauge("whisper_xrt", _SLOWEST, {"device": device}, value)


BENCHMARK = Transcription()
