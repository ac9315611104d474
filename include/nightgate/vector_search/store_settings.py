"""What the benchmark of any vector store can be asked."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field, model_validator

from nightgate.suite import Aside, Needs, Takes
from nightgate.vector_search.settings import MAKE_SECONDS, Shape, VectorSettings
from nightgate.vectors.dataset import query_counts

_SPREAD = 0.2  # of recall@5 between queries
_LOAD_SECONDS, _QUERY_SECONDS = 4e-8, 1.5e-10
"""Per number of the base: to load it; of one timed query."""
_INDEX_SECONDS = 1e-6
_SETTINGS_TRIED = 10
_STORED = 3.0  # of the vectors' bytes, that a collection and its index take


class StoreSettings(VectorSettings):
    """The gated variants are timed in all passes and put under load, the controls stand beside them."""

    least_rows: ClassVar[int] = 1_000

    queries: int = Field(
        default=200,
        ge=100,
        le=10_000,
        title="Queries",
        description="Distinct measured queries; the setting is tuned on others.",
    )
    k: int = Field(
        default=5,
        ge=1,
        le=100,
        title="Neighbours per query",
        description="Recall is told at this depth (recall_at_5 for 5), and at 1 and 10 where it reaches as far.",
    )
    passes: Aside[int] = Field(default=3, ge=1, le=20, title="Passes", description="Timed passes over the queries.")
    precision: Aside[float] = Field(
        default=0.02,
        gt=0,
        le=0.5,
        title="Precision",
        description="The passes are repeated until P50 and P95 are known to this share of themselves, as far as repeating "
        "helps: how much the queries differ from each other is not in it.",
    )
    most_passes: Aside[int] = Field(
        default=10, ge=1, le=1000, title="Most passes", description="Where the precision is not reached before."
    )
    recall_target: float = Field(
        default=0.90,
        ge=0.5,
        le=1,
        title="Recall target",
        description="The cheapest setting that reaches it on the tuning queries, with room for chance, is measured.",
    )
    arrival_rate: float = Field(
        default=20,
        gt=0,
        le=1e6,
        title="Arrival rate",
        description="Queries per second in the open loop, where latency counts from the scheduled moment.",
    )
    control_passes: Aside[int] = Field(
        default=1, ge=1, le=20, title="Passes of the controls", description="They only stand beside the gated variants."
    )
    latency_target: Aside[float] = Field(
        default=0.030,
        gt=0,
        le=60,
        title="Latency target",
        description="P95 in seconds that should hold with the recall; the verdict says what comes closest if it does not.",
    )
    clients: tuple[int, ...] = Field(
        default=(1, 2, 4, 8), min_length=1, title="Clients", description="How many at once in the closed loop, in turn."
    )
    cold_start: Aside[bool] = Field(
        default=True,
        title="Cold start",
        description="Restart the embedded server at the end, and time the first queries it answers.",
    )
    keep: Aside[bool | None] = Field(
        default=None,
        title="Keep the tables",
        description="For the next night. Empty: kept on the embedded server, removed from one of yours.",
    )
    require_service: Aside[bool] = Field(
        default=False,
        title="Require the server",
        description="An absent server fails the benchmark instead of skipping it.",
    )

    @property
    def recall_margin(self) -> float:
        """How far above the target the tuning must be for the whole 95 % interval of the measured recall to clear it.

        Recall@5 spreads by about 0.2 between queries near 0.9. The interval reaches 1.96 x 0.2 / sqrt(measured) below the
        measured mean, and that scatters about the tuned mean by 0.2 x sqrt(1 / measured + 1 / tuned), of which 1.645
        cover 95 of 100 builds. Never more than half of what is left to 1.
        """
        measured, tuned = self.queries, query_counts(self.queries)["tuning"]
        wanted: float = _SPREAD * (1.96 * measured**-0.5 + 1.645 * (1 / measured + 1 / tuned) ** 0.5)
        return min(wanted, (1 - self.recall_target) / 2)

    def build_seconds(self, variant: str) -> float:
        """Per number of the base, to index it on two cores, from above."""
        return _INDEX_SECONDS

    def stored_bytes(self, variant: str, rows: int, dim: int) -> float:
        """What the collection and its index take on a server that may stand on this host, from above."""
        return _STORED * rows * dim * 4

    def needs_for(self, shape: Shape) -> Needs:
        chosen = {*self.variants, *self.controls}
        stored = sum(self.stored_bytes(variant, shape.rows, shape.dim) for variant in chosen)
        vectors = shape.numbers * 4
        disk = int(self.copies(shape) * vectors + stored) + 2**28
        return Needs(disk=disk, memory=2**30 + int(1.5 * vectors))

    def takes_for(self, shape: Shape) -> Takes:
        numbers, counts = shape.numbers, query_counts(self.queries)
        prepare, measure = 60 + numbers * (MAKE_SECONDS + self.exact_seconds()), 20.0
        for variant in (*self.variants, *self.controls):
            prepare += numbers * (_LOAD_SECONDS + self.build_seconds(variant))
            passes = max(self.passes, self.most_passes) if variant in self.variants else self.control_passes
            asked = self.queries * passes + _SETTINGS_TRIED * counts["tuning"]
            measure += 20 + asked * (2e-3 + _QUERY_SECONDS * numbers) + self.load_seconds * (1 + len(self.clients))
        return Takes(prepare=prepare, measure=measure, lower=f"{self.rows_setting}, passes or controls")

    @model_validator(mode="after")
    def _clients_in_bounds(self) -> StoreSettings:
        if not all(1 <= clients <= 64 for clients in self.clients):
            raise ValueError(f"clients={list(self.clients)}: each must be from 1 to 64")
        return self
