"""The exact neighbours that recall is counted against: a flat FAISS index over the very float32 vectors that are loaded."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from nightgate.artifacts import Cache
from nightgate.measure.child import run_child
from nightgate.vectors.dataset import open_dataset
from nightgate.vectors.metric import scores
from nightgate.vectors.truth import Truth, save

if TYPE_CHECKING:
    from nightgate.vectors.dataset import Dataset

FORMAT = 1
DEPTH = 20
"""Neighbours kept per query: more than are asked for, since float32 sums may swap what float64 tells apart."""


def prepare(cache: Cache, vectors: str, digest: str, threads: int) -> str:
    """The folder with the baseline of the data set in ``vectors``, built when missing; see `truth.open_truth`."""
    key = {"vectors": digest, "k": DEPTH, "format": FORMAT}
    found = cache.get(
        "faiss-baseline", key, lambda folder: run_child(
            "nightgate.pgvector_search.baseline:build", {"vectors": vectors, "folder": str(folder)}, threads=threads).value,
    )  # fmt: skip
    return str(found.path)


def build(request: dict[str, Any]) -> dict[str, Any]:
    """The child's side: search for the measured queries and for those to tune on."""
    import faiss

    dataset = open_dataset(Path(request["vectors"]))
    index = faiss.IndexFlatIP(dataset.base.shape[1])  # the inner product of unit vectors is their cosine
    index.add(dataset.base)
    for name in ("queries", "tuning"):
        save(Path(request["folder"]), name, _exact(index, dataset, name))
    return {"index": "faiss.IndexFlatIP", "faiss": faiss.__version__}


def _exact(index: Any, dataset: Dataset, name: str) -> Truth:
    import numpy as np

    queries = getattr(dataset, name)
    _, found = index.search(np.asarray(queries), min(DEPTH, index.ntotal))
    exact = np.stack(
        [scores(dataset.base[ids], query, dataset.metric) for ids, query in zip(found, queries, strict=True)]
    )
    order = np.argsort(-exact, axis=1, kind="stable")
    return Truth(np.take_along_axis(found, order, 1), np.take_along_axis(exact, order, 1).astype(np.float32))
