"""Embedding-like vectors without a download: a mixture of clusters on low-dimensional local subspaces.

Uniform or Gaussian noise is far harder than real embeddings and `make_blobs` far easier. Here cluster sizes follow
Zipf's law and each cluster spreads along a few directions of its own with some noise around them. How wide they spread
beside the distance of their centres is the dial of `write`: the data decide how hard the objectives are, so the result
is measured and kept with every figure (`hardness.measure`). Everything follows from the seed and the dial.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nightgate.errors import InputError
from nightgate.vectors.dataset import describe, query_counts

if TYPE_CHECKING:
    import numpy as np

log = logging.getLogger(__name__)

FORMAT = 4  # part of the cache key: raise it when the same seed would give other vectors
LOCAL_DIMENSIONS = 24
ROWS_PER_CLUSTER = 150  # on average: many clusters hold fewer than 100, so recall@100 must reach beyond one
ZIPF_EXPONENT = 0.75  # the largest cluster of a million rows holds 2 %; with 1.0 it would hold a tenth
LOCAL_SPREAD = 1.2  # along each of the LOCAL_DIMENSIONS, beside centres of length sqrt(dim); both at the default dial
NOISE = 0.25  # along each of all dimensions
DEFAULT_HARDNESS = 0.5
_DIAL = 4.0
_BLOCK = 50_000


def write(
    folder: Path, *, rows: int, dim: int, queries: int, seed: int, hardness: float = DEFAULT_HARDNESS
) -> dict[str, Any]:
    """Write a data set (`dataset.open_dataset`) of unit-length float32 vectors into ``folder``, its metric the cosine.

    Queries come from the same mixture and are never in the base; `dataset.query_counts` says how many there are.

    ``hardness`` in [0, 1] sets how far a cluster reaches beside the distance of the centres, which stay where the seed
    put them: ``a = 4 ** (2 * hardness - 1)`` multiplies the local spread and ``a²`` the noise. At 0 clusters are tight
    and far apart; at 0.5 a is 1; at 1 the noise, which fills all dimensions, drowns centres and subspaces alike, and
    the data measure as hard as isotropic normal vectors do.

    Raises:
        InputError: a hardness outside [0, 1].
    """
    import numpy as np

    if not 0 <= hardness <= 1:
        raise InputError(f"a hardness of {hardness} is not on the dial", "choose one from 0 (easy) to 1 (hard)")
    away = _DIAL ** (2 * float(hardness) - 1)
    rng = np.random.default_rng(seed)
    clusters = max(16, rows // ROWS_PER_CLUSTER)
    sizes = np.arange(1, clusters + 1) ** -ZIPF_EXPONENT
    mixture = _Mixture(
        weights=sizes / sizes.sum(),
        centres=rng.standard_normal((clusters, dim), dtype=np.float32),
        bases=rng.standard_normal((min(clusters, 512), LOCAL_DIMENSIONS, dim), dtype=np.float32) / np.sqrt(dim),
        spread=LOCAL_SPREAD * away,
        noise=NOISE * away**2,  # the square: at the hard end the noise must outgrow the local directions too
    )
    base = np.lib.format.open_memmap(folder / "base.npy", "w+", np.float32, (rows, dim))
    for start in range(0, rows, _BLOCK):
        stop = min(start + _BLOCK, rows)
        base[start:stop] = mixture.draw(rng, stop - start)
        if stop % (_BLOCK * 4) == 0:
            log.info("vectors: %d of %d rows", stop, rows)
    base.flush()
    for name, count in query_counts(queries).items():
        np.save(folder / f"{name}.npy", mixture.draw(rng, count))
    describe(folder, "cosine")
    return {"rows": rows, "dim": dim, "seed": seed, "hardness": hardness, "clusters": clusters, "format": FORMAT}


@dataclass(frozen=True)
class _Mixture:
    weights: np.ndarray  # (clusters,)
    centres: np.ndarray  # (clusters, dim)
    bases: np.ndarray  # (shared bases, LOCAL_DIMENSIONS, dim)
    spread: float
    noise: float

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
                vectors[members] += local[members] @ self.bases[index] * self.spread
        vectors += self.noise * rng.standard_normal(vectors.shape, dtype=np.float32)
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        return vectors
