"""What can be asked of the pgvector benchmark. Light: the trigger form is built from it."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field, model_validator

from nightgate.suite import BenchmarkSettings, Needs

K = 5
"""Neighbours asked for per query; the objective is recall@5 and the timed statement says ``LIMIT 5``."""


class Settings(BenchmarkSettings):
    """``ivfflat`` keeps float32 vectors (type ``vector``), ``ivfflat_halfvec`` float16 ones (type ``halfvec``)."""

    known_variants: ClassVar[tuple[str, ...]] = ("ivfflat", "ivfflat_halfvec")

    rows: int = Field(
        default=50_000, ge=1_000, le=5_000_000, title="Rows", description="Rows of the table that is searched."
    )
    dim: int = Field(
        default=256, ge=8, le=2000, title="Dimensions", description="Of a vector; pgvector indexes at most 2000."
    )
    queries: int = Field(
        default=200, ge=100, le=10_000, title="Queries",
        description="Distinct measured queries; probes are tuned on others.",
    )  # fmt: skip
    passes: int = Field(default=3, ge=1, le=20, title="Passes", description="Timed passes over the queries.")
    lists: int = Field(
        default=100, ge=1, le=32_768, title="Lists",
        description="Lists of the ivfflat index, at most one per row. pgvector advises rows / 1000.",
    )  # fmt: skip
    seed: int = Field(default=20, ge=0, le=2**31, title="Seed", description="Decides the synthetic vectors.")
    recall_target: float = Field(
        default=0.90, ge=0.5, le=1, title="Recall target",
        description="The fewest probes that reach it on the tuning queries, with room for chance, are measured.",
    )  # fmt: skip
    require_service: bool = Field(
        default=False, title="Require the server",
        description="An absent server fails the benchmark instead of skipping it.",
    )  # fmt: skip

    def needs(self) -> Needs:
        vectors = self.rows * self.dim * 4
        wanted = {*self.variants, *self.controls}
        # heap and index of each variant on a server that may stand on this host, pages filled to three quarters
        tables = sum(2.7 * vectors / (2 if variant == "ivfflat_halfvec" else 1) for variant in wanted)
        return Needs(disk=int(vectors + tables) + 2**28, memory=2**30 + int(1.5 * vectors))

    @model_validator(mode="after")
    def _lists_have_rows(self) -> Settings:
        if self.lists > self.rows:
            raise ValueError(f"lists={self.lists} is more than rows={self.rows}; every list needs a row")
        return self
