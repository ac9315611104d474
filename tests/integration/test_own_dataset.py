"""`nightgate measure hybrid_ann` on a file of the user's, from outside: measured, kept, noticed when it changes, refused."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import h5py
import numpy as np
import pytest

BRIEF = [
    "queries=100", "passes=1", "processes=1", "load_seconds=0", "variants=[faiss_hnsw]", "controls=[]",
]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder to work in, with ``mine.hdf5`` as ann-benchmarks would write it: 3000 × 20, by its angles."""
    folder = tmp_path_factory.mktemp("own")
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((20, 20))
    with h5py.File(folder / "mine.hdf5", "w") as file:
        for name, rows in (("train", 3000), ("test", 100)):
            file[name] = (centres[rng.integers(20, size=rows)] + 0.5 * rng.standard_normal((rows, 20))).astype("f4")
        file.attrs["distance"] = "angular"
    return folder


def measure(folder, *settings):
    words = [word for setting in (*BRIEF, *settings) for word in ("--set", f"hybrid_ann.{setting}")]
    command = [sys.executable, "-m", "nightgate.cli", "measure", "hybrid_ann", "--json", *words]
    env = os.environ | {"NIGHTGATE_HOME": str(folder / "home"), "NIGHTGATE_RUNS": str(folder / "runs")}
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=120, check=False)
    assert "Traceback" not in done.stderr
    return done


def test_it_is_measured_kept_and_noticed_when_it_changes(folder):
    done = measure(folder, "dataset=mine.hdf5")
    assert done.returncode == 0, done.stderr
    assert "building vectors" in done.stderr
    (record,) = json.loads(done.stdout)
    facts = {
        "file": "mine.hdf5",
        "rows": 3000 - (2 * 100 + 200 - 100),
        "dim": 20,
        "metric": "cosine",
        "queries_in_base": 0,
    }
    assert record["detail"]["data"] | facts == record["detail"]["data"]
    assert 0.9 < record["metrics"]["recall_at_100"]["value"] <= 1
    (report,) = (folder / "runs").glob("*/report.html")
    assert "mine.hdf5 · 2,700 × 20 vectors · cosine" in report.read_text()

    done = measure(folder, f"dataset={folder}/mine.hdf5")
    assert (done.returncode, "building" in done.stderr) == (0, False)

    with h5py.File(folder / "mine.hdf5", "a") as file:
        file["train"][7, 3] += 1
    done = measure(folder, "dataset=mine.hdf5", "recall_target=0.999", "recall_margin=0.2")
    assert (done.returncode, "building vectors" in done.stderr) == (0, True)
    (changed,) = json.loads(done.stdout)
    assert changed["detail"]["data"]["sha256"] != record["detail"]["data"]["sha256"]
    assert "no setting reaches recall 0.999 with its margin: efSearch" in changed["reason"]


def test_a_bad_row_is_named(folder):
    vectors = np.ones((3000, 4), np.float32)
    vectors[2345, 1] = np.nan
    np.save(folder / "bad.npy", vectors)
    before = set((folder / "runs").glob("*"))
    done = measure(folder, "dataset=bad.npy", "metric=l2")
    assert (done.returncode, done.stdout) == (2, "")
    assert set((folder / "runs").glob("*")) == before, "nothing is left behind"
    assert f"row 2345 of {folder}/bad.npy (the first is 0) holds NaN. Next step: mend or remove" in done.stderr


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (["dataset=none.npy", "metric=l2"], "there is no file"),
        (["dataset=.", "metric=l2"], "is a folder"),
        (["dataset=flat.npy", "metric=l2"], "not rows of vectors"),
        (["dataset=mine.hdf5", "metric=cos"], "'cosine', 'l2' or 'ip'"),
        (["dataset=mine.hdf5", "queries=3000"], "has too few vectors"),
        (["metric=l2"], "dataset is not set"),
        (["dataset=~nobody-of-this-name/mine.npy"], "home directory"),
    ],
)
def test_what_cannot_be_used_is_refused_before_anything_starts(folder, settings, message):
    np.save(folder / "flat.npy", np.ones(3000, np.float32))
    before = sorted((folder / "runs").glob("*")) if (folder / "runs").exists() else []
    done = measure(folder, *settings)
    assert (done.returncode, done.stdout) == (2, "")
    sentence, last = done.stderr.strip().splitlines()
    assert message in sentence
    assert last == "nightgate: exit code 2: bad input, nothing was started"
    assert (sorted((folder / "runs").glob("*")) if (folder / "runs").exists() else []) == before


@pytest.fixture(scope="module")
def clustered(folder):
    """Base and queries for l2; ``far``: five queries lie a million away, ``large``: all a hundred thousand times larger."""
    rng = np.random.default_rng(1)
    centres = 3 * rng.standard_normal((60, 32))
    base = (centres[rng.integers(60, size=6_000)] + rng.standard_normal((6_000, 32))).astype(np.float32)
    queries = (centres[rng.integers(60, size=1000)] + rng.standard_normal((1000, 32))).astype(np.float32)
    far = queries.copy()
    far[::200] = 1e6
    for name, array in {"plain": base, "asked": queries, "far": far}.items():
        np.save(folder / f"{name}.npy", array)
        np.save(folder / f"{name}-large.npy", array * np.float32(1e5))
    return base, queries


def test_queries_far_away_hide_no_miss(folder, clustered):
    """Five of a thousand moved the common centre, and with it the truth: recall 1.000 was said where it was 0.901."""
    cheap = ["variants=[hybrid]", "recall_target=0.5", "recall_margin=0"]
    settings = ["metric=l2", "queries=300", "dataset=plain.npy", *cheap]
    plain = json.loads(measure(folder, *settings, "queries_file=asked.npy").stdout)[0]
    far = json.loads(measure(folder, *settings, "queries_file=far.npy").stdout)[0]
    assert plain["detail"]["setting"] == far["detail"]["setting"]
    told = [record["metrics"]["recall_at_100"]["value"] for record in (plain, far)]
    assert told[0] == pytest.approx(told[1], abs=0.03)
    for record in (plain, far):
        assert record["metrics"]["scan_recall"]["value"] >= record["metrics"]["recall_at_100"]["value"] - 1e-9


@pytest.mark.parametrize("variant", ["hybrid", "hnsw"])
def test_scale_is_a_unit(folder, clustered, variant):
    settings = ["metric=l2", f"variants=[{variant}]", "controls=[ivfpq_refine]"]
    plain = measure(folder, *settings, "dataset=plain.npy", "queries_file=asked.npy")
    large = measure(folder, *settings, "dataset=plain-large.npy", "queries_file=asked-large.npy")
    assert (plain.returncode, large.returncode) == (0, 0), large.stderr
    for one, other in zip(json.loads(plain.stdout), json.loads(large.stdout), strict=True):
        assert one["variant"] == other["variant"]
        assert one["detail"]["setting"] == other["detail"]["setting"]
        recalls = [record["metrics"]["recall_at_100"]["value"] for record in (one, other)]
        assert recalls[0] == pytest.approx(recalls[1], abs=0.02)
