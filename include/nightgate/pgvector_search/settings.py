"""What can be asked of the pgvector benchmark. Light: the trigger form is built from it."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field, model_validator

from nightgate.pgvector_search import address
from nightgate.pgvector_search.variants import MOST_DIMENSIONS, VARIANTS, too_long
from nightgate.suite import BenchmarkSettings, Needs, Takes
from nightgate.vectors.dataset import query_counts

K = 5
"""Neighbours asked for per query; the objective is recall@5 and the timed statement says ``LIMIT 5``."""

_SPREAD = 0.2  # of recall@5 between queries
_MAKE, _EXACT, _LOAD, _QUERY = 2e-7, 2e-10, 4e-8, 1.5e-10
"""Seconds per number of the table: to make it; to compare it with a query exactly; to load it; of one timed query."""
_LISTS_BUILD, _GRAPH_BUILD = 1e-7, 1e-6
"""Seconds per number of the table to build an index over it."""
_SETTINGS_TRIED = 10
_GRAPH = 300  # bytes per row that hnsw's links take, estimated from above


class Settings(BenchmarkSettings):
    """``ivfflat`` and ``hnsw`` are indexes over float32 vectors (type ``vector``), with ``_halfvec`` over float16 ones;
    ``_lists1000`` has a thousand lists whatever ``lists`` says."""

    known_variants: ClassVar[tuple[str, ...]] = tuple(VARIANTS)

    rows: int = Field(
        default=50_000, ge=1_000, le=5_000_000, title="Rows", description="Rows of the table that is searched."
    )
    dim: int = Field(
        default=256, ge=8, le=max(MOST_DIMENSIONS.values()), title="Dimensions",
        description="Of a vector; beyond 2000 pgvector indexes halfvec only, up to 4000.",
    )  # fmt: skip
    queries: int = Field(
        default=200, ge=100, le=10_000, title="Queries",
        description="Distinct measured queries; probes are tuned on others.",
    )  # fmt: skip
    passes: int = Field(default=3, ge=1, le=20, title="Passes", description="Timed passes over the queries.")
    control_passes: int = Field(
        default=1, ge=1, le=20, title="Passes of the controls", description="They only stand beside the gated variants."
    )
    lists: int = Field(
        default=100, ge=1, le=32_768, title="Lists",
        description="Lists of the ivfflat index, at most one per row. pgvector advises rows / 1000.",
    )  # fmt: skip
    seed: int = Field(default=20, ge=0, le=2**31, title="Seed", description="Decides the synthetic vectors.")
    recall_target: float = Field(
        default=0.90, ge=0.5, le=1, title="Recall target",
        description="The fewest probes that reach it on the tuning queries, with room for chance, are measured.",
    )  # fmt: skip
    latency_target: float = Field(
        default=0.030, gt=0, le=60, title="Latency target",
        description="P95 in seconds that should hold with the recall; the verdict says what comes closest if it does not.",
    )  # fmt: skip
    load_seconds: float = Field(
        default=2, ge=0, le=600, title="Seconds under load",
        description="Of the open loop, and of each number of clients in the closed loop; 0 leaves both out.",
    )  # fmt: skip
    arrival_rate: float = Field(
        default=20, gt=0, le=1e6, title="Arrival rate",
        description="Queries per second in the open loop, where latency counts from the scheduled moment.",
    )  # fmt: skip
    clients: tuple[int, ...] = Field(
        default=(1, 2, 4, 8), min_length=1, title="Clients", description="How many at once in the closed loop, in turn."
    )
    keep: bool | None = Field(
        default=None, title="Keep the tables",
        description="For the next night. Empty: kept on the embedded server, removed from one of yours.",
    )  # fmt: skip
    require_service: bool = Field(
        default=False, title="Require the server",
        description="An absent server fails the benchmark instead of skipping it.",
    )  # fmt: skip

    @property
    def recall_margin(self) -> float:
        """How far above the target the tuning must be for the whole 95 % interval of the measured recall to clear it.

        Recall@5 spreads by about 0.2 between queries near 0.9. The interval reaches 1.96 x 0.2 / sqrt(measured) below the
        measured mean, and that scatters about the tuned mean by 0.2 x sqrt(1 / measured + 1 / tuned), of which 1.645
        cover 95 of 100 builds. Never more than half of what is left to 1.
        """
        measured, tuned = self.queries, query_counts(self.queries)["tuning"]
        wanted = _SPREAD * (1.96 * measured**-0.5 + 1.645 * (1 / measured + 1 / tuned) ** 0.5)
        return min(wanted, (1 - self.recall_target) / 2)

    @property
    def keeps(self) -> bool:
        """Whether the tables stay, ``keep`` and the server considered."""
        return address.embedded() if self.keep is None else self.keep

    def needs(self) -> Needs:
        """As of every benchmark; here the address of the server is looked at as well, which must be one.

        Raises:
            InputError: it is no connection string.
        """
        if url := address.url():
            address.name(url)
        vectors = self.rows * self.dim * 4
        tables = 0.0
        for variant in {*self.variants, *self.controls}:
            kind = VARIANTS[variant]
            # heap and index on a server that may stand on this host, pages filled to three quarters
            tables += 2.7 * vectors / (2 if kind.column == "halfvec" else 1)
            tables += self.rows * _GRAPH if kind.method == "hnsw" else 0
        return Needs(disk=int(vectors + tables) + 2**28, memory=2**30 + int(1.5 * vectors))

    def takes(self) -> Takes:
        """As of every benchmark. The rates are per number of the table; see the README for where they were measured."""
        numbers, counts = self.rows * self.dim, query_counts(self.queries)
        prepare, measure = 60 + numbers * (_MAKE + _EXACT * sum(counts.values())), 20.0
        for variant in (*self.variants, *self.controls):
            kind = VARIANTS[variant]
            lists = kind.lists or self.lists
            build = _GRAPH_BUILD if kind.method == "hnsw" else _LISTS_BUILD * (1 + lists / 1000)
            prepare += numbers * (_LOAD + build)
            passes = self.passes if variant in self.variants else self.control_passes
            asked = self.queries * passes + _SETTINGS_TRIED * counts["tuning"]
            measure += 20 + asked * (2e-3 + _QUERY * numbers) + self.load_seconds * (1 + len(self.clients))
        return Takes(prepare=prepare, measure=measure, lower="rows, passes or controls")

    @model_validator(mode="after")
    def _lists_have_rows(self) -> Settings:
        most = max((VARIANTS[v].lists or self.lists for v in (*self.variants, *self.controls)), default=self.lists)
        if max(most, self.lists) > self.rows:
            raise ValueError(f"lists={max(most, self.lists)} is more than rows={self.rows}; every list needs a row")
        return self

    @model_validator(mode="after")
    def _dimensions_fit(self) -> Settings:
        """Of the gated variants; a control that cannot have them is skipped with the reason."""
        for variant in self.variants:
            if reason := too_long(variant, self.dim):
                fitting = ", ".join(name for name in VARIANTS if too_long(name, self.dim) is None)
                raise ValueError(
                    f"variants: {variant} cannot be built: {reason}; use one of {fitting}, or a smaller dim"
                )
        return self

    @model_validator(mode="after")
    def _clients_in_bounds(self) -> Settings:
        if not all(1 <= clients <= 64 for clients in self.clients):
            raise ValueError(f"clients={list(self.clients)}: each must be from 1 to 64")
        return self
