"""A vector index in numpy: random projections to a quarter of the dimensions choose what is compared as a whole."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nightgate import api


class Sketch(api.Strategy):
    """The setting says how many of the nearest by their sketches are ``candidates`` for the answer."""

    name, label = "sketch", "Random projection, numpy"
    requires = ("numpy",)
    settings = tuple({"candidates": count} for count in (250, 500, 1_000, 2_000, 4_000, 8_000))
    build_seconds_per_number, index_bytes_per_number = 1e-7, 1.1

    @classmethod
    def build(cls, folder: Path, base: Any, metric: str, *, threads: int, **parameters: int) -> dict[str, Any]:
        import numpy as np

        dim, width = base.shape[1], max(1, base.shape[1] // 4)
        basis = np.random.default_rng(7).standard_normal((dim, width), dtype=np.float32) / np.float32(width**0.5)
        np.save(folder / "basis.npy", basis)
        np.save(folder / "sketches.npy", base @ basis)
        return {"width": width}

    def __init__(self, folders: Sequence[Path], base: Any, metric: str) -> None:
        import numpy as np

        self.np, self.base, self.l2 = np, base, metric == "l2"  # an import must not run inside the timed call
        self.basis, self.sketches = np.load(folders[0] / "basis.npy"), np.load(folders[0] / "sketches.npy")
        self.squares = np.einsum("ij,ij->i", self.sketches, self.sketches)

    def tune(self, setting: dict[str, Any]) -> None:
        self.candidates = setting["candidates"]

    def search(self, query: Any, k: int) -> Any:
        near = self.sketches @ (query @ self.basis)
        if self.l2:
            near -= self.squares / 2
        found = self.best(near, max(k, self.candidates))
        rows = self.base[found]
        scores = rows @ query
        if self.l2:
            scores -= self.np.einsum("ij,ij->i", rows, rows) / 2
        return found[self.best(scores, k)]

    def best(self, scores: Any, count: int) -> Any:
        """The places of the ``count`` highest, the highest first."""
        count = min(count, len(scores))
        places = self.np.argpartition(scores, -count)[-count:]
        return places[self.np.argsort(-scores[places])]
