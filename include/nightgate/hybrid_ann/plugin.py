"""The hybrid ANN benchmark as the platform knows it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from pydantic import Field

from nightgate.benchmark import Benchmark, Context, Prepared
from nightgate.hybrid_ann.metrics import HEADLINES, METRICS
from nightgate.hybrid_ann.settings import Settings
from nightgate.metrics import MetricSpec
from nightgate.record import Record
from nightgate.vectors.metrics import DEEPEST, RECALL


class HybridPrepared(Prepared):
    """See `benchmark.prepare`."""

    vectors: str
    truth: str
    data: dict[str, Any]
    indexes: dict[str, Any]
    failed: dict[str, str] = Field(default_factory=dict)
    missing: dict[str, str] = Field(default_factory=dict)


class HybridAnn(Benchmark[Settings, HybridPrepared]):
    name = "hybrid_ann"
    title = "Hybrid ANN"
    settings = Settings
    prepared = HybridPrepared
    metrics: ClassVar[tuple[MetricSpec, ...]] = METRICS
    headlines = HEADLINES

    def measures(self, settings: Settings) -> tuple[str, ...]:
        recalls = {spec.name for spec in RECALL.values()} - {RECALL[k].name for k in settings.recall_depths}
        return tuple(name for name in super().measures(settings) if name not in recalls)

    def headline(self, records: Sequence[Record]) -> tuple[str, ...]:
        """Recall at the depth that was asked for."""
        depths = dict.fromkeys(record.settings.get("k") or DEEPEST for record in records)
        names = (*(RECALL[k].name for k in depths), *HEADLINES[1:])
        return tuple(name for name in names if any(name in record.metrics for record in records))

    def prepare(self, settings: Settings, context: Context) -> HybridPrepared:
        from nightgate.hybrid_ann.benchmark import prepare

        return HybridPrepared.model_validate(prepare(settings, context.device, context.cache))

    def measure(self, settings: Settings, prepared: HybridPrepared, context: Context) -> list[Record]:
        from nightgate.hybrid_ann.benchmark import measure

        return measure(settings, context.device, prepared.model_dump(), context.samples)


BENCHMARK = HybridAnn()
