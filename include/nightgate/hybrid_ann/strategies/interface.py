"""What a strategy is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    import numpy as np

Setting = dict[str, int]


class Strategy(Protocol):
    """``settings`` stand from the cheapest to the dearest; `tune` puts one in force."""

    settings: Sequence[Setting]

    def tune(self, setting: Setting) -> None: ...

    def search(self, query: np.ndarray, k: int) -> np.ndarray:
        """The ids (int64, at most k, best first) for one float32 query of shape (dim,), on one thread."""
        ...

    def search_many(self, queries: np.ndarray, k: int, threads: int) -> Sequence[np.ndarray]:
        """The ids of each of ``queries`` (n, dim), on ``threads`` threads."""
        ...


class Staged(Protocol):
    """A strategy whose search is ``rerank(query, scan(query, route(query), k), k)``."""

    def route(self, query: np.ndarray) -> Any:
        """Which lists to scan: their ids (1, n), and the distance of their centroids, float32 (1, n)."""
        ...

    def scan(self, query: np.ndarray, routed: Any, k: int) -> np.ndarray:
        """Candidate ids, int64, -1 where there is none."""
        ...

    def rerank(self, query: np.ndarray, candidates: np.ndarray, k: int) -> np.ndarray: ...
