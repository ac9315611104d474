"""A data set from the user's own file: what can be told of it at once, and the copy that is measured."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nightgate.errors import InputError
from nightgate.vectors import files, places, usable
from nightgate.vectors.copying import Copy, Part
from nightgate.vectors.dataset import describe, original_file, query_counts
from nightgate.vectors.files.rows import Rows
from nightgate.vectors.frame import choose
from nightgate.vectors.metric import METRICS
from nightgate.vectors.places import BASE_FILE, QUERIES_FILE, Places
from nightgate.vectors.source import Own
from nightgate.vectors.usable import block_length

if TYPE_CHECKING:
    import numpy as np

log = logging.getLogger(__name__)

FORMAT = 3  # part of the cache key: raise it when the same file would give other vectors


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
            f"{source.path} does not say how its vectors are to be compared"
            if metric is None
            else f"the vectors of {source.path} are to be compared by {metric!r}, which is not known",
            f"set the benchmark's metric beside its dataset to one of {', '.join(METRICS)}",
        )
    if asked is not None and asked.shape[1] != base.shape[1]:
        raise InputError(
            f"the queries of {source.queries_path or source.path} have {asked.shape[1]} dimensions and the vectors of "
            f"{source.path} have {base.shape[1]}",
            "name queries and vectors that one model has made",
        )
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

    Numbers far from the middle of float32's range are measured in a `frame.Frame` of their own. Whatever is rounded on
    the way is kept as the file has it beside the copy.

    Queries are drawn by the seed, first those to measure, then those to tune on, then those to warm up with: from the
    user's queries as far as they go, then from the base, which loses them.

    Beside it stand the `places` of its rows and queries in the user's files.

    Returns:
        ``rows``, ``dim``, ``metric``, ``held_out`` and ``queries_in_base``: how many of the measured queries also stand
        in the base, as exact copies; where zero rows are left out also ``zero_rows``: how many of ``base`` and
        ``queries`` were; and the frame, where it is another.

    Raises:
        InputError: as `inspect` and `usable.look`, and for the first row that is ragged.
    """
    import numpy as np

    base, asked = _open(source)
    plan, parts = _looked_at(source, base, asked)
    of_base, of_asked = parts[0].usable, parts[1].usable if asked is not None else None
    rng = np.random.default_rng(source.seed)
    counts, missing = query_counts(source.queries), sum(plan.held_out.values())
    total = sum(counts.values())
    frame = choose([part.usable for part in parts], plan.metric)
    queries, stands = Copy(frame, parts, (total, plan.dim)), np.full((total, 2), BASE_FILE, np.int64)
    if of_asked is not None:
        chosen = rng.permutation(of_asked.count)[: total - missing]
        stands[: total - missing] = np.stack([np.full(len(chosen), QUERIES_FILE), of_asked.rows[chosen]], axis=1)
        for before, block in parts[1].blocks():
            queries.pick(block, before, chosen, into=0)
    chosen = rng.permutation(of_base.count)[:missing]
    kept = np.ones(of_base.count, bool)
    kept[chosen] = False
    stands[total - missing :, 1] = held_out = of_base.rows[chosen]
    copy, filled = Copy(frame, parts, (plan.rows, plan.dim), folder / "base.npy", original_file(folder, "base")), 0
    for before, block in parts[0].blocks():
        queries.pick(block, before, chosen, into=total - missing)
        rest = block[kept[before : before + len(block)]]
        copy.put(slice(filled, filled + len(rest)), rest)
        filled += len(rest)
    copy.flush()
    first = 0
    for name, count in counts.items():
        queries.save(folder, name, slice(first, first + count))
        first += count
    describe(folder, plan.metric)
    places.save(folder, Places(of_base.rows[kept], stands[: source.queries], held_out))
    repeated = _repeated(queries.ready[: source.queries], copy.ready)
    if repeated:
        log.warning("vectors: %d of the measured queries also stand in the base", repeated)
    zero = {"base": len(of_base.left_out), "queries": len(of_asked.left_out) if of_asked else 0}
    return {
        "rows": plan.rows,
        "dim": plan.dim,
        "metric": plan.metric,
        "held_out": plan.held_out,
        "queries_in_base": repeated,
        **frame.facts(),
    } | ({"zero_rows": zero} if source.skip_zero else {})


def _looked_at(source: Own, base: Rows, asked: Rows | None) -> tuple[Inspected, list[Part]]:
    """The plan, now that every row is looked at, and the usable rows of the base and, if there are any, of the queries."""
    plan = inspect(source)

    def look(rows: Rows, path: str, wanted: int) -> Part:
        found = usable.look(rows, Path(path), wanted, plan.metric, skip_zero=source.skip_zero)
        return Part(rows, found)

    queries = [] if asked is None else [look(asked, source.queries_path or source.path, asked.shape[0])]
    count = sum(part.usable.count for part in queries)
    plan = _planned(source, plan.metric, base.shape[0], plan.dim, count)
    of_base = look(base, source.path, plan.rows + sum(plan.held_out.values()))
    return _planned(source, plan.metric, of_base.usable.count, plan.dim, count), [of_base, *queries]


def _length(rows: Rows | None) -> int:
    return 0 if rows is None else rows.shape[0]


def _open(source: Own) -> tuple[Rows, Rows | None]:
    """The base and the queries; a file of queries may be an HDF5 file of which only the ``test`` is meant."""
    base, path = files.open_vectors(Path(source.path), source.rows), Path(source.queries_path or source.path)
    asked = files.open_queries(path)
    return base, files.open_vectors(path) if asked is None and source.queries_path else asked


def _repeated(queries: np.ndarray, base: np.ndarray) -> int:
    """How many ``queries`` equal a row of ``base``: by a 64-bit sum over the bits of each, and then value by value."""
    import numpy as np

    weights = np.random.default_rng(0).integers(1, 2**63, queries.shape[1], dtype=np.uint64) | np.uint64(1)

    def key(vectors: np.ndarray) -> np.ndarray:
        bits = (vectors + np.float32(0)).view(np.uint32)  # -0.0 becomes 0.0
        answer: np.ndarray = np.einsum("ij,j->i", bits, weights, dtype=np.uint64, casting="unsafe")
        return answer

    keys, found = key(queries), np.zeros(len(queries), bool)
    length = block_length(base.shape[1])
    for start in range(0, len(base), length):
        block = base[start : start + length]
        of_block = key(block)
        for row in np.flatnonzero(np.isin(of_block, keys)):
            found |= (keys == of_block[row]) & (queries == block[row]).all(axis=1)
    return int(found.sum())
