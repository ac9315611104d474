"""The exact neighbours that recall is counted against: a flat FAISS index over the very float32 vectors that are loaded.

Its float32 sums may swap what float64 tells apart, so it only proposes: the proven neighbours of the data set
(`truth.exact`) stand beside its own, and differences of distances decide between them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nightgate.artifacts import Cache
from nightgate.measure.child import run_child
from nightgate.vectors.dataset import open_dataset
from nightgate.vectors.exact import nearest
from nightgate.vectors.truth import Truth, open_truth, save
from nightgate.versions import installed

FORMAT = 2
DEPTH = 20
"""Neighbours kept per query."""


def prepare(cache: Cache, vectors: str, truth: str, digest: str, threads: int) -> str:
    """The folder with the baseline of the data set in ``vectors``, built when missing; see `truth.open_truth`.

    Args:
        truth: the folder with the data set's proven neighbours.
    """
    key = {"vectors": digest, "k": DEPTH, "versions": installed("faiss", "numpy"), "format": FORMAT}
    request = {"vectors": vectors, "truth": truth}
    found = cache.get(
        "faiss-baseline", key, lambda folder: run_child(
            "nightgate.pgvector_search.baseline:build", request | {"folder": str(folder)}, threads=threads).value,
    )  # fmt: skip
    return str(found.path)


def build(request: dict[str, Any]) -> dict[str, Any]:
    """The child's side: search for the measured queries and for those to tune on.

    Returns:
        the index, its version, and ``confirmed``: the share of the neighbours it found among the measured queries' ones.
    """
    import faiss
    import numpy as np

    dataset = open_dataset(Path(request["vectors"]))
    index = faiss.IndexFlatIP(dataset.base.shape[1])  # the inner product of unit vectors is their cosine
    index.add(dataset.base)
    confirmed = {}
    for name in ("queries", "tuning"):
        queries = np.asarray(getattr(dataset, name))
        proposed = index.search(queries, min(DEPTH, index.ntotal))[1]
        proven = open_truth(Path(request["truth"]), name).ids[:, :DEPTH]
        exact = np.stack([
            nearest(dataset.exact("base"), np.union1d(one, other), query, proposed.shape[1], dataset.metric)
            for one, other, query in zip(proposed, proven, dataset.exact(name), strict=True)
        ])  # fmt: skip
        save(Path(request["folder"]), name, Truth(exact))
        confirmed[name] = np.mean([np.isin(one, other).mean() for one, other in zip(exact, proposed, strict=True)])
    return {"index": "faiss.IndexFlatIP", "faiss": faiss.__version__, "confirmed": float(confirmed["queries"])}
