"""The variants: which index over which column type, and the setting that trades its recall for time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

SINCE = {"hnsw": "0.5", "halfvec": "0.7"}
"""The pgvector that brought an access method or a type."""

MOST_DIMENSIONS = {"vector": 2000, "halfvec": 4000}
"""Of a type that pgvector can index."""

_PROBES_OF_FEW_LISTS = (1, 2, 3, 4, 5, 6, 8, 10, 15, 20)
_PROBES_OF_MANY_LISTS = (1, 2, 4, 8, 12, 16, 24, 32, 48, 64, 96)
_EF_SEARCH = (10, 20, 40, 60, 80, 120, 200, 400)
_MANY = 1000  # what pgvector's rule (rows / 1000) advises for a million rows


@dataclass(frozen=True)
class Variant:
    """An index (``method``: an access method of pgvector) over a column (``column``: a type of pgvector).

    ``lists``: of ivfflat; None takes the number that the settings name. ``knob`` is the server setting that is tuned,
    over ``steps`` from the cheapest up.
    """

    method: str
    column: str
    knob: str
    steps: tuple[int, ...]
    lists: int | None = None

    def operators(self, metric: str) -> str:
        """The operator class of an index that compares by ``metric``."""
        return f"{self.column}_{metric}_ops"

    def fits(self, lists: int | None) -> tuple[int, ...]:
        """The steps that mean something for an index of so many lists."""
        return tuple(sorted({min(step, lists) for step in self.steps})) if lists else self.steps


def _ivfflat(column: str, lists: int | None = None) -> Variant:
    steps = _PROBES_OF_FEW_LISTS if lists is None else _PROBES_OF_MANY_LISTS
    return Variant("ivfflat", column, "ivfflat.probes", steps, lists)


VARIANTS = {
    "ivfflat": _ivfflat("vector"),
    "ivfflat_halfvec": _ivfflat("halfvec"),
    "ivfflat_lists1000": _ivfflat("vector", _MANY),
    "ivfflat_halfvec_lists1000": _ivfflat("halfvec", _MANY),
    "hnsw": Variant("hnsw", "vector", "hnsw.ef_search", _EF_SEARCH),
    "hnsw_halfvec": Variant("hnsw", "halfvec", "hnsw.ef_search", _EF_SEARCH),
}


OPERATORS = {"cosine": "<=>", "l2": "<->", "ip": "<#>"}
"""By which a query is ordered, for each metric; the inner product is the negative one."""


def encoded(column: str, vectors: np.ndarray) -> list[Any]:
    """Vectors (n, dim) as psycopg sends them to a column of type ``column``."""
    from pgvector import HalfVector, Vector

    wrap = HalfVector if column == "halfvec" else Vector
    return [wrap(vector) for vector in vectors]


def over_float32(name: str) -> str:
    """The same index over the type ``vector``, which every pgvector has."""
    return name.replace("_halfvec", "")


def too_long(name: str, dim: int) -> str | None:
    """Why vectors of ``dim`` dimensions cannot have the index of this variant, as a clause; None when they can."""
    column = VARIANTS[name].column
    most = MOST_DIMENSIONS[column]
    return f"pgvector indexes the type {column} up to {most:,} dimensions and dim is {dim:,}" if dim > most else None
