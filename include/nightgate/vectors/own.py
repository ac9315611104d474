"""A data set from the user's own file: what can be told of it at once, and the copy that is measured."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nightgate.errors import InputError
from nightgate.vectors import files
from nightgate.vectors.copying import BLOCK_BYTES, Copy, Part, frame_of
from nightgate.vectors.dataset import describe, original_file, query_counts
from nightgate.vectors.files.rows import Rows
from nightgate.vectors.metric import METRICS
from nightgate.vectors.source import Own

if TYPE_CHECKING:
    import numpy as np

log = logging.getLogger(__name__)

FORMAT = 2  # part of the cache key: raise it when the same file would give other vectors


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

    Numbers far from the middle of float32's range are measured in a `frame.Frame` of their own. Whatever is rounded on
    the way is kept as the file has it beside the copy.

    Queries are drawn by the seed, first those to measure, then those to tune on, then those to warm up with: from the
    user's queries as far as they go, then from the base, which loses them.

    Returns:
        ``rows``, ``dim``, ``metric``, ``held_out`` and ``queries_in_base``: how many of the measured queries also stand
        in the base, as exact copies; and the frame, where it is another.

    Raises:
        InputError: as `inspect`, and for the first row that is ragged, not finite, too large for float32, or zero under
            cosine.
    """
    import numpy as np

    plan = inspect(source)
    base, asked = _open(source)
    rng = np.random.default_rng(source.seed)
    counts, missing = query_counts(source.queries), sum(plan.held_out.values())
    total, stop = sum(counts.values()), plan.rows + missing
    parts = [Part(base, Path(source.path), stop)]
    if asked is not None:
        parts.append(Part(asked, Path(source.queries_path or source.path), asked.shape[0]))
    frame = frame_of(parts, plan.metric)
    queries = Copy(frame, parts, (total, plan.dim))
    if asked is not None:
        chosen = rng.permutation(asked.shape[0])[: total - missing]
        for start, block in parts[1].blocks():
            queries.pick(block, start, chosen, into=0)
    chosen = rng.permutation(stop)[:missing]
    kept = np.ones(stop, bool)
    kept[chosen] = False
    copy, filled = Copy(frame, parts, (plan.rows, plan.dim), folder / "base.npy", original_file(folder, "base")), 0
    for start, block in parts[0].blocks():
        queries.pick(block, start, chosen, into=total - missing)
        rest = block[kept[start : start + len(block)]]
        copy.put(slice(filled, filled + len(rest)), rest)
        filled += len(rest)
    copy.flush()
    first = 0
    for name, count in counts.items():
        queries.save(folder, name, slice(first, first + count))
        first += count
    describe(folder, plan.metric)
    repeated = _repeated(queries.ready[: source.queries], copy.ready)
    if repeated:
        log.warning("vectors: %d of the measured queries also stand in the base", repeated)
    return {
        "rows": plan.rows, "dim": plan.dim, "metric": plan.metric, "held_out": plan.held_out, "queries_in_base": repeated,
        **frame.facts(),
    }  # fmt: skip


def _length(rows: Rows | None) -> int:
    return 0 if rows is None else rows.shape[0]


def _open(source: Own) -> tuple[Rows, Rows | None]:
    """The base and the queries; a file of queries may be an HDF5 file of which only the ``test`` is meant."""
    base, path = files.open_vectors(Path(source.path)), Path(source.queries_path or source.path)
    asked = files.open_queries(path)
    return base, files.open_vectors(path) if asked is None and source.queries_path else asked


def _repeated(queries: np.ndarray, base: np.ndarray) -> int:
    """How many ``queries`` equal a row of ``base``: by a 64-bit sum over the bits of each, and then value by value."""
    import numpy as np

    weights = np.random.default_rng(0).integers(1, 2**63, queries.shape[1], dtype=np.uint64) | np.uint64(1)

    def key(vectors: np.ndarray) -> np.ndarray:
        bits = (vectors + np.float32(0)).view(np.uint32)  # -0.0 becomes 0.0
        return np.einsum("ij,j->i", bits, weights, dtype=np.uint64, casting="unsafe")

    keys, found = key(queries), np.zeros(len(queries), bool)
    length = max(1, BLOCK_BYTES // (4 * base.shape[1]))
    for start in range(0, len(base), length):
        block = base[start : start + length]
        of_block = key(block)
        for row in np.flatnonzero(np.isin(of_block, keys)):
            found |= (keys == of_block[row]) & (queries == block[row]).all(axis=1)
    return int(found.sum())
