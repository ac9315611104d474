"""The cached data set and its ground truth: one call for both vector benchmarks."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from nightgate.artifacts import Cache
from nightgate.measure.child import run_child
from nightgate.vectors import synthetic, truth

TRUTH_DEPTH = 100
"""Neighbours kept per query: enough for recall@100 and recall@5 from one pass over the data."""


def prepare(cache: Cache, *, rows: int, dim: int, queries: int, seed: int, threads: int) -> dict[str, Any]:
    """The folders ``vectors`` and ``truth``, built when missing, and ``data``: what is known of the vectors."""
    key = {"rows": rows, "dim": dim, "queries": queries, "seed": seed, "format": synthetic.FORMAT}
    vectors = cache.get(
        "vectors", key, lambda folder: run_child(
            "nightgate.vectors.data:build_vectors", key | {"folder": str(folder)}, threads=threads).value,
        needs=rows * dim * 4 + 2**20,
    )  # fmt: skip
    request = {"vectors": str(vectors.path), "k": TRUTH_DEPTH}
    exact = cache.get(
        "truth", {"vectors": vectors.digest, "k": TRUTH_DEPTH, "format": truth.FORMAT}, lambda folder: run_child(
            "nightgate.vectors.data:build_truth", request | {"folder": str(folder)}, threads=threads).value,
    )  # fmt: skip
    facts = {**vectors.facts, "digest": vectors.digest, "local_dimension": exact.facts["local_dimension"]["queries"]}
    return {"vectors": str(vectors.path), "truth": str(exact.path), "data": facts}


def build_vectors(request: dict) -> dict:
    return synthetic.write(Path(request["folder"]), **{k: request[k] for k in ("rows", "dim", "queries", "seed")})


def build_truth(request: dict) -> dict:
    data = synthetic.open_dataset(Path(request["vectors"]))
    sets = {"queries": data.queries, "tuning": data.tuning}
    return truth.write(Path(request["folder"]), data.base, sets, request["k"])
