"""How hard the data are and which queries are the hard ones, from the vectors and their exact neighbours alone.

Everything is computed from Euclidean distances in float64. The inner product is no distance, so for "ip" the vectors
are first lifted to the unit sphere, where the Euclidean distance ranks as the inner product does (Bachrach et al.,
RecSys 2014): a base row x becomes (x/M, sqrt(1 - |x/M|²)) with M the longest row, a query q becomes (q/|q|, 0).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nightgate.errors import NotMeasured

if TYPE_CHECKING:
    import numpy as np

    from nightgate.vectors.dataset import Dataset
    from nightgate.vectors.truth import Truth

BUCKETS = ("easy", "middle", "hard")
DEPTHS = (1, 10, 100)
SAMPLE = 4096  # rows that stand for the base in a mean distance: it varies little, so this is good to about 0.2 %
_SEED = 0
_QUERIES_AT_ONCE = 64
_ROWS_AT_ONCE = 65_536


@dataclass(frozen=True)
class Distances:
    """``near`` (q, k): from each query to its k nearest, rising; ``mean`` (q,): to a row of the base on average."""

    near: np.ndarray
    mean: np.ndarray


def distances(dataset: Dataset, truth: Truth) -> Distances:
    """The distances of ``dataset.queries`` to their neighbours in ``truth`` and to a fixed sample of the base.

    Raises:
        NotMeasured: the truth belongs to other queries.
    """
    import numpy as np

    if len(truth.ids) != len(dataset.queries):
        raise NotMeasured(f"the ground truth holds {len(truth.ids)} queries, the data set {len(dataset.queries)}")
    longest = _longest(dataset.base) if dataset.metric == "ip" else None
    queries = _query_points(dataset.queries, longest)
    rows = np.random.default_rng(_SEED).permutation(len(dataset.base))[:SAMPLE]
    sample = _base_points(dataset.base[np.sort(rows)], longest)
    near, mean = np.empty(truth.ids.shape), np.empty(len(queries))
    for start in range(0, len(queries), _QUERIES_AT_ONCE):
        block = slice(start, start + _QUERIES_AT_ONCE)
        neighbours = _base_points(dataset.base[truth.ids[block]], longest)
        near[block] = np.linalg.norm(neighbours - queries[block, None], axis=-1)
        squared = (queries[block] ** 2).sum(axis=1)[:, None] + (sample**2).sum(axis=1) - 2 * queries[block] @ sample.T
        mean[block] = np.sqrt(np.maximum(squared, 0)).mean(axis=1)
    near.sort(axis=1)  # neighbours that tie in the truth's float32 may stand the other way round in float64
    return Distances(near, mean)


def local_dimension(near: np.ndarray) -> np.ndarray:
    """The local intrinsic dimension at each query, float64 (q,), from ``near`` (q, k): the maximum-likelihood estimate
    of Levina & Bickel (NIPS 2004). Neighbours at distance 0 tell nothing of it and are left out; where no other is
    nearer than the k-th it is infinite."""
    import numpy as np

    inner, outer = near[:, :-1], near[:, -1:]
    counted = inner > 0
    ratio = np.divide(outer, inner, out=np.ones_like(inner), where=counted)
    with np.errstate(divide="ignore"):
        answer: np.ndarray = np.maximum(counted.sum(axis=1), 1) / np.log(ratio).sum(axis=1)
        return answer


def measure(dataset: Dataset, truth: Truth) -> dict[str, Any]:
    """What is kept with every result: ``local_dimension`` and ``relative_contrast`` by depth, for JSON.

    The local dimensions are averaged by their inverse (MacKay & Ghahramani 2005). The relative contrast (He, Kumar &
    Chang, ICML 2012) is the mean distance over the distance to the k-th neighbour, each averaged over the queries, for
    every k of `DEPTHS` the truth holds; 1 means that no neighbour stands out. None stands for an infinite value, which
    only rows that repeat give.
    """
    found = distances(dataset, truth)
    contrast = {
        str(k): _ratio(found.mean.mean(), found.near[:, k - 1].mean()) for k in DEPTHS if k <= truth.ids.shape[1]
    }
    inverse = (1 / local_dimension(found.near)).mean()
    return {"local_dimension": _ratio(1.0, inverse), "relative_contrast": contrast}


def per_query(dataset: Dataset, truth: Truth) -> np.ndarray:
    """How hard each query is, float64 (q,), from 0 (easy) up to about 1: its inverse relative contrast at the deepest
    neighbour of the truth, a per-query measure of Aumüller & Ceccarello (Information Systems 2021).

    Why not the local dimension: a dense cluster has a high one and yet is easy, so on clustered vectors it can order the
    queries the wrong way round. At a low recall neither orders them.
    """
    import numpy as np

    found = distances(dataset, truth)
    answer: np.ndarray = np.divide(found.near[:, -1], found.mean, out=np.zeros_like(found.mean), where=found.mean > 0)
    return answer


def buckets(hardness: np.ndarray) -> np.ndarray:
    """The bucket of each query as an index into `BUCKETS`, int8 (q,): terciles of ``hardness`` (q,) whose sizes differ
    by one at most. Of equally hard queries the first counts as the easier."""
    import numpy as np

    rank = np.empty(len(hardness), np.int64)
    rank[np.argsort(hardness, kind="stable")] = np.arange(len(hardness))
    return (rank * len(BUCKETS) // max(len(hardness), 1)).astype(np.int8)


def _ratio(above: float, below: float) -> float | None:
    return float(above / below) if below > 0 else None


def _longest(base: np.ndarray) -> float:
    import numpy as np

    blocks = (base[start : start + _ROWS_AT_ONCE] for start in range(0, len(base), _ROWS_AT_ONCE))
    return max(float(np.sqrt(np.einsum("ij,ij->i", rows, rows, dtype=np.float64).max())) for rows in blocks)


def _base_points(rows: np.ndarray, longest: float | None) -> np.ndarray:
    import numpy as np

    points = np.asarray(rows, dtype=np.float64)
    if longest is None:
        return points
    points = points / (longest or 1.0)
    height = np.sqrt(np.maximum(1 - (points**2).sum(axis=-1, keepdims=True), 0))
    return np.concatenate([points, height], axis=-1)


def _query_points(queries: np.ndarray, longest: float | None) -> np.ndarray:
    import numpy as np

    points = np.asarray(queries, dtype=np.float64)
    if longest is None:
        return points
    length = np.linalg.norm(points, axis=1, keepdims=True)
    points = points / np.where(length > 0, length, 1)
    return np.concatenate([points, np.zeros_like(length)], axis=1)
