"""What every vector search can be asked: the vectors, the queries, the recall that is wanted, the load."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar, cast

from pydantic import Field, field_validator, model_validator

from nightgate.benchmark import Looked
from nightgate.suite import Aside, BenchmarkSettings, Needs, Takes
from nightgate.vectors import own
from nightgate.vectors.data import TRUTH_DEPTH
from nightgate.vectors.dataset import query_counts
from nightgate.vectors.metric import Metric
from nightgate.vectors.source import Own, Source, Synthetic
from nightgate.vectors.synthetic import DEFAULT_HARDNESS

MAKE_SECONDS, EXACT_SECONDS = 2e-7, 2e-10
"""Per number of the base: to make or copy it; to compare it with a query exactly."""

_DEPTHS = (1, 10)  # at which recall is told of every answer that is as long, beside k itself


class Shape(Looked):
    """``rows`` × ``dim`` float32 vectors that are compared by ``metric``; none where nobody has looked."""

    rows: int = 0
    dim: int = 0
    metric: Metric = "cosine"

    @property
    def numbers(self) -> int:
        return self.rows * self.dim


class VectorSettings(BenchmarkSettings):
    """``least_rows``: how many a base must keep."""

    least_rows: ClassVar[int] = 2_000

    dataset: Aside[str | None] = Field(
        default=None,
        title="Data set",
        description="Your own vectors: an ann-benchmarks .hdf5 file, .fvecs, .bvecs, .fbin, .u8bin, .i8bin, .npy, .csv, .tsv "
        "or .parquet. Empty means synthetic ones.",
    )
    queries_file: Aside[str | None] = Field(
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
        default=None, ge=1, title="Rows of the data set", description="Use only the first so many."
    )
    skip_zero_rows: bool = Field(
        default=False,
        title="Skip zero rows",
        description="Leave rows that are zero out of your data set under cosine, where they have no direction.",
    )
    rows: int = Field(
        default=50_000, ge=1_000, le=20_000_000, title="Vectors", description="Synthetic rows in the base."
    )
    dim: int = Field(default=256, ge=8, le=4096, title="Dimensions", description="Of the synthetic vectors.")
    hardness: float = Field(
        default=DEFAULT_HARDNESS,
        ge=0,
        le=1,
        title="Hardness",
        description="Of the synthetic vectors: 0 is well-separated clusters, 1 nearly no structure.",
    )
    seed: int = Field(
        default=20,
        ge=0,
        le=2**31,
        title="Seed",
        description="Decides the synthetic vectors, and which rows are held out.",
    )
    queries: int = Field(
        default=200,
        ge=100,
        le=100_000,
        title="Queries",
        description="Distinct measured queries; the tuning uses others. Fewer than 100 give P95 no interval.",
    )
    k: int = Field(
        default=TRUTH_DEPTH,
        ge=1,
        le=TRUTH_DEPTH,
        title="Neighbours per query",
        description="Recall is told at this depth (recall_at_100 for 100), and at 1 and 10 where it reaches as far.",
    )
    passes: Aside[int] = Field(
        default=3, ge=1, le=50, title="Passes", description="Timed passes over the queries in each process."
    )
    recall_target: float = Field(
        default=0.92,
        ge=0.5,
        le=1,
        title="Recall target",
        description="The cheapest setting that reaches it is looked for, on queries that are not measured.",
    )
    load_seconds: Aside[float] = Field(
        default=2,
        ge=0,
        le=600,
        title="Seconds under load",
        description="How long the throughput and the open loop are measured, each; 0 leaves both out.",
    )
    arrival_rate: float = Field(
        default=200,
        gt=0,
        le=1e6,
        title="Arrival rate",
        description="Queries per second in the open loop, where latency counts from the scheduled moment.",
    )

    @field_validator("dataset", "queries_file")
    @classmethod
    def _absolute(cls, path: str | None) -> str | None:
        try:
            return str(Path(path).expanduser().absolute()) if path else None
        except RuntimeError as error:  # of a user that there is not
            raise ValueError(str(error)) from None

    @model_validator(mode="after")
    def _has_a_data_set(self) -> VectorSettings:
        for name in ("queries_file", "metric", "dataset_rows", "skip_zero_rows"):
            if self.dataset is None and getattr(self, name) not in (None, False):
                raise ValueError(
                    f"{name} belongs to a data set of yours, and dataset is not set. "
                    f"Next step: set it as well, or leave {name} out"
                )
        if self.dataset_rows is not None and self.dataset_rows < self.least_rows:
            raise ValueError(f"dataset_rows={self.dataset_rows} is too few: {self.least_rows} must be left to search")
        return self

    @property
    def recall_depths(self) -> tuple[int, ...]:
        """The k of every recall@k that is measured: no objective can be on another."""
        return tuple(sorted({self.k, *(depth for depth in _DEPTHS if depth < self.k)}))

    @property
    def source(self) -> Source:
        return self._own() if self.dataset else Synthetic(self.rows, self.dim, self.queries, self.seed, self.hardness)

    def shape(self) -> Shape:
        """What will be searched; of a file of the user's by its header, which is looked at.

        Raises:
            InputError: as `own.inspect`.
        """
        if not self.dataset:
            return Shape(rows=self.rows, dim=self.dim, metric="cosine")
        plan = own.inspect(self._own())
        return Shape(rows=plan.rows, dim=plan.dim, metric=cast(Metric, plan.metric))

    def needs_for(self, shape: Shape) -> Needs:
        """As `Benchmark.needs`, for vectors of that ``shape``."""
        raise NotImplementedError

    def takes_for(self, shape: Shape) -> Takes:
        """As `Benchmark.takes`, for vectors of that ``shape``."""
        raise NotImplementedError

    def copies(self, shape: Shape) -> int:
        """How often the vectors are kept: a file's under cosine as it has them, too, and at unit length."""
        return 2 if self.dataset and shape.metric == "cosine" else 1

    def exact_seconds(self) -> float:
        """Per number of the base, to compare all queries with it exactly on two cores."""
        return EXACT_SECONDS * sum(query_counts(self.queries).values())

    @property
    def rows_setting(self) -> str:
        """The setting that makes the base smaller."""
        return "dataset_rows" if self.dataset else "rows"

    def _own(self) -> Own:
        assert self.dataset
        return Own(
            path=self.dataset,
            queries=self.queries,
            seed=self.seed,
            least_rows=self.least_rows,
            queries_path=self.queries_file,
            metric=self.metric,
            rows=self.dataset_rows,
            skip_zero=self.skip_zero_rows,
        )
