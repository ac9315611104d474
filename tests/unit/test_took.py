"""How long runs took, for the form."""

from __future__ import annotations

import json

import pytest

from nightgate import paths
from nightgate.record import Host, Summary
from nightgate.results import took

HOST = Host(fingerprint="abc", cpu="a cpu", cores=2, memory_bytes=2**34)


@pytest.fixture(autouse=True)
def home(tmp_path, monkeypatch):
    monkeypatch.setenv("NIGHTGATE_HOME", str(tmp_path / "home"))
    return tmp_path / "home"


def summary(scale="smoke", overrides=None, suite="nightly"):
    return Summary(
        run_id="a", dag_id="nightly_benchmarks", suite=suite, scale=scale, state="pass", started_at="2026-11-01T02:00:00.000Z",
        finished_at="2026-11-01T02:03:00.000Z", host=HOST, scheduled=True, overrides=overrides or {}, results=[],
    )  # fmt: skip


def test_the_median_of_the_newest_runs_counts():
    assert took.known("nightly") == {}
    for seconds in (900.0, 100.0, 140.0, 120.0, 180.0, 160.0):
        took.remember(summary(), seconds)
    took.remember(summary("full"), 800.0)
    took.remember(summary(suite="own"), 7.0)
    assert took.known("nightly") == {"smoke": 140.0, "full": 800.0}


def test_a_run_with_other_values_tells_nothing_of_the_next():
    took.remember(summary(overrides={"hybrid_ann.rows": 5000}), 3.0)
    assert took.known("nightly") == {}


@pytest.mark.parametrize(
    "text", ["", "[]", "{", json.dumps({"nightly": {"smoke": ["x"]}}), json.dumps({"nightly": [1]})]
)
def test_what_cannot_be_read_says_nothing(home, text):
    home.mkdir()
    (home / "took.json").write_text(text)
    assert took.known("nightly") == {}


def test_who_only_looks_leaves_no_folder(home):
    assert took.known("nightly") == {}
    assert not home.exists()
    assert paths.home() == home
