"""The hybrid ANN benchmark as the platform knows it."""

from __future__ import annotations

from typing import ClassVar

from nightgate.benchmark import Context
from nightgate.hybrid_ann import measuring, preparing
from nightgate.hybrid_ann.prepared import HybridPrepared
from nightgate.hybrid_ann.settings import Settings
from nightgate.metrics import MetricSpec
from nightgate.record import Record
from nightgate.vector_search.benchmark import VectorBenchmark
from nightgate.vector_search.metrics import HEADLINES, IN_PROCESS


class HybridAnn(VectorBenchmark[Settings, HybridPrepared]):
    name = "hybrid_ann"
    title = "Hybrid ANN"
    settings = Settings
    prepared = HybridPrepared
    metrics: ClassVar[tuple[MetricSpec, ...]] = IN_PROCESS
    headlines = ("recall_at_100", *HEADLINES)

    def prepare(self, settings: Settings, context: Context) -> HybridPrepared:
        """Build what is missing: vectors, exact neighbours, and the indexes that the variants read, each by itself.

        Raises:
            Unavailable: on ``gpu``, when there is none, or nothing that was asked for runs there.
            NotMeasured: no gated strategy is installed. DriverError: the GPU's driver does not work.
            InputError: the user's data set cannot be used.
        """
        return preparing.prepare(settings, context)

    def tidy(self, settings: Settings, context: Context) -> None:
        preparing.tidy(context)

    def measure(self, settings: Settings, prepared: HybridPrepared, context: Context) -> list[Record]:
        """One record per variant that is made for the device. One that fails is recorded as failed, and the next is
        measured. Failed is only one whose queries could not be timed at all: what else is missing is said in its record.

        The strategies take turns, see `timing.time_all`, so that a host that slows down meanwhile does not favour one of
        them. Indexes that were built anew for ``context.fresh`` go away afterwards.
        """
        try:
            return measuring.measure(self, settings, prepared, context)
        finally:
            self.tidy(settings, context)


BENCHMARK = HybridAnn()
