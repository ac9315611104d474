"""The pgvector benchmark as the platform knows it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, ClassVar

from nightgate.benchmark import Benchmark, Context, Prepared, Service
from nightgate.metrics import MetricSpec
from nightgate.paths import EMBEDDED_PGVECTOR
from nightgate.pgvector_search import address
from nightgate.pgvector_search.metrics import HEADLINES, METRICS
from nightgate.pgvector_search.settings import Settings
from nightgate.record import Device, Record

SERVICE = Service("pgvector", address.URL_VARIABLE, "pgvector_default", EMBEDDED_PGVECTOR)


class PgvectorPrepared(Prepared):
    """See `preparing.prepare`."""

    vectors: str
    truth: str
    data: dict[str, Any]
    gated: list[str]
    absent: dict[str, str]
    failed: dict[str, str]


class PgvectorSearch(Benchmark[Settings, PgvectorPrepared]):
    name = "pgvector_search"
    title = "pgvector search"
    devices: ClassVar[tuple[Device, ...]] = ("cpu",)
    settings = Settings
    prepared = PgvectorPrepared
    metrics: ClassVar[tuple[MetricSpec, ...]] = METRICS
    headlines = HEADLINES
    services = (SERVICE,)

    def prepare(self, settings: Settings, context: Context) -> PgvectorPrepared:
        from nightgate.pgvector_search.benchmark import prepare

        return PgvectorPrepared.model_validate(prepare(settings, context.device, context.cache))

    def measure(self, settings: Settings, prepared: PgvectorPrepared, context: Context) -> list[Record]:
        from nightgate.pgvector_search.benchmark import measure

        return measure(settings, context.device, prepared.model_dump(), context.samples)

    def tidy(self, settings: Settings, context: Context) -> None:
        from nightgate.pgvector_search.benchmark import tidy

        tidy(settings)

    def findings(self, services: Mapping[str, str]) -> Iterator[tuple[bool, str]]:
        from nightgate.pgvector_search import doctor

        yield doctor.finding()


BENCHMARK = PgvectorSearch()
