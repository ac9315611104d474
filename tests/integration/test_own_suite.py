"""The suite that comes along to be copied: printed by the command, pointed at a file and clips of one's own, measured."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys

import h5py
import numpy as np
import pytest
import soundfile

from nightgate import paths, registry
from nightgate.artifacts import Cache
from nightgate.suite import SCALES, load_suite
from nightgate.transcription.clips.folder import read_clips
from nightgate.transcription.clips.sets import clip_set
from nightgate.transcription.models.mel import SAMPLE_RATE


def nightgate(folder, *words):
    env = os.environ | {"NIGHTGATE_HOME": str(folder / "home"), "NIGHTGATE_RUNS": str(folder / "runs")}
    for name in ("PGVECTOR_URL", "NIGHTGATE_SUITE"):
        env.pop(name, None)
    command = [sys.executable, "-m", "nightgate.cli", *words]
    return subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True, timeout=900, check=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with ``vectors.hdf5``, as ann-benchmarks would write it, and ``mine.yaml``, in which every path is theirs."""
    folder = tmp_path_factory.mktemp("mine")
    rng = np.random.default_rng(0)
    centres = rng.standard_normal((20, 20))
    with h5py.File(folder / "vectors.hdf5", "w") as file:
        for name, rows in (("train", 3000), ("test", 100)):
            file[name] = (centres[rng.integers(20, size=rows)] + 0.5 * rng.standard_normal((rows, 20))).astype("f4")
        file.attrs["distance"] = "angular"
    printed = nightgate(folder, "suite", "own")
    assert printed.returncode == 0, printed.stderr
    assert printed.stdout == paths.shipped_suite("own").read_text()
    text = printed.stdout.replace("/data/vectors.hdf5", str(folder / "vectors.hdf5"))
    text = text.replace("/data/clips", str(folder / "clips")).replace("name: own", "name: mine")
    assert "/data/" not in text, "no other path is to be changed"
    (folder / "mine.yaml").write_text(text)
    return folder


def measured(folder, benchmark):
    done = nightgate(folder, "measure", benchmark, "--suite", "mine.yaml", "--json")
    assert done.returncode != 2 and "Traceback" not in done.stderr, done.stderr
    (record,) = (record for record in json.loads(done.stdout) if record["gated"])
    assert (record["status"], record["suite"]) == ("measured", "mine"), record["reason"]
    return record, {objective["metric"]: objective["verdict"] for objective in record["objectives"]}


def test_as_it_comes_it_is_a_suite_and_says_what_is_ones_own():
    file = paths.shipped_suite("own")
    for scale in SCALES:
        suite = load_suite(file, registry.installed(), scale)
        assert (suite.name, suite.strict, list(suite.nightly)) == (
            "own", False, ["transcription", "hybrid_ann", "pgvector_search"],
        )  # fmt: skip
        assert suite.settings["pgvector_search"].dataset == suite.settings["hybrid_ann"].dataset == "/data/vectors.hdf5"
        assert set(suite.objectives) == set(suite.nightly)
    paths_in_it = [line for line in file.read_text().splitlines() if re.search(r": .*(/data/|tiny\.en)", line)]
    assert len(paths_in_it) == 3 and all("YOURS" in line for line in paths_in_it)


@pytest.mark.slow
@pytest.mark.parametrize("benchmark", ["hybrid_ann", "pgvector_search"])
def test_it_measures_a_file_of_ones_own(folder, benchmark):
    record, verdicts = measured(folder, benchmark)
    assert record["facts"]["vectors"]["file"] == "vectors.hdf5"
    assert record["facts"]["vectors"]["rows"] == 3000 - (3 * 200 - 100)
    assert verdicts["recall_at_10"] in ("pass", "inconclusive") and "latency_p95" in verdicts


@pytest.mark.slow
def test_it_measures_clips_of_ones_own(folder, tmp_path):
    (folder / "clips").mkdir()
    made = clip_set(30, Cache(tmp_path))
    for clip in read_clips(made.path):
        soundfile.write(folder / "clips" / f"{clip.id}.wav", np.load(made.path / clip.file), SAMPLE_RATE)
        (folder / "clips" / f"{clip.id}.txt").write_text(clip.text)
    record, verdicts = measured(folder, "transcription")
    assert record["settings"]["clips"] == str(folder / "clips")
    assert 0 <= record["metrics"]["wer"]["value"] < 0.3 and verdicts.keys() == {"xrt", "wer"}
