"""A data set from the user's own file: what can be told of it at once, and the copy that is measured."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nightgate.errors import InputError
from nightgate.vectors import files
from nightgate.vectors.dataset import describe, query_counts
from nightgate.vectors.files.rows import Rows
from nightgate.vectors.metric import METRICS
from nightgate.vectors.source import Own

if TYPE_CHECKING:
    import numpy as np

log = logging.getLogger(__name__)

FORMAT = 1  # part of the cache key: raise it when the same file would give other vectors
_BLOCK_BYTES = 2**25
_LARGEST_SQUARE = 1e37  # of a vector's length: float32 ends at 3.4e38, and a squared distance is up to four times this


@dataclass(frozen=True)
class Inspected:
    """What a file will give: ``rows`` of the base, ``dim``, ``metric``, and of each query set how many are not to be
    had from queries of the user's and are ``held_out`` of the base."""

    rows: int
    dim: int
    metric: str
    held_out: dict[str, int]


def inspect(source: Own) -> Inspected:
    """Look at headers and sizes only, which is quick whatever the file's size.

    Raises:
        InputError: a file is missing, not what its name says, or too small; the queries have another dimension; no
            metric is known.
    """
    base, asked = _open(source)
    metric = source.metric or files.metric_of(Path(source.path))
    if metric not in METRICS:
        raise InputError(
            f"{source.path} does not say how its vectors are to be compared" if metric is None
            else f"the vectors of {source.path} are to be compared by {metric!r}, which is not known",
            f"set the metric to one of {', '.join(METRICS)}",
        )  # fmt: skip
    if asked is not None and asked.shape[1] != base.shape[1]:
        raise InputError(
            f"the queries of {source.queries_path or source.path} have {asked.shape[1]} dimensions and the vectors of "
            f"{source.path} have {base.shape[1]}", "name queries and vectors that one model has made",
        )  # fmt: skip
    there, held_out = _length(asked), {}
    for name, count in query_counts(source.queries).items():
        held_out[name] = max(0, count - there)
        there = max(0, there - count)
    missing = sum(held_out.values())
    rows = min(base.shape[0] - missing, source.rows or base.shape[0])
    if rows < source.least_rows:
        taken = f", of which {missing} are needed as queries" if missing else ""
        found = f"{rows} are to be used" if rows == source.rows else f"it holds {base.shape[0]}{taken}"
        raise InputError(
            f"{source.path} has too few vectors: {found}, and {source.least_rows} must be left to search",
            "use more of them, or fewer queries",
        )
    return Inspected(rows, base.shape[1], metric, held_out)


def write(folder: Path, source: Own) -> dict[str, Any]:
    """Write a data set (`dataset.open_dataset`) into ``folder``: float32, unit-length for "cosine", block by block.

    Queries are drawn by the seed, first those to measure, then those to tune on, then those to warm up with: from the
    user's queries as far as they go, then from the base, which loses them.

    Returns:
        ``rows``, ``dim``, ``metric``, ``held_out`` and ``queries_in_base``: how many of the measured queries also stand
        in the base, as exact copies.

    Raises:
        InputError: as `inspect`, and for the first row that is ragged, not finite, too large for float32, or zero under
            cosine.
    """
    import numpy as np

    plan = inspect(source)
    base, asked = _open(source)
    rng = np.random.default_rng(source.seed)
    counts, missing = query_counts(source.queries), sum(plan.held_out.values())
    total, dim = sum(counts.values()), plan.dim
    queries = np.empty((total, dim), np.float32)
    if asked is not None:
        chosen = rng.permutation(asked.shape[0])[: total - missing]
        path = Path(source.queries_path or source.path)
        for start, vectors in _blocks(asked, path, asked.shape[0], plan.metric):
            _pick(vectors, start, chosen, queries)
    chosen = rng.permutation(plan.rows + missing)[:missing]
    kept = np.ones(plan.rows + missing, bool)
    kept[chosen] = False
    copy, filled = np.lib.format.open_memmap(folder / "base.npy", "w+", np.float32, (plan.rows, dim)), 0
    for start, vectors in _blocks(base, Path(source.path), plan.rows + missing, plan.metric):
        _pick(vectors, start, chosen, queries[total - missing :])
        rest = vectors[kept[start : start + len(vectors)]]
        copy[filled : filled + len(rest)] = rest
        filled += len(rest)
    copy.flush()
    for name, part in zip(counts, np.split(queries, np.cumsum(list(counts.values()))[:-1]), strict=True):
        np.save(folder / f"{name}.npy", part)
    describe(folder, plan.metric)
    repeated = _repeated(queries[: source.queries], copy)
    if repeated:
        log.warning("vectors: %d of the measured queries also stand in the base", repeated)
    return {
        "rows": plan.rows, "dim": dim, "metric": plan.metric, "held_out": plan.held_out, "queries_in_base": repeated,
    }  # fmt: skip


def _length(rows: Rows | None) -> int:
    return 0 if rows is None else rows.shape[0]


def _open(source: Own) -> tuple[Rows, Rows | None]:
    """The base and the queries; a file of queries may be an HDF5 file of which only the ``test`` is meant."""
    base, path = files.open_vectors(Path(source.path)), Path(source.queries_path or source.path)
    asked = files.open_queries(path)
    return base, files.open_vectors(path) if asked is None and source.queries_path else asked


def _blocks(rows: Rows, path: Path, stop: int, metric: str) -> Iterator[tuple[int, np.ndarray]]:
    """The first ``stop`` rows as float32 ready to be compared, a block at a time, each with its first row's number."""
    length = max(1, _BLOCK_BYTES // (4 * rows.shape[1]))
    for start in range(0, stop, length):
        yield start, _ready(rows[start : min(start + length, stop)], start, path, metric)


def _ready(block: np.ndarray, first: int, path: Path, metric: str) -> np.ndarray:
    import numpy as np

    with np.errstate(over="ignore", invalid="ignore"):  # what does not fit into float32 becomes infinite: refused below
        vectors = block.astype(np.float32)
        squares = np.einsum("ij,ij->i", vectors, vectors, dtype=np.float64)
    bad = np.flatnonzero(~(squares < _LARGEST_SQUARE) | ((squares == 0) & (metric == "cosine")))
    if len(bad):
        row, square = first + int(bad[0]), squares[bad[0]]
        reason = (
            "is zero, which has no direction and so no cosine" if square == 0
            else "holds NaN" if np.isnan(vectors[bad[0]]).any()
            else "holds an infinity" if not np.isfinite(block[bad[0]]).all()
            else "is too long to be compared in float32"
        )  # fmt: skip
        raise InputError(f"row {row} of {path} (the first is 0) {reason}", "mend or remove such rows")
    if metric == "cosine":
        vectors /= np.sqrt(squares)[:, None]
    return vectors


def _pick(vectors: np.ndarray, start: int, chosen: np.ndarray, out: np.ndarray) -> None:
    """Copy those of the rows ``chosen`` that lie in ``vectors``, which begin with row ``start``, to their places."""
    here = ((chosen >= start) & (chosen < start + len(vectors))).nonzero()[0]
    out[here] = vectors[chosen[here] - start]


def _repeated(queries: np.ndarray, base: np.ndarray) -> int:
    """How many ``queries`` equal a row of ``base``: by a 64-bit sum over the bits of each, and then value by value."""
    import numpy as np

    weights = np.random.default_rng(0).integers(1, 2**63, queries.shape[1], dtype=np.uint64) | np.uint64(1)

    def key(vectors: np.ndarray) -> np.ndarray:
        bits = (vectors + np.float32(0)).view(np.uint32)  # -0.0 becomes 0.0
        return np.einsum("ij,j->i", bits, weights, dtype=np.uint64, casting="unsafe")

    keys, found = key(queries), np.zeros(len(queries), bool)
    length = max(1, _BLOCK_BYTES // (4 * base.shape[1]))
    for start in range(0, len(base), length):
        block = base[start : start + length]
        of_block = key(block)
        for row in np.flatnonzero(np.isin(of_block, keys)):
            found |= (keys == of_block[row]) & (queries == block[row]).all(axis=1)
    return int(found.sum())
