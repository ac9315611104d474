"""Exact nearest neighbours, the yardstick of every recall figure."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nightgate.errors import NotMeasured
from nightgate.vectors.metric import scores

if TYPE_CHECKING:
    import numpy as np

    from nightgate.vectors.dataset import Dataset

FORMAT = 3
_QUERIES = 1024  # scored at once, against ...
_ROWS = 16_384  # ... this many rows: their scores take 64 MB, and longer products would be hardly any faster
_FIRST = 1024  # rows of the first block, all of which are candidates; each block after it is as long as all before it
_SPARE = 28  # candidates kept beyond k, since float32 sums may swap neighbours that float64 tells apart


@dataclass(frozen=True)
class Truth:
    """The exact top k of each query: ``ids`` int64 and ``score`` float32 (see `metric`), both (queries, k), best first."""

    ids: np.ndarray
    score: np.ndarray


def exact(base: np.ndarray, queries: np.ndarray, k: int, metric: str) -> Truth:
    """Search ``base`` (rows, dim) with ``queries`` (n, dim), both finite float32, by trying every pair.

    One matrix product in float32 per block finds k + 28 candidates, whose scores are then computed anew in float64;
    equal ones are ordered by id. The memory is that of one block, whatever the number of rows and queries. The products
    run on a CUDA device when cupy sees one.

    Raises:
        NotMeasured: the base has fewer than k rows.
    """
    import numpy as np

    if len(base) < k:
        raise NotMeasured(f"the base of {len(base)} rows has no {k} nearest neighbours", "use more vectors")
    ids, score = np.empty((len(queries), k), np.int64), np.empty((len(queries), k), np.float32)
    for start in range(0, len(queries), _QUERIES):
        some = queries[start : start + _QUERIES]
        candidates = np.sort(_candidates(base, some, min(k + _SPARE, len(base)), metric), axis=1)
        for row, query in enumerate(some):
            found = scores(base[candidates[row]], query, metric)
            best = np.argsort(-found, kind="stable")[:k]
            ids[start + row], score[start + row] = candidates[row, best], found[best]
    return Truth(ids, score)


def _candidates(base: np.ndarray, queries: np.ndarray, k: int, metric: str) -> np.ndarray:
    """The ids of the k best of each query by float32 scores, (queries, k), in no order.

    Of each block only the scores above the k-th best so far are looked at, which soon are few.
    """
    xp = _array_module()
    euclidean = metric == "l2"
    # a shift moves no distance, and without an offset that all vectors share, float32 holds more digits of it
    centre = xp.asarray(queries.mean(axis=0)) if euclidean else None
    asked = (xp.asarray(queries) - centre) * 2 if euclidean else xp.asarray(queries)
    count = len(queries)
    room, marks = xp.empty(count * _ROWS, xp.float32), xp.empty(count * _ROWS, bool)
    best, ids = xp.full((count, k), -xp.inf, xp.float32), xp.full((count, k), -1, xp.int64)
    stop = 0
    while stop < len(base):
        start, stop = stop, min(stop + min(max(stop, _FIRST), _ROWS), len(base))
        block, size = xp.asarray(base[start:stop]), count * (stop - start)
        if euclidean:
            block = block - centre
        product = xp.matmul(asked, block.T, out=room[:size].reshape(count, -1))
        if euclidean:  # 2 q·b - |b|² ranks as -|q - b|² does
            product -= xp.einsum("ij,ij->i", block, block)
        better = xp.greater(product, best.min(axis=1, keepdims=True), out=marks[:size].reshape(count, -1))
        row, column = xp.divmod(xp.flatnonzero(better), stop - start)
        found = xp.bincount(row, minlength=count)
        place = k + xp.arange(len(row)) - (xp.cumsum(found) - found)[row]
        width = k + int(found.max())
        pool, pool_ids = xp.full((count, width), -xp.inf, xp.float32), xp.full((count, width), -1, xp.int64)
        pool[:, :k], pool_ids[:, :k] = best, ids
        pool[row, place], pool_ids[row, place] = product[row, column], column + start
        keep = xp.argpartition(pool, -k, axis=1)[:, -k:]
        best, ids = xp.take_along_axis(pool, keep, axis=1), xp.take_along_axis(pool_ids, keep, axis=1)
    return ids.get() if hasattr(ids, "get") else ids


def _array_module() -> Any:
    """cupy when it is there and sees a device, else numpy; both are called alike."""
    import numpy as np

    try:
        import cupy
    except ImportError:
        return np
    return cupy if cupy.is_available() else np


def write(folder: Path, dataset: Dataset, k: int) -> dict[str, Truth]:
    """Find and `save` the truth of the measured queries and of those to tune on."""
    found = {}
    for name in ("queries", "tuning"):
        found[name] = exact(dataset.base, getattr(dataset, name), k, dataset.metric)
        save(folder, name, found[name])
    return found


def save(folder: Path, name: str, found: Truth) -> None:
    """Write the truth of the queries ``name`` for `open_truth`."""
    import numpy as np

    np.save(folder / f"{name}-ids.npy", found.ids)
    np.save(folder / f"{name}-score.npy", found.score)


def open_truth(folder: Path, name: str) -> Truth:
    """Load what `save` wrote.

    Raises:
        NotMeasured: there is none. Recall without a ground truth is an error, never 1.0.
    """
    import numpy as np

    try:
        return Truth(np.load(folder / f"{name}-ids.npy"), np.load(folder / f"{name}-score.npy"))
    except OSError as error:
        raise NotMeasured(f"there is no ground truth for the {name} queries in {folder} ({error})") from error
