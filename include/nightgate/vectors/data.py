"""The cached data set and its ground truth: one call for every vector benchmark."""

from __future__ import annotations

import logging
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nightgate.artifacts import Cache
from nightgate.errors import InputError, Unavailable
from nightgate.files import sha256_of
from nightgate.measure import host
from nightgate.measure.child import run_child
from nightgate.record import Device
from nightgate.vectors import arrays, hardness, own, synthetic, truth
from nightgate.vectors.arrays import Arrays
from nightgate.vectors.dataset import open_dataset
from nightgate.vectors.prepared import DataFacts, PreparedData
from nightgate.vectors.source import Own, Source, Synthetic
from nightgate.versions import installed

if TYPE_CHECKING:
    import numpy as np

log = logging.getLogger(__name__)

TRUTH_DEPTH = 100
"""Neighbours kept per query: enough for recall at every depth up to it from one pass over the data."""


@dataclass(frozen=True)
class VectorsRequest:
    """Make or copy the vectors of ``source`` into ``folder``; ``names``: what the files were when they were looked at."""

    source: Source
    folder: Path
    names: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class TruthRequest:
    """Find the exact neighbours of the data set in ``vectors`` on ``device``, into ``folder``."""

    vectors: Path
    folder: Path
    device: Device


def prepare(cache: Cache, *, source: Source, threads: int) -> PreparedData:
    """The data set and its exact neighbours, built when missing. A file of the user's is cached by its content.

    Beside the truth stands what `open_hardness` reads.

    Raises:
        InputError: a file of the user's cannot be used.
    """
    names: dict[str, str] = {}
    if isinstance(source, Synthetic):
        rows, dim = source.rows, source.dim
        key: dict[str, Any] = asdict(source) | {"format": synthetic.FORMAT}
    else:
        plan, names = own.inspect(source), _names(source)
        rows, dim, source = plan.rows, plan.dim, replace(source, metric=plan.metric)
        key = {
            "sha256": names["sha256"],
            "queries_sha256": names.get("queries_sha256"),
            "formats": [Path(path).suffix.lower() for path in (source.path, source.queries_path or "")],
            "metric": plan.metric,
            "queries": source.queries,
            "seed": source.seed,
            "rows": rows,
            "skip_zero": source.skip_zero,
            "format": own.FORMAT,
        }

    # no versions of libraries: it is data, and the same is measured before and after an upgrade of what reads it
    def make_vectors(folder: Path) -> dict[str, Any]:
        return run_child(build_vectors, VectorsRequest(source, folder, names), threads=threads).value

    copies = 1 if isinstance(source, Synthetic) else 2  # a file's vectors may be kept twice
    vectors = cache.get("vectors", key, make_vectors, needs=rows * dim * 4 * copies + 2**20)

    def make_truth(folder: Path) -> dict[str, Any]:
        # whichever is measured: the truth is the same, and sooner there
        request = TruthRequest(vectors.path, folder, "gpu" if host.describe().gpu else "cpu")
        return run_child(build_truth, request, threads=threads, device=request.device).value

    key = {"vectors": vectors.digest, "k": TRUTH_DEPTH, "format": truth.FORMAT, "versions": installed("numpy")}
    found = cache.get("truth", key, make_truth)
    facts = DataFacts(**{**names, **vectors.facts, **found.facts, "digest": vectors.digest})
    return PreparedData(vectors=vectors.path, truth=found.path, data=facts)


def open_hardness(folder: Path) -> np.ndarray:
    """How hard each measured query is (`hardness.per_query`), float64 (queries,); ``folder`` holds the truth."""
    import numpy as np

    answer: np.ndarray = np.load(folder / "queries-hardness.npy")
    return answer


def build_vectors(request: VectorsRequest) -> dict[str, Any]:
    """The child's side of `prepare`."""
    source = request.source
    if isinstance(source, Synthetic):
        return synthetic.write(request.folder, **asdict(source))
    facts = own.write(request.folder, source)
    if _names(source) != request.names:
        raise InputError(f"{source.path} changed while it was read", "start again when it is written")
    return facts


def build_truth(request: TruthRequest) -> dict[str, Any]:
    """The child's side: search exactly, and measure how hard the data and each query are."""
    import numpy as np

    dataset, computing = open_dataset(request.vectors), _arrays(request.device)
    exact = truth.write(request.folder, dataset, TRUTH_DEPTH, computing)["queries"]
    np.save(request.folder / "queries-hardness.npy", hardness.per_query(dataset, exact))
    where = computing.facts()
    found_by = f"every pair scored by {where['arrays']} on {where['name']}, and proven"
    return {"k": TRUTH_DEPTH, "exact_neighbours": found_by, **hardness.measure(dataset, exact)}


def _arrays(device: Device) -> Arrays:
    """Those of ``device``, or of the CPU where no library computes there: the neighbours are the same, and later."""
    try:
        return arrays.on(device)
    except Unavailable as error:
        log.warning("exact neighbours are looked for on the cpu: %s", error)
        return arrays.Arrays()


def _names(source: Own) -> dict[str, str]:
    """The names of the user's files and the SHA-256 of what is in them."""
    names = {"file": Path(source.path).name, "sha256": sha256_of(source.path)}
    if source.queries_path:
        names |= {"queries_file": Path(source.queries_path).name, "queries_sha256": sha256_of(source.queries_path)}
    return names
