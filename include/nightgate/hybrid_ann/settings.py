"""The parameters of the hybrid ANN benchmark."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field

from nightgate.suite import BenchmarkSettings, Needs

K = 100
"""Neighbours asked for per query; the objective is recall@100."""


class Settings(BenchmarkSettings):
    """``hybrid`` is what the objectives gate; ``hnsw`` (nmslib) and ``ivfpq_refine`` (faiss) are its parts alone."""

    known_variants: ClassVar[tuple[str, ...]] = ("hybrid", "hnsw", "ivfpq_refine")

    rows: int = Field(default=50_000, ge=2_000, le=20_000_000, title="Vectors", description="Rows in the base.")
    dim: int = Field(
        default=256,
        ge=8,
        le=4096,
        multiple_of=2,
        title="Dimensions",
        description="Even: the product quantizer splits it in pairs.",
    )
    queries: int = Field(
        default=200,
        ge=60,
        le=100_000,
        title="Queries",
        description="Distinct measured queries; the tuning uses others.",
    )
    passes: int = Field(
        default=2, ge=1, le=50, title="Passes", description="Timed passes over the queries in each process."
    )
    processes: int = Field(
        default=2, ge=1, le=10, title="Processes", description="Fresh processes whose samples are pooled."
    )
    threads: int | None = Field(
        default=None,
        ge=1,
        le=256,
        title="Build threads",
        description="Threads that build; empty means all cores. Queries always run on one.",
    )
    recall_target: float = Field(
        default=0.92,
        ge=0.5,
        le=0.999,
        title="Recall target",
        description="What the tuning aims for, with a margin of 0.02.",
    )
    refine: int = Field(
        default=5, ge=1, le=50, title="Refine factor", description="The reranking sees this many times k candidates."
    )
    hnsw_m: int = Field(default=16, ge=4, le=64, title="HNSW M", description="Links per node of the control `hnsw`.")
    hnsw_ef_construction: int = Field(
        default=100, ge=16, le=2000, title="HNSW efConstruction", description="Build effort of the control `hnsw`."
    )
    seed: int = Field(default=20, ge=0, le=2**31, title="Seed", description="Decides the synthetic vectors.")

    def needs(self) -> Needs:
        vectors = self.rows * self.dim * 4
        graph = int(2.4 * vectors) if "hnsw" in (*self.variants, *self.controls) else 0
        return Needs(disk=int(1.3 * vectors) + graph, memory=2**30 + int(1.6 * vectors) + graph)
