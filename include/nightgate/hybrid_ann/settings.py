"""The parameters of the hybrid ANN benchmark."""

from __future__ import annotations

import os
from typing import ClassVar

from pydantic import Field

from nightgate.hybrid_ann import strategies
from nightgate.measure import host
from nightgate.suite import Aside, Needs, Takes
from nightgate.vector_search.batches import BATCHES
from nightgate.vector_search.settings import MAKE_SECONDS, Shape, VectorSettings
from nightgate.vector_search.strategy import Strategy
from nightgate.vector_search.tuning import MARGIN
from nightgate.vectors.dataset import query_counts

_QUERY = 4e-12
"""Seconds per number of the base, of one timed query."""
_SETTINGS_TRIED = 20


class Settings(VectorSettings):
    """``hybrid`` is what the objectives gate. ``ivfpq_refine`` (faiss) and ``hnsw`` (nmslib) are its parts alone,
    ``hybrid_seeded`` is the other way to join them, ``exact`` compares every row and runs on a GPU alone, the rest are
    peers, those of other packages among them."""

    known_variants: ClassVar[tuple[str, ...]] = tuple(strategies.known())

    rows: int = Field(
        default=50_000, ge=2_000, le=20_000_000, title="Vectors", description="Synthetic rows in the base."
    )
    recall_target: float = Field(
        default=0.92,
        ge=0.5,
        le=0.999,
        title="Recall target",
        description="The cheapest setting that reaches it is looked for, on queries that are not measured.",
    )
    processes: Aside[int] = Field(
        default=2, ge=1, le=10, title="Processes", description="Fresh processes whose samples are pooled."
    )
    precision: Aside[float] = Field(
        default=0.02,
        gt=0,
        le=0.5,
        title="Precision",
        description="The passes are repeated until P50 and P95 are known to this share of themselves, as far as repeating "
        "helps: how much the queries differ from each other is not in it.",
    )
    most_passes: Aside[int] = Field(
        default=40,
        ge=1,
        le=1000,
        title="Most passes",
        description="In each process, where the precision is not reached before.",
    )
    recall_margin: float = Field(
        default=MARGIN,
        ge=0,
        le=0.2,
        title="Recall margin",
        description="How far above the target the setting must be, so that the measured queries reach it as well.",
    )
    load_controls: Aside[bool] = Field(
        default=False,
        title="Load on the controls",
        description="Put the controls under load too, which no verdict needs. On a GPU they always are.",
    )
    batch: int = Field(
        default=256, ge=1, le=100_000, title="Batch", description="Queries handed over at once for the throughput."
    )
    threads: int | None = Field(
        default=None,
        ge=1,
        le=256,
        title="Threads",
        description="To build with, and for the throughput; empty means all cores. Timed queries always run on one.",
    )
    rows_per_list: int = Field(
        default=128,
        ge=16,
        le=100_000,
        title="Rows per list",
        description="Of the inverted file, on average: fewer leave less to scan and more to route.",
    )
    hnsw_m: int = Field(default=16, ge=4, le=64, title="HNSW M", description="Links per vector of the graphs.")
    hnsw_ef_construction: int = Field(
        default=100, ge=16, le=2000, title="HNSW efConstruction", description="Effort with which the graphs are built."
    )

    @property
    def cores(self) -> int:
        """Threads to build with, and for the throughput."""
        return self.threads or host.usable_cores()

    @property
    def parameters(self) -> dict[str, int]:
        """What an index is built with; see `strategy.PARAMETERS`."""
        return {
            "threads": self.cores,
            "m": self.hnsw_m,
            "ef_construction": self.hnsw_ef_construction,
            "rows_per_list": self.rows_per_list,
        }

    def together_for(self, shape: Shape) -> int:
        """Bytes of memory that all strategies take at once, each in a process of its own, estimated from above. The vectors
        themselves are in memory once: every process maps the same file."""
        indexes = sum(one.index_bytes_per_number for one in self._chosen())
        return int(1.6 * shape.numbers * 4 + shape.numbers * indexes) + 2**30 + len(self._chosen()) * 2**28

    def needs_for(self, shape: Shape) -> Needs:
        vectors, per_number = shape.numbers * 4, [one.index_bytes_per_number for one in self._chosen()]
        disk = int((0.3 + self.copies(shape)) * vectors) + sum(int(shape.numbers * each) for each in per_number)
        memory = 2**30 + int(1.6 * vectors) + int(shape.numbers * max(per_number, default=0))
        return Needs(disk=disk, memory=memory)

    def takes_for(self, shape: Shape) -> Takes:
        numbers, chosen = shape.numbers, self._chosen()
        cores = min(self.threads or os.cpu_count() or 1, 16)
        effort = self.hnsw_ef_construction / 100
        builds = sum(one.build_seconds_per_number * (effort if _is_graph(one) else 1) for one in chosen)
        prepare = 60 + numbers * (MAKE_SECONDS + (self.exact_seconds() + builds) * 2 / cores)
        query = 1e-3 + _QUERY * numbers
        passes = max(self.passes, self.most_passes)
        asked = self.processes * (passes * self.queries) + _SETTINGS_TRIED * query_counts(self.queries)["tuning"]
        measure = 20 + len(chosen) * (10 * self.processes + 2 * self.load_seconds + asked * query)
        measure += len(self.variants) * len(BATCHES) * self.load_seconds
        return Takes(prepare=prepare, measure=measure, lower=f"{self.rows_setting}, passes or controls")

    def _chosen(self) -> list[type[Strategy]]:
        """What is measured on a CPU, where everything takes longest."""
        asked = (*self.variants, *self.controls)
        return [strategies.on("cpu", variant) for variant in asked if strategies.made_for(variant, "cpu")]


def _is_graph(strategy: type[Strategy]) -> bool:
    return any("ef_construction" in index.parameters for index in strategy.indexes())
