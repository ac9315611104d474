"""By what two vectors are compared. A score is higher the nearer they are, whatever the metric."""

from __future__ import annotations

from typing import TYPE_CHECKING, Literal, get_args

if TYPE_CHECKING:
    import numpy as np

Metric = Literal["cosine", "l2", "ip"]
METRICS: tuple[str, ...] = get_args(Metric)


def scores(vectors: np.ndarray, query: np.ndarray, metric: str) -> np.ndarray:
    """The score of each of ``vectors`` (n, dim) against ``query`` (dim,), computed and returned in float64, (n,).

    The inner product for "ip" and for "cosine", whose vectors are stored unit-length; minus the squared Euclidean
    distance for "l2".
    """
    import numpy as np

    vectors, query = np.asarray(vectors, np.float64), np.asarray(query, np.float64)
    if metric == "l2":
        difference = vectors - query
        return -np.einsum("ij,ij->i", difference, difference)
    return vectors @ query
