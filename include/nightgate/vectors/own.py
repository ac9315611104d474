"""A data set from the user's own file: what can be told of it at once, and the copy that is measured."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nightgate.errors import InputError
from nightgate.vectors import files, places, usable
from nightgate.vectors.dataset import describe, query_counts
from nightgate.vectors.files.rows import Rows
from nightgate.vectors.metric import METRICS
from nightgate.vectors.places import BASE_FILE, QUERIES_FILE, Places
from nightgate.vectors.source import Own
from nightgate.vectors.usable import Usable

if TYPE_CHECKING:
    import numpy as np

log = logging.getLogger(__name__)

FORMAT = 2  # part of the cache key: raise it when the same file would give other vectors
_BLOCK_BYTES = 2**25
_LARGEST_SQUARE = usable.LARGEST_SQUARE


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
    if source.skip_zero and metric != "cosine":
        raise InputError(
            f"skip_zero_rows leaves out rows without a direction, and {source.path} is compared by {metric}, which needs none",
            "leave skip_zero_rows out, or compare by cosine",
        )
    return _planned(source, metric, base.shape[0], base.shape[1], _length(asked))


def _planned(source: Own, metric: str, there: int, dim: int, asked: int) -> Inspected:
    """What ``there`` usable rows and ``asked`` usable queries give."""
    held_out = {}
    for name, count in query_counts(source.queries).items():
        held_out[name] = max(0, count - asked)
        asked = max(0, asked - count)
    missing = sum(held_out.values())
    rows = min(there - missing, source.rows or there)
    if rows < source.least_rows:
        taken = f", of which {missing} are needed as queries" if missing else ""
        found = f"{rows} are to be used" if rows == source.rows else f"it holds {there}{taken}"
        raise InputError(
            f"{source.path} has too few vectors: {found}, and {source.least_rows} must be left to search",
            "use more of them, or fewer queries",
        )
    return Inspected(rows, dim, metric, held_out)


def write(folder: Path, source: Own) -> dict[str, Any]:
    """Write a data set (`dataset.open_dataset`) into ``folder``: float32, unit-length for "cosine", block by block.

    Queries are drawn by the seed, first those to measure, then those to tune on, then those to warm up with: from the
    user's queries as far as they go, then from the base, which loses them.

    Beside it stand the `places` of its rows and queries in the user's files.

    Returns:
        ``rows``, ``dim``, ``metric``, ``held_out`` and ``queries_in_base``: how many of the measured queries also stand
        in the base, as exact copies; where zero rows are left out also ``zero_rows``: how many of ``base`` and
        ``queries`` were.

    Raises:
        InputError: as `inspect` and `usable.look`, and for the first row that is ragged.
    """
    import numpy as np

    base, asked = _open(source)
    plan, of_base, of_asked = _looked_at(source, base, asked)
    rng = np.random.default_rng(source.seed)
    counts, missing = query_counts(source.queries), sum(plan.held_out.values())
    total, dim = sum(counts.values()), plan.dim
    queries, stands = np.empty((total, dim), np.float32), np.full((total, 2), BASE_FILE, np.int64)
    if asked is not None:
        chosen = rng.permutation(of_asked.count)[: total - missing]
        stands[: total - missing] = np.stack([np.full(len(chosen), QUERIES_FILE), of_asked.rows[chosen]], axis=1)
        path = Path(source.queries_path or source.path)
        for start, vectors in _blocks(asked, path, of_asked, plan.metric):
            _pick(vectors, start, chosen, queries)
    chosen = rng.permutation(of_base.count)[:missing]
    kept = np.ones(of_base.count, bool)
    kept[chosen] = False
    stands[total - missing :, 1] = held_out = of_base.rows[chosen]
    copy, filled = np.lib.format.open_memmap(folder / "base.npy", "w+", np.float32, (plan.rows, dim)), 0
    for start, vectors in _blocks(base, Path(source.path), of_base, plan.metric):
        _pick(vectors, start, chosen, queries[total - missing :])
        rest = vectors[kept[start : start + len(vectors)]]
        copy[filled : filled + len(rest)] = rest
        filled += len(rest)
    copy.flush()
    for name, part in zip(counts, np.split(queries, np.cumsum(list(counts.values()))[:-1]), strict=True):
        np.save(folder / f"{name}.npy", part)
    describe(folder, plan.metric)
    places.save(folder, Places(of_base.rows[kept], stands[: source.queries], held_out))
    repeated = _repeated(queries[: source.queries], copy)
    if repeated:
        log.warning("vectors: %d of the measured queries also stand in the base", repeated)
    zero = {"base": len(of_base.left_out), "queries": len(of_asked.left_out)}
    return {
        "rows": plan.rows, "dim": dim, "metric": plan.metric, "held_out": plan.held_out, "queries_in_base": repeated,
    } | ({"zero_rows": zero} if source.skip_zero else {})  # fmt: skip


def _looked_at(source: Own, base: Rows, asked: Rows | None) -> tuple[Inspected, Usable, Usable]:
    """The plan, now that every row is looked at, and the usable rows of the base and of the queries."""
    import numpy as np

    plan = inspect(source)

    def look(rows: Rows, path: str, wanted: int) -> Usable:
        return usable.look(
            rows, Path(path), wanted, plan.metric, skip_zero=source.skip_zero, at_once=_block_length(rows.shape[1])
        )

    of_asked = Usable(0, np.empty(0, np.int64))
    if asked is not None:
        of_asked = look(asked, source.queries_path or source.path, asked.shape[0])
    plan = _planned(source, plan.metric, base.shape[0], plan.dim, of_asked.count)
    of_base = look(base, source.path, plan.rows + sum(plan.held_out.values()))
    return _planned(source, plan.metric, of_base.count, plan.dim, of_asked.count), of_base, of_asked


def _length(rows: Rows | None) -> int:
    return 0 if rows is None else rows.shape[0]


def _open(source: Own) -> tuple[Rows, Rows | None]:
    """The base and the queries; a file of queries may be an HDF5 file of which only the ``test`` is meant."""
    base, path = files.open_vectors(Path(source.path), source.rows), Path(source.queries_path or source.path)
    asked = files.open_queries(path)
    return base, files.open_vectors(path) if asked is None and source.queries_path else asked


def _block_length(dim: int) -> int:
    return max(1, _BLOCK_BYTES // (4 * dim))


def _blocks(rows: Rows, path: Path, of: Usable, metric: str) -> Iterator[tuple[int, np.ndarray]]:
    """The usable rows as float32 ready to be compared, a block at a time, each with how many came before it."""
    import numpy as np

    length, before = _block_length(rows.shape[1]), 0
    for start in range(0, of.stop, length):
        stop = min(start + length, of.stop)
        left_out = of.left_out[(of.left_out >= start) & (of.left_out < stop)]
        block = np.delete(rows[start:stop], left_out - start, axis=0) if len(left_out) else rows[start:stop]
        yield before, _ready(block, start, path, metric)
        before += len(block)


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
    length = _block_length(base.shape[1])
    for start in range(0, len(base), length):
        block = base[start : start + length]
        of_block = key(block)
        for row in np.flatnonzero(np.isin(of_block, keys)):
            found |= (keys == of_block[row]) & (queries == block[row]).all(axis=1)
    return int(found.sum())
