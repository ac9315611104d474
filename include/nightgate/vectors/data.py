"""The cached data set and its ground truth: one call for both vector benchmarks."""

from __future__ import annotations

import logging
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from nightgate.artifacts import Cache
from nightgate.errors import InputError, Unavailable
from nightgate.files import sha256_of
from nightgate.measure import host
from nightgate.measure.child import run_child
from nightgate.record import Device
from nightgate.vectors import arrays, hardness, own, synthetic, truth
from nightgate.vectors.arrays import Arrays
from nightgate.vectors.dataset import open_dataset
from nightgate.vectors.source import Own, Source, Synthetic
from nightgate.versions import installed

log = logging.getLogger(__name__)

TRUTH_DEPTH = 100
"""Neighbours kept per query: enough for recall@100 and recall@5 from one pass over the data."""


def prepare(cache: Cache, *, source: Source, threads: int) -> dict[str, Any]:
    """The folders ``vectors`` and ``truth``, built when missing, and ``data``: what is known of the vectors.

    ``data`` holds what `synthetic.write` or `own.write` return, ``digest``, and what `hardness.measure` finds; of a
    file of the user's also its name and the SHA-256 of its content, by which it is cached. Beside the truth stands
    ``queries-hardness.npy``, float64 (queries,), see `hardness.per_query`.

    Raises:
        InputError: a file of the user's cannot be used.
    """
    if isinstance(source, Synthetic):
        rows, dim, names = source.rows, source.dim, {}
        key = asdict(source) | {"format": synthetic.FORMAT}
    else:
        plan, names = own.inspect(source), _names(source)
        rows, dim, source = plan.rows, plan.dim, replace(source, metric=plan.metric)
        key = {
            "sha256": names["sha256"], "queries_sha256": names.get("queries_sha256"),
            "formats": [Path(path).suffix.lower() for path in (source.path, source.queries_path or "")],
            "metric": plan.metric, "queries": source.queries, "seed": source.seed, "rows": rows,
            "skip_zero": source.skip_zero,
            "format": own.FORMAT,
        }  # fmt: skip
    # no versions of libraries: it is data, and the same is measured before and after an upgrade of what reads it
    request = {"kind": type(source).__name__, "source": asdict(source), "expected": names}
    vectors = cache.get(
        "vectors", key, lambda folder: run_child(
            "nightgate.vectors.data:build_vectors", request | {"folder": str(folder)}, threads=threads).value,
        needs=rows * dim * 4 * (1 if isinstance(source, Synthetic) else 2) + 2**20,  # a file's may be kept twice
    )  # fmt: skip
    proven = {"vectors": vectors.digest, "k": TRUTH_DEPTH, "format": truth.FORMAT, "versions": installed("numpy")}
    # whichever is measured: the truth is the same, and sooner there
    device: Device = "gpu" if host.describe().gpu else "cpu"
    found = cache.get(
        "truth", proven, lambda folder: run_child(
            "nightgate.vectors.data:build_truth",
            {"vectors": str(vectors.path), "folder": str(folder), "device": device}, threads=threads, device=device).value,
    )  # fmt: skip
    facts = {**names, **vectors.facts, **found.facts, "digest": vectors.digest}
    return {"vectors": str(vectors.path), "truth": str(found.path), "data": facts}


def build_vectors(request: dict[str, Any]) -> dict[str, Any]:
    """The child's side: make or copy the vectors into ``request["folder"]``."""
    folder = Path(request["folder"])
    if request["kind"] == "Synthetic":
        return synthetic.write(folder, **request["source"])
    source = Own(**request["source"])
    facts = own.write(folder, source)
    if _names(source) != request["expected"]:
        raise InputError(f"{source.path} changed while it was read", "start again when it is written")
    return facts


def build_truth(request: dict[str, Any]) -> dict[str, Any]:
    """The child's side: search exactly, and measure how hard the data and each query are."""
    import numpy as np

    folder, dataset = Path(request["folder"]), open_dataset(Path(request["vectors"]))
    exact = truth.write(folder, dataset, TRUTH_DEPTH, _arrays(request["device"]))["queries"]
    np.save(folder / "queries-hardness.npy", hardness.per_query(dataset, exact))
    return {"k": TRUTH_DEPTH, **hardness.measure(dataset, exact)}


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
