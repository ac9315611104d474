"""What can be asked of the pgvector benchmark. Light: the trigger form is built from it."""

from __future__ import annotations

from typing import ClassVar

from pydantic import Field, model_validator

from nightgate.pgvector_search.variants import MOST_DIMENSIONS, VARIANTS, too_long
from nightgate.vector_search.store_settings import StoreSettings

_LISTS_BUILD, _GRAPH_BUILD = 1e-7, 1e-6
"""Seconds per number of the table to build an index over it."""
_GRAPH = 300  # bytes per row that hnsw's links take, estimated from above
_STORED = 2.7  # of a column's bytes: heap and index, pages filled to three quarters


class Settings(StoreSettings):
    """``ivfflat`` and ``hnsw`` are indexes over float32 vectors (type ``vector``), with ``_halfvec`` over float16 ones;
    ``_lists1000`` has a thousand lists whatever ``lists`` says."""

    known_variants: ClassVar[tuple[str, ...]] = tuple(VARIANTS)

    rows: int = Field(
        default=50_000, ge=1_000, le=5_000_000, title="Rows", description="Rows of the table that is searched."
    )
    dim: int = Field(
        default=256,
        ge=8,
        le=max(MOST_DIMENSIONS.values()),
        title="Dimensions",
        description="Of a vector; beyond 2000 pgvector indexes halfvec only, up to 4000.",
    )
    lists: int = Field(
        default=100,
        ge=1,
        le=32_768,
        title="Lists",
        description="Lists of the ivfflat index, at most one per row. pgvector advises rows / 1000.",
    )

    def build_seconds(self, variant: str) -> float:
        kind = VARIANTS[variant]
        return _GRAPH_BUILD if kind.method == "hnsw" else _LISTS_BUILD * (1 + (kind.lists or self.lists) / 1000)

    def stored_bytes(self, variant: str, rows: int, dim: int) -> float:
        kind = VARIANTS[variant]
        links = rows * _GRAPH if kind.method == "hnsw" else 0
        return _STORED * rows * dim * (2 if kind.column == "halfvec" else 4) + links

    @property
    def most_lists(self) -> int:
        """Of any index that is asked for."""
        return max([self.lists, *(VARIANTS[variant].lists or 0 for variant in (*self.variants, *self.controls))])

    @model_validator(mode="after")
    def _lists_have_rows(self) -> Settings:
        """Of synthetic vectors; how many a file holds is looked at later."""
        if self.dataset is None and self.most_lists > self.rows:
            raise ValueError(f"lists={self.most_lists} is more than rows={self.rows}; every list needs a row")
        return self

    @model_validator(mode="after")
    def _dimensions_fit(self) -> Settings:
        """Of the gated variants; a control that cannot have them is skipped with the reason."""
        for variant in self.variants if self.dataset is None else ():
            if reason := too_long(variant, self.dim):
                fitting = ", ".join(name for name in VARIANTS if too_long(name, self.dim) is None)
                raise ValueError(
                    f"variants: {variant} cannot be built: {reason}; use one of {fitting}, or a smaller dim"
                )
        return self
