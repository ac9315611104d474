"""Recall counted anew from the answers that a run kept, by trying every row: the check of a verdict by others.

Nothing of how the run counted is used: neither its ground truth nor its recall, only the answers themselves, the vectors
as their file has them, numpy and float64. A recall that this does not find is not what was measured.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from nightgate import paths
from nightgate.errors import ArtifactError, InputError, NotMeasured
from nightgate.measure import samples
from nightgate.record import Record, Summary
from nightgate.results.answered import Answered, own, synthetic
from nightgate.vector_search.metrics import RECALL

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]
    Ids = npt.NDArray[np.int64]

MOST = 0.002
"""A recall counted anew may differ by so much: a row or two that tie."""

_TIE = 1e-12  # of a squared distance: more could be the whole difference of two rows that are both far away
_SAME = 1e-24  # the square of a distance between unit vectors that differ by nothing but their rounding
_QUERIES = 1024  # searched at once
_ROUNDING = 2.0**-52


@dataclass(frozen=True)
class Recounted:
    """One recall of one variant, as it was recorded and as it is found now."""

    benchmark: str
    variant: str
    device: str
    metric: str
    recorded: float
    recounted: float

    @property
    def difference(self) -> float:
        return self.recounted - self.recorded

    @property
    def agrees(self) -> bool:
        return abs(self.difference) <= MOST


def recount(run: Summary, dataset: Path | None = None, queries_file: Path | None = None) -> list[Recounted]:
    """Every recall@k of a run's vector searches. Synthetic vectors are made again from their seed.

    Args:
        dataset: where the user's file lies now; by default where the run found it.
        queries_file: the same of the file of queries.

    Raises:
        InputError: the run measured no recall; a file of the user's is not there, not the one that was measured, or
            named although the run had none.
        ArtifactError: the samples are missing, torn, or hold no answers.
        NotMeasured: the answers are no answers, or the vectors cannot be made again by this version.
    """
    records = [record for record in run.results if record.status == "measured" and _depths(record)]
    if not records:
        raise InputError(f"run {run.run_id} measured no recall", "name a run that searched vectors")
    _needed(records, dataset, queries_file)
    groups: dict[str, list[tuple[Record, dict[str, np.ndarray]]]] = {}
    for record in records:
        groups.setdefault(_same_vectors(record), []).append((record, _answers(run, record)))
    recounted: dict[int, list[Recounted]] = {}
    for group in groups.values():  # one search for all who answered from the same vectors
        with tempfile.TemporaryDirectory(prefix="nightgate-recount-") as folder:
            first, raw = group[0]
            if first.settings.get("dataset"):
                vectors = own(first, raw, dataset, queries_file)
            else:
                vectors = synthetic(first, Path(folder))
            recalls = count(vectors, [Answers(r.variant, raw["ids"], _depths(r)) for r, raw in group])
        for (record, _), counted in zip(group, recalls, strict=True):
            series = record.benchmark, record.variant, record.device
            recounted[id(record)] = [
                Recounted(*series, name, record.metrics[name].value, value) for name, value in counted.items()
            ]
    return [one for record in records for one in recounted[id(record)]]


def _same_vectors(record: Record) -> str:
    """The same text for all records whose queries and base are the same."""
    facts, asked = record.facts.vectors, record.settings
    return repr([facts, asked.get("dataset"), asked.get("queries"), asked.get("seed")])


def _needed(records: list[Record], dataset: Path | None, queries_file: Path | None) -> None:
    """Refuse a file that nothing would be done with."""
    for option, given, setting in (("--dataset", dataset, "dataset"), ("--queries-file", queries_file, "queries_file")):
        if given and not any(record.settings.get(setting) for record in records):
            raise InputError(f"{option} {given}: this run was measured without such a file", f"leave {option} out")


class Answers(NamedTuple):
    """Whose they are; ids, (queries, longest), -1 where one is missing; and the depths (name → k) to count at."""

    variant: str
    ids: Ids
    depths: dict[str, int]


def count(vectors: Answered, answers: list[Answers]) -> list[dict[str, float]]:
    """The mean recall of each of ``answers`` at each of its depths, by name.

    An answer counts among the first k when it is no farther than the true k-th neighbour, or by 1e-12 of that distance,
    which is then a tie. Distances are computed from differences in float64, of unit vectors under cosine; for "ip" it
    is the negative product.

    Raises:
        NotMeasured: an id twice in one answer, one that is no row of the base, or answers that are too few or too short.
    """
    import numpy as np

    for variant, ids, depths in answers:
        _check(vectors, variant, ids, depths)
    together = np.concatenate([ids for _, ids, _ in answers], axis=1)
    edges = np.cumsum([ids.shape[1] for _, ids, _ in answers])[:-1]
    deepest = max(depth for _, _, depths in answers for depth in depths.values())
    hits = [{name: np.empty(len(together)) for name in depths} for _, _, depths in answers]
    for start in range(0, len(together), _QUERIES):
        some = slice(start, start + _QUERIES)
        nearest, distance, same = _search(vectors, vectors.queries[some], together[some], deepest)
        for (variant, ids, depths), of, into in zip(answers, np.split(distance, edges, axis=1), hits, strict=True):
            strange = np.isnan(of) & (ids[some] >= 0)
            if strange.any():
                wrong = ids[some][strange][0]
                raise NotMeasured(f"{variant}: a query was answered with {wrong}, which is no row that was searched")
            for name, k in depths.items():
                kth = nearest[:, k - 1 : k]
                within = of[:, :k] <= kth + _TIE * np.abs(kth) + same[:, None]  # an empty place is NaN: never
                into[name][some] = within.sum(axis=1) / k
    return [{name: float(shares.mean()) for name, shares in into.items()} for into in hits]


def _check(vectors: Answered, variant: str, ids: Ids, depths: dict[str, int]) -> None:
    import numpy as np

    if len(ids) != len(vectors.queries):
        raise NotMeasured(f"{variant}: there are answers to {len(ids)} queries and {len(vectors.queries)} queries")
    ordered = np.sort(ids, axis=1)
    if ((ordered[:, 1:] == ordered[:, :-1]) & (ordered[:, 1:] >= 0)).any():
        raise NotMeasured(f"{variant}: a query was answered with the same id twice")
    short = [name for name, depth in depths.items() if depth > ids.shape[1]]
    if short:
        raise NotMeasured(f"{variant}: the answers are {ids.shape[1]} long, too short for {', '.join(short)}")


def _search(vectors: Answered, queries: np.ndarray, ids: Ids, k: int) -> tuple[Floats, Floats, Floats]:
    """The distances of the ``k`` nearest rows of the base, rising, (q, k); of the answers, (q, answers), NaN where there
    is none; and what is a tie in any case, (q,).

    A matrix product in float64 says which rows may be among the nearest, with room for its rounding, and their distances
    are then computed one by one.
    """
    import numpy as np

    product = vectors.metric == "ip"
    asked = _prepared(queries, vectors.metric)
    lengths = np.linalg.norm(asked, axis=1)
    nearest, distance = np.full((len(asked), k), np.inf), np.full(ids.shape, np.nan)
    longest = 0.0
    for numbers, rows in vectors.blocks():
        block = _prepared(rows, vectors.metric)
        longest = max(longest, float(np.sqrt(np.einsum("ij,ij->i", block, block).max(initial=0.0))))
        rough = -(asked @ block.T) if product else _roughly(asked, block)
        # of a sum of products, by any order of adding: Higham, Accuracy and Stability of Numerical Algorithms, §3.1
        error = (asked.shape[1] + 8) * _ROUNDING * (lengths * longest if product else (lengths + longest) ** 2)
        for row in range(len(asked)):
            near = np.flatnonzero(rough[row] <= nearest[row, -1] + error[row])
            if len(near):
                exact = _exactly(asked[row], block[near], product)
                nearest[row] = np.sort(np.concatenate([nearest[row], exact]))[:k]
        _measure_answers(distance, ids, asked, numbers, block, product)
    same = _SAME if vectors.metric == "cosine" else 0.0
    return nearest, distance, 1e-15 * lengths * longest if product else np.full(len(asked), same)


def _measure_answers(distance: Floats, ids: Ids, asked: Floats, numbers: Ids, block: Floats, product: bool) -> None:
    """Put the distances of those answers into ``distance`` that are among the rows ``numbers`` (ascending)."""
    import numpy as np

    place = np.searchsorted(numbers, ids)
    here = (place < len(numbers)) & (numbers[np.minimum(place, len(numbers) - 1)] == ids)
    for row in np.flatnonzero(here.any(axis=1)):
        distance[row, here[row]] = _exactly(asked[row], block[place[row, here[row]]], product)


def _prepared(vectors: np.ndarray, metric: str) -> Floats:
    import numpy as np

    exact = np.asarray(vectors).astype(np.float64)
    if metric == "cosine":
        exact /= np.linalg.norm(exact, axis=1, keepdims=True)
    return exact


def _roughly(queries: Floats, block: Floats) -> Floats:
    """Squared distances by one matrix product, which loses digits where both are long and near each other."""
    import numpy as np

    squares = [np.einsum("ij,ij->i", each, each) for each in (queries, block)]
    rough: Floats = squares[0][:, None] + squares[1] - 2 * (queries @ block.T)
    return rough


def _exactly(query: Floats, rows: Floats, product: bool) -> Floats:
    import numpy as np

    if product:
        return np.negative(rows @ query)
    difference = rows - query
    squared: Floats = np.einsum("ij,ij->i", difference, difference)
    return squared


def _depths(record: Record) -> dict[str, int]:
    known = {spec.name: k for k, spec in RECALL.items()}
    return {name: known[name] for name in record.metrics if name in known}


def _answers(run: Summary, record: Record) -> dict[str, np.ndarray]:
    if not record.samples:
        raise ArtifactError(f"{record.variant} kept no samples", "measure again to have them")
    file = paths.run_dir(run.run_id) / Path(record.samples).name
    raw = samples.read(file, record.variant)
    if "ids" not in raw:
        raise ArtifactError(
            f"{file} holds no answers of {record.variant}", "measure again: a version before this did not keep them"
        )
    return raw
