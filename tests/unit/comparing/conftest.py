"""Runs with their files."""

from __future__ import annotations

import pytest
from support.compared import HOST

from nightgate.measure import samples
from nightgate.record import Summary
from nightgate.results import files


@pytest.fixture
def night(tmp_path, monkeypatch):
    """Makes a run with its files from records and their samples."""
    monkeypatch.setenv("NIGHTGATE_RUNS", str(tmp_path))

    def made(run_id, *engines, host=HOST, scale="smoke"):
        summary = Summary(
            run_id=run_id, dag_id="d", scale=scale, state="pass", started_at="2026-11-22T02:00:00.000Z",
            finished_at="2026-11-22T02:01:48.000Z", host=host, results=[record for record, _ in engines],
        )  # fmt: skip
        files.write_summary(summary)
        raw = {key: array for _, arrays in engines for key, array in arrays.items()}
        samples.save(tmp_path / run_id / "transcription-cpu.npz", raw)
        return summary

    return made
