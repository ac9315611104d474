"""What is prepared for the hybrid ANN benchmark."""

from __future__ import annotations

from pydantic import Field

from nightgate.hybrid_ann.indexes import BuiltIndex
from nightgate.vectors.prepared import PreparedData


class HybridPrepared(PreparedData):
    """``indexes`` by their names, and which ``failed``, with the reason why each was not built; ``missing``: variant → why
    it cannot be measured on this host."""

    indexes: dict[str, BuiltIndex]
    failed: dict[str, str] = Field(default_factory=dict)
    missing: dict[str, str] = Field(default_factory=dict)
