"""`nightgate measure` from outside: exit codes, the last line, and pure JSON on stdout."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest

SMALL = [
    "--set", "hybrid_ann.rows=4000", "--set", "hybrid_ann.dim=32", "--set", "hybrid_ann.queries=100",
    "--variant", "hybrid",
]  # fmt: skip


def measure(*words, **env):
    command = [sys.executable, "-m", "nightgate.cli", "measure", *words]
    return subprocess.run(command, env=os.environ | env, capture_output=True, text=True, timeout=120, check=False)


def last_line(done):
    return done.stderr.strip().splitlines()[-1]


def test_a_pass(tmp_path):
    done = measure("hybrid_ann", "--json", *SMALL)
    assert done.returncode == 0, done.stderr
    (record,) = json.loads(done.stdout)
    assert {o["metric"]: o["verdict"] for o in record["objectives"]} == {"recall_at_100": "pass", "latency_p95": "pass"}
    assert last_line(done) == "nightgate: exit code 0: all objectives hold"


def test_a_breach():
    done = measure("hybrid_ann", "--json", *SMALL, "--set", "objectives.hybrid_ann.latency_p95=1e-6")
    assert done.returncode == 1
    assert json.loads(done.stdout)[0]["objectives"][1]["verdict"] == "breach"
    assert last_line(done) == "nightgate: exit code 1: an objective is breached"


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["hybrid"], "no benchmark 'hybrid'"),
        (["hybrid_ann", "--scale", "tiny"], "no scale 'tiny'"),
        (["hybrid_ann", "--variant", "hnws"], "no variant 'hnws'; did you mean 'hnsw'"),
        (["hybrid_ann", "--device", "tpu"], "no device 'tpu'"),
        (["transcription", "--set", "transcription.model=/no/such.bin"], "nor an existing ggml file"),
        (["transcription", "--set", "transcription.model=bas.en"], "did you mean 'base.en'"),
        (["transcription", "--set", "transcription.clips=/no/such"], "transcription.clips: there is no folder"),
        (["hybrid_ann", "--rows", "3"], "No such option"),
    ],
)
def test_bad_input(words, message):
    done = measure(*words)
    assert done.returncode == 2
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert last_line(done) == "nightgate: exit code 2: bad input, nothing was started"


def test_a_torn_model_is_bad_input(tmp_path):
    model = tmp_path / "ggml-torn.bin"
    model.write_bytes(b"lmgg" + bytes(1000))
    done = measure("transcription", "--json", "--set", f"transcription.model={model}")
    assert (done.returncode, done.stdout) == (2, "")
    assert str(model) in done.stderr
    assert last_line(done) == "nightgate: exit code 2: bad input, nothing was started"


def test_a_database_that_is_absent_is_not_measured():
    done = measure("pgvector_search", "--json", PGVECTOR_URL="postgresql://nobody@127.0.0.1:9/none")
    assert done.returncode == 3
    assert {r["status"] for r in json.loads(done.stdout)} == {"skipped"}


def test_a_device_that_is_absent_is_not_measured(tmp_path):
    done = measure(
        "hybrid_ann", "--device", "gpu", "--json", *SMALL, CUDA_VISIBLE_DEVICES=""
    )  # hidden, if there is one
    assert done.returncode == 3
    (record,) = json.loads(done.stdout)
    assert record["status"] == "skipped"
    assert record["reason"].startswith("this host has no NVIDIA device. Next step: ")
