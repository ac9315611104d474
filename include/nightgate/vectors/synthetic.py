"""Embedding-like vectors without a download: a mixture of clusters on low-dimensional local subspaces.

Uniform or Gaussian noise is far harder than real embeddings and `make_blobs` far easier. Here cluster sizes follow
Zipf's law and each cluster spreads along a few directions of its own with some noise around them. The data decide how
hard the objectives are, so their local intrinsic dimension is measured and kept with every result (`truth.write`).
Everything follows from the seed.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np

log = logging.getLogger(__name__)

FORMAT = 4  # part of the cache key: raise it when the same seed would give other vectors
LOCAL_DIMENSIONS = 24
ROWS_PER_CLUSTER = 150  # on average: many clusters hold fewer than 100, so recall@100 must reach beyond one
ZIPF_EXPONENT = 0.75  # the largest cluster of a million rows holds 2 %; with 1.0 it would hold a tenth
LOCAL_SPREAD = 1.2
NOISE = 0.25
WARMUP = 200
_BLOCK = 50_000


@dataclass(frozen=True)
class Dataset:
    """Unit-length float32 vectors, memory-mapped: shape (rows, dim), and three disjoint query sets (n, dim)."""

    base: np.ndarray
    queries: np.ndarray
    tuning: np.ndarray
    warmup: np.ndarray


def write(folder: Path, *, rows: int, dim: int, queries: int, seed: int) -> dict[str, Any]:
    """Write ``base.npy`` and the query sets into ``folder``.

    Queries come from the same mixture and are never in the base: ``queries`` to measure, as many to tune on (at most
    500), and 200 to warm up with.
    """
    import numpy as np

    rng = np.random.default_rng(seed)
    clusters = max(16, rows // ROWS_PER_CLUSTER)
    sizes = np.arange(1, clusters + 1) ** -ZIPF_EXPONENT
    mixture = _Mixture(
        weights=sizes / sizes.sum(),
        centres=rng.standard_normal((clusters, dim), dtype=np.float32),
        bases=rng.standard_normal((min(clusters, 512), LOCAL_DIMENSIONS, dim), dtype=np.float32) / np.sqrt(dim),
    )
    base = np.lib.format.open_memmap(folder / "base.npy", "w+", np.float32, (rows, dim))
    for start in range(0, rows, _BLOCK):
        stop = min(start + _BLOCK, rows)
        base[start:stop] = mixture.draw(rng, stop - start)
        if stop % (_BLOCK * 4) == 0:
            log.info("vectors: %d of %d rows", stop, rows)
    base.flush()
    for name, count in (("queries", queries), ("tuning", min(queries, 500)), ("warmup", WARMUP)):
        np.save(folder / f"{name}.npy", mixture.draw(rng, count))
    return {"rows": rows, "dim": dim, "seed": seed, "clusters": clusters, "format": FORMAT}


def open_dataset(folder: Path) -> Dataset:
    """Map what `write` wrote; nothing is copied into memory."""
    import numpy as np

    return Dataset(**{n: np.load(folder / f"{n}.npy", mmap_mode="r") for n in ("base", "queries", "tuning", "warmup")})


@dataclass(frozen=True)
class _Mixture:
    weights: np.ndarray  # (clusters,)
    centres: np.ndarray  # (clusters, dim)
    bases: np.ndarray  # (shared bases, LOCAL_DIMENSIONS, dim)

    def draw(self, rng: np.random.Generator, count: int) -> np.ndarray:
        import numpy as np

        labels = rng.choice(len(self.weights), size=count, p=self.weights)
        vectors = self.centres[labels]
        local = rng.standard_normal((count, LOCAL_DIMENSIONS), dtype=np.float32)
        subspace = labels % len(self.bases)
        order = np.argsort(subspace, kind="stable")
        edges = np.searchsorted(subspace[order], np.arange(len(self.bases) + 1))
        for index in range(len(self.bases)):
            members = order[edges[index] : edges[index + 1]]
            if len(members):
                vectors[members] += local[members] @ self.bases[index] * LOCAL_SPREAD
        vectors += NOISE * rng.standard_normal(vectors.shape, dtype=np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors
