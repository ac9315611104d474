"""Generated inputs for the vector benchmark, and recall by brute force as the judge of the recall that is reported."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import h5py
import numpy as np
from support.ann import opened

from nightgate.hybrid_ann import strategies
from nightgate.vectors import own, recall, truth
from nightgate.vectors.dataset import WARMUP, Dataset, open_dataset
from nightgate.vectors.source import Own

METRICS = ("l2", "cosine", "ip")
STRATEGIES = ("hybrid", "ivfpq_refine", "hybrid_seeded", "hnsw", "hnswlib", "usearch", "faiss_hnsw")
CASES = 15  # of each metric and strategy: 315 in all
K = 10
QUERIES = 40
_BRUTE_TIE = 1e-17


@dataclass(frozen=True)
class Case:
    """What one input is like; everything follows from it and from its seed."""

    seed: int
    rows: int
    dim: int
    dtype: str
    suffix: str
    scale: float
    offset: float
    outliers: str
    repeats: str
    order: str

    def describe(self) -> str:
        return ", ".join(f"{name} {value}" for name, value in vars(self).items())


def cases(metric: str, strategy: str) -> Iterator[Case]:
    rng = np.random.default_rng(zlib.crc32(f"{metric} {strategy}".encode()))
    for number in range(CASES):
        dtype = str(rng.choice(["float32", "float32", "float32", "float64", "float16", "uint8", "int8"]))
        real = dtype in ("float32", "float64")
        suffixes = {
            "float32": [".npy", ".fbin", ".fvecs", ".hdf5"],
            "uint8": [".npy", ".u8bin", ".bvecs"],
            "int8": [".npy", ".i8bin"],
        }
        yield Case(
            seed=number,
            rows=int(rng.integers(2000, 3000)),
            dim=int(rng.choice([8, 12, 17, 32, 48])),
            dtype=dtype,
            suffix=str(rng.choice(suffixes.get(dtype, [".npy", ".hdf5"]))),
            scale=float(10 ** rng.uniform(-17, 12)) if real and number % 3 else 1.0,
            offset=float(rng.choice([0, 0, 0, 5, 100, -3e3, 1e5])) if real else 0.0,
            outliers=str(rng.choice(["none", "none", "queries", "base", "both"])) if real else "none",
            repeats=str(rng.choice(["none", "none", "some", "scaled", "one vector"])),
            order=str(rng.choice(["random", "by length", "by cluster", "by columns"])),
        )  # fmt: skip


def vectors(case: Case) -> tuple[np.ndarray, np.ndarray]:
    """Base and queries as the user has them, in ``case.dtype``."""
    rng = np.random.default_rng(case.seed)
    centres = 3 * rng.standard_normal((30, case.dim))
    place = rng.integers(0, 30, case.rows)
    if case.order == "by cluster":
        place.sort()
    base = centres[place] + rng.standard_normal((case.rows, case.dim))
    asked = centres[rng.integers(0, 30, 2 * QUERIES + WARMUP)] + rng.standard_normal((2 * QUERIES + WARMUP, case.dim))
    if case.repeats == "some":
        base[: case.rows // 3] = base[-(case.rows // 3) :]
    elif case.repeats == "scaled":
        base[: case.rows // 4] = 4 * base[-(case.rows // 4) :]
    elif case.repeats == "one vector":
        base[: case.rows // 2] = base[0]
    if case.order == "by length":
        base = base[np.argsort(np.linalg.norm(base, axis=1))]
    far = 1e6 / 30
    if case.outliers in ("queries", "both"):
        asked[:: len(asked) // 5] = far
    if case.outliers in ("base", "both"):
        base[:: case.rows // 7] = far * rng.standard_normal((len(base[:: case.rows // 7]), case.dim))
    if case.dtype in ("uint8", "int8"):
        lowest, highest = (0, 255) if case.dtype == "uint8" else (-128, 127)
        base, asked = (
            np.clip(np.round(12 * array + (lowest + highest) / 2), lowest, highest) for array in (base, asked)
        )
    else:
        base, asked = ((array + case.offset) * case.scale for array in (base, asked))
    base, asked = base.astype(case.dtype), asked.astype(case.dtype)
    for array in (base, asked):
        array[~array.any(axis=1)] = 1  # a vector of zeros has no cosine, and is refused
    return np.asfortranarray(base) if case.order == "by columns" else base, asked


def save(path: Path, array: np.ndarray) -> Path:
    if path.suffix == ".npy":
        np.save(path, array)
    elif path.suffix == ".hdf5":
        with h5py.File(path, "w") as file:
            file["train"] = array
    elif path.suffix in (".fvecs", ".bvecs"):
        lengths = np.full((len(array), 1), array.shape[1], "<i4").view(np.uint8)
        np.concatenate([lengths, np.ascontiguousarray(array).view(np.uint8)], axis=1).tofile(path)
    else:
        with open(path, "wb") as file:
            np.array(array.shape, "<u4").tofile(file)
            np.ascontiguousarray(array).tofile(file)
    return path


def check_all(request: tuple[str, str, Path]) -> dict[str, Any]:
    """Every case of a metric and a strategy, in a folder, one after the other: what is wrong with each, empty when nothing
    is."""
    (metric, strategy, inside), wrong, recalls = request, [], []
    for case in cases(metric, strategy):
        folder = inside / str(case.seed)
        folder.mkdir()
        reported, counted = recall_of(case, metric, strategy, folder)
        recalls.append(counted)
        if abs(reported - counted) > 0.002:
            wrong.append(f"recall {reported:.4f} is reported, {counted:.4f} is true: {case.describe()}")
    return {"wrong": wrong, "recalls": recalls}


def recall_of(case: Case, metric: str, strategy: str, folder: Path) -> tuple[float, float]:
    """The recall@10 of ``strategy`` as the benchmark counts it, and by brute force over the user's own arrays."""
    base, asked = vectors(case)
    path, queries = save(folder / f"base{case.suffix}", base), save(folder / f"queries{case.suffix}", asked)
    if case.suffix == ".hdf5":
        queries = save(folder / "queries.npy", asked)
    source = Own(str(path), QUERIES, seed=1, least_rows=100, queries_path=str(queries), metric=metric)
    (folder / "set").mkdir()
    own.write(folder / "set", source)
    data = open_dataset(folder / "set")
    exact = truth.write(folder / "set", data, 100)["queries"]
    answers = search(data, strategy, folder)
    measured = recall.per_query(answers, exact, data.exact("base"), data.exact("queries"), K, metric)
    places = {row.tobytes(): place for place, row in enumerate(asked)}
    stored = np.asarray(data.exact("queries")).astype(case.dtype)
    order = [places[row.tobytes()] for row in stored]  # and so the queries are those of the user, digit by digit
    return float(measured.mean()), brute_force(base, asked[order], answers, metric)


def search(data: Dataset, strategy: str, folder: Path) -> list[np.ndarray]:
    kind = strategies.on("cpu", strategy)
    found = opened(kind, data.base, data.metric, folder, m=12, ef_construction=60, rows_per_list=64)
    found.tune(found.settings[len(found.settings) // 2])
    return [found.search(query, K) for query in np.array(data.queries)]


def brute_force(base: np.ndarray, queries: np.ndarray, answers: list[np.ndarray], metric: str) -> float:
    """Recall by distances in extended precision; an answer as near as the true k-th counts."""
    base, queries = base.astype(np.longdouble), queries.astype(np.longdouble)
    lengths = np.sqrt((base**2).sum(axis=1))
    shares = []
    for query, ids in zip(queries, answers, strict=True):
        if metric == "l2":
            cost = ((base - query) ** 2).sum(axis=1)
            tie = _BRUTE_TIE * np.abs(cost)
        else:
            cost = -(base @ query) / (lengths if metric == "cosine" else 1)
            tie = _BRUTE_TIE * (np.abs(base) @ np.abs(query)) / (lengths if metric == "cosine" else 1)
        kth = np.sort(cost)[K - 1]
        ids = np.unique(ids[:K])
        shares.append(np.count_nonzero(cost[ids] <= kth + tie[ids]) / K)
    return float(np.mean(shares))
