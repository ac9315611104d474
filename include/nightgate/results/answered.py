"""The vectors that a run answered from: made again from their seed, or read where the user's files lie."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nightgate.errors import ArtifactError, InputError, NotMeasured
from nightgate.files import sha256_of
from nightgate.record import Record
from nightgate.vectors import files
from nightgate.vectors import synthetic as generator
from nightgate.vectors.files.rows import Rows
from nightgate.vectors.places import BASE_FILE

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

_FIRST, _MOST = 1024, 8192  # rows at once: few at first, when nearly all are among the nearest so far

Block = tuple["npt.NDArray[np.int64]", "np.ndarray"]
"""The numbers by which answers name some rows of the base (ascending), and these rows, (some, dim)."""


@dataclass(frozen=True)
class Answered:
    """``queries`` (n, dim) and the base that they were searched in: each call of ``blocks`` gives it from the front."""

    metric: str
    queries: np.ndarray
    blocks: Callable[[], Iterator[Block]]


def synthetic(record: Record, folder: Path) -> Answered:
    """Make the vectors of ``record`` again, in ``folder``.

    Raises:
        NotMeasured: they were made by another version of the generator, or there is no room for them.
    """
    import numpy as np

    asked, made = record.settings, record.facts.vectors and record.facts.vectors.format
    if made != generator.FORMAT:
        raise NotMeasured(
            f"the vectors of {record.benchmark} have the format {made} and this version makes {generator.FORMAT}",
            "recount with the version that measured",
        )
    rows, dim = asked["rows"], asked["dim"]
    size, free = rows * dim * 4, shutil.disk_usage(folder).free
    if free < 1.1 * size:
        raise NotMeasured(
            f"{folder.parent} has {free / 1e9:.1f} GB free and the vectors take {size / 1e9:.1f} GB",
            "free some space or point TMPDIR elsewhere",
        )
    generator.write(
        folder,
        rows=rows,
        dim=dim,
        queries=asked["queries"],
        seed=asked["seed"],
        hardness=asked.get("hardness", generator.DEFAULT_HARDNESS),
    )
    base = np.load(folder / "base.npy", mmap_mode="r")

    def blocks() -> Iterator[Block]:
        for start, stop in _stretches(rows):
            yield np.arange(start, stop), base[start:stop]

    return Answered("cosine", np.load(folder / "queries.npy"), blocks)


def own(record: Record, raw: Mapping[str, np.ndarray], dataset: Path | None, queries_file: Path | None) -> Answered:
    """The user's vectors, from the files that the record names or from where these lie now.

    Args:
        raw: the samples of the record: ``query_rows`` and ``held_out``, see `Places`.

    Raises:
        InputError: a file is not there, or is not the one that was measured.
        ArtifactError: the samples do not say where the queries stood.
    """
    if not {"query_rows", "held_out"} <= set(raw):
        raise ArtifactError(f"the samples of {record.variant} do not say where its queries stood", "measure again")
    facts, asked = record.facts.vectors, record.settings
    if facts is None or facts.sha256 is None or facts.metric is None or facts.rows is None:
        raise ArtifactError(f"the record of {record.variant} does not say what it searched", "measure again")
    path = _same(dataset, asked["dataset"], facts.sha256, "--dataset")
    base = files.open_vectors(path, asked.get("dataset_rows"))
    of_queries: Rows | None = files.open_queries(path)
    if asked.get("queries_file"):
        other = _same(queries_file, asked["queries_file"], facts.queries_sha256, "--queries-file")
        of_queries = files.open_queries(other) or files.open_vectors(other)
    rows, skip_zero, held_out = facts.rows, bool(asked.get("skip_zero_rows")), raw["held_out"]
    return Answered(
        facts.metric,
        _queries(raw["query_rows"], base, of_queries),
        lambda: _of_the_base(base, held_out, rows, skip_zero),
    )


def _queries(places: np.ndarray, base: Rows, of_queries: Rows | None) -> npt.NDArray[np.float64]:
    import numpy as np

    queries = np.empty((len(places), base.shape[1]), np.float64)
    for place in np.lexsort((places[:, 1], places[:, 0])):  # ascending: some files are only read from the front
        which, row = places[place]
        source = base if which == BASE_FILE else of_queries
        if source is None or not 0 <= row < source.shape[0]:
            raise ArtifactError(
                f"the samples name row {row} as a query, which is in none of the files", "measure again"
            )
        queries[place] = source[int(row) : int(row) + 1][0]
    return queries


def _of_the_base(rows: Rows, held_out: np.ndarray, count: int, skip_zero: bool) -> Iterator[Block]:
    """The first ``count`` rows of the file that were searched."""
    import numpy as np

    for start, stop in _stretches(rows.shape[0]):
        if count <= 0:
            return
        block, numbers = rows[start:stop], np.arange(start, stop)
        searched = ~np.isin(numbers, held_out)
        if skip_zero:
            searched &= block.any(axis=1)
        kept = np.flatnonzero(searched)[:count]
        count -= len(kept)
        yield numbers[kept], block[kept]


def _stretches(total: int) -> Iterator[tuple[int, int]]:
    """Stretches of 0 to ``total``, each as long as all before it together, within bounds."""
    stop = 0
    while stop < total:
        start, stop = stop, min(stop + min(max(stop, _FIRST), _MOST), total)
        yield start, stop


def _same(given: Path | None, recorded: str, sha256: str | None, option: str) -> Path:
    """The file with just this content."""
    path = given or Path(recorded)
    if not path.is_file():
        raise InputError(f"there is no file {path}", f"name where it lies now: {option} FILE")
    digest = sha256_of(path)
    if digest != sha256:
        raise InputError(
            f"{path} is not what was measured: its SHA-256 is {digest[:12]}…, the record says {(sha256 or 'nothing')[:12]}…",
            f"name the file that was measured: {option} FILE",
        )
    return path
