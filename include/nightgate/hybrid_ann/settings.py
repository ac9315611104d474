"""The parameters of the hybrid ANN benchmark."""

from __future__ import annotations

import os
from pathlib import Path
from typing import ClassVar

from pydantic import Field, field_validator, model_validator

from nightgate.hybrid_ann import strategies
from nightgate.hybrid_ann.batches import BATCHES
from nightgate.suite import BenchmarkSettings, Needs, Takes
from nightgate.vectors import own
from nightgate.vectors.dataset import query_counts
from nightgate.vectors.metric import Metric
from nightgate.vectors.source import Own, Source, Synthetic
from nightgate.vectors.synthetic import DEFAULT_HARDNESS
from nightgate.vectors.tuning import MARGIN

K = 100
"""Neighbours asked for per query where nothing else is set, and the most: the ground truth holds no more."""

_DEPTHS = (1, 10)  # at which recall is told of every answer that is as long, beside k itself
_LEAST_ROWS = 2_000
_MAKE, _EXACT, _QUERY = 2e-7, 2e-10, 4e-12
"""Seconds per number of the base: to make or copy it; to compare it with a query exactly; of one timed query."""
_BUILD = {
    "hybrid": 2e-7, "ivfpq_refine": 2e-7, "hnsw": 1.5e-6, "hybrid_seeded": 1.5e-6, "hnswlib": 1e-6, "usearch": 3e-6,
    "faiss_hnsw": 1.5e-6,
}  # fmt: skip
"""Seconds per number of the base to build what a variant reads."""
_SETTINGS_TRIED = 20
_GRAPHS = ("hnsw", "hybrid_seeded", "hnswlib", "usearch", "faiss_hnsw")


class Settings(BenchmarkSettings):
    """``hybrid`` is what the objectives gate. ``ivfpq_refine`` (faiss) and ``hnsw`` (nmslib) are its parts alone,
    ``hybrid_seeded`` is the other way to join them, ``exact`` compares every row and runs on a GPU alone, the rest are
    peers."""

    known_variants: ClassVar[tuple[str, ...]] = (
        "hybrid", "hybrid_seeded", "ivfpq_refine", "hnsw", "hnswlib", "usearch", "faiss_hnsw", "exact",
    )  # fmt: skip

    dataset: str | None = Field(
        default=None, title="Data set",
        description="Your own vectors: an ann-benchmarks .hdf5 file, .fvecs, .bvecs, .fbin, .u8bin, .i8bin, .npy, .csv, .tsv "
        "or .parquet. Empty means synthetic ones.",
    )  # fmt: skip
    queries_file: str | None = Field(
        default=None,
        title="Queries file",
        description="Of the same formats. Empty means the data set's own queries, or rows held out of it.",
    )
    metric: Metric | None = Field(
        default=None,
        title="Metric",
        description="Of your data set: cosine, l2 or ip (inner product). Empty means the one it names.",
    )
    dataset_rows: int | None = Field(
        default=None, ge=_LEAST_ROWS, title="Rows of the data set", description="Use only the first so many."
    )
    skip_zero_rows: bool = Field(
        default=False, title="Skip zero rows",
        description="Leave rows that are zero out of your data set under cosine, where they have no direction.",
    )  # fmt: skip
    rows: int = Field(
        default=50_000, ge=_LEAST_ROWS, le=20_000_000, title="Vectors", description="Synthetic rows in the base."
    )
    dim: int = Field(default=256, ge=8, le=4096, title="Dimensions", description="Of the synthetic vectors.")
    hardness: float = Field(
        default=DEFAULT_HARDNESS, ge=0, le=1, title="Hardness",
        description="Of the synthetic vectors: 0 is well-separated clusters, 1 nearly no structure.",
    )  # fmt: skip
    seed: int = Field(
        default=20,
        ge=0,
        le=2**31,
        title="Seed",
        description="Decides the synthetic vectors, and which rows are held out.",
    )
    queries: int = Field(
        default=200, ge=100, le=100_000, title="Queries",
        description="Distinct measured queries; the tuning uses others. Fewer than 100 give P95 no interval.",
    )  # fmt: skip
    k: int = Field(
        default=K, ge=1, le=K, title="Neighbours per query",
        description="Recall is told at this depth (recall_at_100 for 100), and at 1 and 10 where it reaches as far.",
    )  # fmt: skip
    passes: int = Field(
        default=3, ge=1, le=50, title="Passes", description="Timed passes over the queries in each process."
    )
    processes: int = Field(
        default=2, ge=1, le=10, title="Processes", description="Fresh processes whose samples are pooled."
    )
    recall_target: float = Field(
        default=0.92, ge=0.5, le=0.999, title="Recall target",
        description="The cheapest setting that reaches it is looked for, on queries that are not measured.",
    )  # fmt: skip
    recall_margin: float = Field(
        default=MARGIN, ge=0, le=0.2, title="Recall margin",
        description="How far above the target the setting must be, so that the measured queries reach it as well.",
    )  # fmt: skip
    load_seconds: float = Field(
        default=2, ge=0, le=600, title="Seconds under load",
        description="How long throughput (batches on all cores) and the open loop are measured, each; 0 leaves both out.",
    )  # fmt: skip
    arrival_rate: float = Field(
        default=200, gt=0, le=1e6, title="Arrival rate",
        description="Queries per second in the open loop, where latency counts from the scheduled moment.",
    )  # fmt: skip
    batch: int = Field(
        default=256, ge=1, le=100_000, title="Batch", description="Queries handed over at once for the throughput."
    )
    threads: int | None = Field(
        default=None, ge=1, le=256, title="Threads",
        description="To build with, and for the throughput; empty means all cores. Timed queries always run on one.",
    )  # fmt: skip
    rows_per_list: int = Field(
        default=128, ge=16, le=100_000, title="Rows per list",
        description="Of the inverted file, on average: fewer leave less to scan and more to route.",
    )  # fmt: skip
    hnsw_m: int = Field(default=16, ge=4, le=64, title="HNSW M", description="Links per vector of the graphs.")
    hnsw_ef_construction: int = Field(
        default=100, ge=16, le=2000, title="HNSW efConstruction", description="Effort with which the graphs are built."
    )

    @field_validator("dataset", "queries_file")
    @classmethod
    def _absolute(cls, path: str | None) -> str | None:
        try:
            return str(Path(path).expanduser().absolute()) if path else None
        except RuntimeError as error:  # of a user that there is not
            raise ValueError(str(error)) from None

    @model_validator(mode="after")
    def _has_a_data_set(self) -> Settings:
        for name in ("queries_file", "metric", "dataset_rows", "skip_zero_rows"):
            if self.dataset is None and getattr(self, name) not in (None, False):
                raise ValueError(
                    f"{name} belongs to a data set of yours, and dataset is not set. "
                    f"Next step: set it as well, or leave {name} out"
                )
        return self

    @property
    def recall_depths(self) -> tuple[int, ...]:
        return tuple(sorted({self.k, *(depth for depth in _DEPTHS if depth < self.k)}))

    @property
    def source(self) -> Source:
        if self.dataset:
            return self._own()
        return Synthetic(self.rows, self.dim, self.queries, self.seed, self.hardness)

    def needs(self) -> Needs:
        """As of every benchmark; here the user's files are looked at, which must be whole before the run and not after.

        Raises:
            InputError: as `own.inspect`.
        """
        rows, dim, copies = self.rows, self.dim, 1
        if self.dataset:
            plan = own.inspect(self._own())
            rows, dim = plan.rows, plan.dim
            copies += plan.metric == "cosine"  # as the file has them, and at unit length
        vectors = rows * dim * 4
        graphs = sum(name in _GRAPHS for name in (*self.variants, *self.controls))
        graph = int(2.4 * vectors) if graphs else 0
        return Needs(disk=int((0.3 + copies) * vectors) + graphs * graph, memory=2**30 + int(1.6 * vectors) + graph)

    def takes(self) -> Takes:
        """As of every benchmark. The rates are per number of the base; see the README for where they were measured.

        Raises:
            InputError: as `own.inspect`.
        """
        rows, dim = self.rows, self.dim
        if self.dataset:
            plan = own.inspect(self._own())
            rows, dim = plan.rows, plan.dim
        numbers = rows * dim
        cores = min(self.threads or os.cpu_count() or 1, 16)
        chosen = [name for name in (*self.variants, *self.controls) if strategies.made_for(name, "cpu")]
        effort = self.hnsw_ef_construction / 100
        builds = sum(_BUILD[name] * (effort if name in _GRAPHS else 1) for name in chosen)
        exact = _EXACT * sum(query_counts(self.queries).values())
        prepare = 60 + numbers * (_MAKE + (exact + builds) * 2 / cores)
        query = 1e-3 + _QUERY * numbers
        asked = self.processes * (self.passes * self.queries) + _SETTINGS_TRIED * query_counts(self.queries)["tuning"]
        measure = 20 + len(chosen) * (10 * self.processes + 2 * self.load_seconds + asked * query)
        measure += len(self.variants) * len(BATCHES) * self.load_seconds
        lower = "dataset_rows, passes or controls" if self.dataset else "rows, passes or controls"
        return Takes(prepare=prepare, measure=measure, lower=lower)

    def _own(self) -> Own:
        assert self.dataset
        return Own(
            path=self.dataset, queries=self.queries, seed=self.seed, least_rows=_LEAST_ROWS,
            queries_path=self.queries_file, metric=self.metric, rows=self.dataset_rows,
            skip_zero=self.skip_zero_rows,
        )  # fmt: skip
