"""`nightgate measure hybrid_ann` on a file of the user's, from outside: measured, kept, noticed when it changes, refused."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys

import h5py
import numpy as np
import pytest

pytestmark = pytest.mark.slow

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
    values = dict(setting.split("=", 1) for setting in (*BRIEF, *settings))  # none twice: that is refused
    words = [word for key, value in values.items() for word in ("--set", f"hybrid_ann.{key}={value}")]
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
    assert record["facts"]["vectors"] | facts == record["facts"]["vectors"]
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
    assert changed["facts"]["vectors"]["sha256"] != record["facts"]["vectors"]["sha256"]
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
    base = (centres[rng.integers(60, size=4_000)] + rng.standard_normal((4_000, 32))).astype(np.float32)
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
    assert plain["facts"]["tuning"]["setting"] == far["facts"]["tuning"]["setting"]
    told = [record["metrics"]["recall_at_100"]["value"] for record in (plain, far)]
    assert told[0] == pytest.approx(told[1], abs=0.03)
    for record in (plain, far):
        assert record["metrics"]["scan_recall"]["value"] >= record["metrics"]["recall_at_100"]["value"] - 1e-9


@pytest.mark.parametrize("variant", ["hybrid", "hnsw"])
def test_scale_is_a_unit(folder, clustered, variant):
    settings = ["metric=l2", f"variants=[{variant}]", "controls=[ivfpq_refine]"]
    plain = measure(folder, *settings, "dataset=plain.npy", "queries_file=asked.npy")
    large = measure(folder, *settings, "dataset=plain-large.npy", "queries_file=asked-large.npy")
    for one, other in zip(json.loads(plain.stdout), json.loads(large.stdout), strict=True):
        assert one["variant"] == other["variant"] and one["status"] == other["status"] == "measured"
        assert one["facts"]["tuning"]["setting"] == other["facts"]["tuning"]["setting"]
        recalls = [record["metrics"]["recall_at_100"]["value"] for record in (one, other)]
        assert recalls[0] == pytest.approx(recalls[1], abs=0.02)


def nightgate(folder, *words):
    env = os.environ | {"NIGHTGATE_HOME": str(folder / "home"), "NIGHTGATE_RUNS": str(folder / "runs")}
    command = [sys.executable, "-m", "nightgate.cli", *words]
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=120, check=False)


def test_zero_rows_of_a_download_that_broke_off_are_left_out_and_others_can_check_the_recall(folder):
    """As people find it: a Parquet-sized promise in the header, fewer rows than that, some of them zero; ten neighbours."""
    rng = np.random.default_rng(1)
    rows = (rng.standard_normal((20, 16))[rng.integers(20, size=4000)] + 0.5 * rng.standard_normal((4000, 16))).astype(
        "f4"
    )
    rows[[3, 500, 3999]] = 0
    (folder / "part.fbin").write_bytes(struct.pack("<II", 10**7, 16) + rows.tobytes()[:-1])
    asked = ["dataset=part.fbin", "metric=cosine", "dataset_rows=3000", "k=10"]
    done = measure(folder, *asked)
    assert done.returncode == 2
    assert "recall_at_100 cannot be judged, because this run measures recall_at_1, recall_at_10" in done.stderr
    moved = [f"objectives.hybrid_ann.{each}" for each in ("recall_at_100=null", "recall_at_10=>= 0.5", "latency_p95=9")]
    words = [word for each in (*BRIEF, *asked) for word in ("--set", f"hybrid_ann.{each}")]
    words += [word for each in moved for word in ("--set", each)]
    done = nightgate(folder, "measure", "hybrid_ann", "--json", *words)
    assert done.returncode == 2
    assert "row 3 of" in done.stderr and "2 such rows in all: 3, 500. Next step: mend or remove" in done.stderr
    done = nightgate(folder, "measure", "hybrid_ann", "--json", *words, "--set", "hybrid_ann.skip_zero_rows=true")
    assert done.returncode == 0, done.stderr
    (record,) = json.loads(done.stdout)
    assert record["facts"]["vectors"]["zero_rows"] == {"base": 2, "queries": 0}
    assert record["facts"]["vectors"]["rows"] == 3000
    assert {"recall_at_1", "recall_at_10"} <= set(record["metrics"]) and "recall_at_100" not in record["metrics"]

    run = max((folder / "runs").iterdir(), key=lambda path: path.stat().st_mtime).name
    done = nightgate(folder, "results", "recount", run, "--json")
    assert done.returncode == 0, done.stderr
    found = {each["metric"]: (each["recorded"], each["recounted"]) for each in json.loads(done.stdout)}
    assert {name: pair[0] for name, pair in found.items()} == {
        name: record["metrics"][name]["value"] for name in ("recall_at_1", "recall_at_10")
    }
    assert all(abs(recorded - recounted) <= 0.002 for recorded, recounted in found.values())
    samples = folder / "runs" / run / "hybrid_ann-cpu.npz"
    with np.load(samples) as kept:
        arrays = dict(kept)
    ids = arrays["faiss_hnsw/ids"]
    assert ids.shape == (100, 10) and ids.max() > 3000, "numbered as in the file, of which queries were held out"
    np.savez(samples, **arrays | {"faiss_hnsw/ids": np.where(ids % 2, ids, -1)})
    done = nightgate(folder, "results", "recount", run)
    assert done.returncode == 1
    assert "2 of 2 recalls are not what their answers give" in done.stdout
    done = nightgate(folder, "results", "recount", run, "--dataset", "mine.hdf5")
    assert done.returncode == 2
    assert "mine.hdf5 is not what was measured" in done.stderr


def test_text_and_parquet_give_what_the_same_numbers_give_as_an_array(folder):
    pytest.importorskip("pyarrow")
    import pyarrow as pa
    import pyarrow.parquet as pq

    rows = np.random.default_rng(2).standard_normal((2500, 8)).astype("f4")
    np.save(folder / "same.npy", rows)
    np.savetxt(folder / "same.csv", rows, delimiter=",", fmt="%.9g", header=",".join("abcdefgh"), comments="")
    pq.write_table(pa.table({"id": np.arange(2500), "v": list(rows)}), folder / "same.parquet")
    recalls = set()
    for suffix in ("npy", "csv", "parquet"):
        done = measure(folder, f"dataset=same.{suffix}", "metric=l2")
        (record,) = json.loads(done.stdout)
        assert record["status"] == "measured", done.stderr
        recalls.add(record["metrics"]["recall_at_100"]["value"])
    assert len(recalls) == 1
