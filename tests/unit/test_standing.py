"""The plan of the shipped suite: what a run counts for, and what is refused in the environment it starts in."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from nightgate import paths, steps
from nightgate.errors import InputError

ROOT = Path(__file__).resolve().parents[2]


def preflight(**changes):
    return steps.preflight(**{"run_id": "x", "dag_id": "nightly_benchmarks", "scale": "smoke", **changes})


ALL = ["transcription", "hybrid_ann", "pgvector_search"]  # the suite's order


@pytest.mark.parametrize(
    ("changes", "overrides", "standing"),
    [
        ({}, {}, "stand-in"), ({"scheduled": True}, {}, "night"), ({"scheduled": True, "scale": "full"}, {}, "night"),
        ({"only": ALL, "devices": ["gpu", "cpu"]}, {}, "stand-in"), ({"only": [], "devices": []}, {}, "stand-in"),
        ({"overrides": {"hybrid_ann.rows": 50_000}}, {}, "stand-in"), ({"dag_id": steps.BY_HAND}, {}, "ad-hoc"),
        ({"overrides": {"hybrid_ann.rows": 5000}}, {"hybrid_ann.rows": 5000}, "ad-hoc"),
        ({"scheduled": True, "overrides": {"hybrid_ann.rows": 5000}}, {"hybrid_ann.rows": 5000}, "ad-hoc"),
        ({"overrides": {"hybrid_ann.controls": []}}, {"hybrid_ann.controls": []}, "ad-hoc"),
        ({"overrides": {"objectives.hybrid_ann.latency_p95.cpu": 0.5}}, {"objectives.hybrid_ann.latency_p95.cpu": "< 0.5"}, "ad-hoc"),
        ({"overrides": {"objectives.hybrid_ann.latency_p95": 0.02}}, {}, "stand-in"),
        ({"overrides": {"objectives.pgvector_search.latency_p99": "< 0.5"}}, {"objectives.pgvector_search.latency_p99.cpu": "< 0.5"}, "ad-hoc"),
        ({"overrides": {"objectives.pgvector_search.latency_p95": None}}, {"objectives.pgvector_search.latency_p95.ivfflat_halfvec": None}, "ad-hoc"),
        ({"only": ["hybrid_ann"]}, {"benchmarks": ["hybrid_ann"]}, "ad-hoc"),
        ({"devices": ["cpu"]}, {"devices": ["cpu"]}, "ad-hoc"),
        ({"only": ["pgvector_search"], "devices": ["cpu"]}, {"benchmarks": ["pgvector_search"]}, "ad-hoc"),
        ({"require_gpu": True}, {"require_gpu": True}, "ad-hoc"),
        ({"only": ["hybrid_ann"], "overrides": {"pgvector_search.rows": 5000}}, {"benchmarks": ["hybrid_ann"]}, "ad-hoc"),
    ],
)  # fmt: skip
def test_what_a_run_counts_for(tmp_path, monkeypatch, changes, overrides, standing):
    monkeypatch.setenv("NIGHTGATE_HOME", str(tmp_path))
    plan = preflight(**changes)
    assert (plan.overrides, plan.standing) == (overrides, standing)
    assert steps.Plan.model_validate_json(plan.model_dump_json()) == plan, "it travels between tasks"


def test_the_plan(tmp_path, monkeypatch):
    monkeypatch.setenv("NIGHTGATE_HOME", str(tmp_path))
    plan = preflight()
    assert plan.work == [
        ("transcription", "cpu"), ("transcription", "gpu"), ("hybrid_ann", "cpu"), ("hybrid_ann", "gpu"), ("pgvector_search", "cpu"),
    ]  # fmt: skip
    assert (plan.run_id, plan.dag_id, plan.scale, plan.require_gpu) == ("x", "nightly_benchmarks", "smoke", False)
    assert list(plan.settings) == ALL and plan.settings["hybrid_ann"]["rows"] == 50_000
    assert plan.settings_of("pgvector_search").lists == 100
    assert str(plan.objectives["hybrid_ann"]["latency_p95"]["gpu"]) == "< 0.02"
    assert preflight(devices=["gpu"]).work == [("transcription", "gpu"), ("hybrid_ann", "gpu")]
    assert preflight(only=["pgvector_search", "hybrid_ann"]).work == plan.work[2:]


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("NIGHTGATE_HOEM", "; did you mean 'NIGHTGATE_HOME'"),
        ("NIGHTGATE_CACHE_BYTE", "; did you mean 'NIGHTGATE_CACHE_BYTES'"),
    ],
)
def test_a_variable_that_nothing_reads_is_refused(monkeypatch, name, hint):
    monkeypatch.setenv(name, "/somewhere")
    with pytest.raises(InputError, match=f"nothing reads the variable {name}{hint}"):
        preflight()


@pytest.mark.parametrize(
    "name",
    ["NIGHTGATE_SERVICE_HOST", "NIGHTGATE_BOARD_SERVICE_PORT_HTTP", "NIGHTGATE_PORT_8080_TCP_ADDR", "NIGHTGATE_PORT"],
)
def test_what_a_cluster_puts_into_the_environment_is_let_be(monkeypatch, name):
    monkeypatch.setenv(name, "10.0.0.1")
    paths.check_environment()


def test_every_variable_that_the_code_reads_is_known():
    source = "".join(file.read_text() for file in (ROOT / "include/nightgate").rglob("*.py"))
    assert set(re.findall(r'"(NIGHTGATE_[A-Z_]+)"', source)) == set(paths.VARIABLES)


def test_another_suite_can_be_named(tmp_path, monkeypatch):
    monkeypatch.setenv("NIGHTGATE_HOME", str(tmp_path))
    own = tmp_path / "own.yaml"
    own.write_text(
        paths.suite_file()
        .read_text()
        .replace("rows: 50000, queries: 200, load_seconds: 0.5}", "rows: 3000, queries: 100}")
    )
    monkeypatch.setenv("NIGHTGATE_SUITE", str(own))
    plan = preflight()
    assert (plan.settings["hybrid_ann"]["rows"], plan.standing) == (3000, "stand-in"), (
        "they are that suite's own values"
    )
    monkeypatch.setenv("NIGHTGATE_SUITE", str(tmp_path / "none.yaml"))
    with pytest.raises(InputError, match="none.yaml cannot be read"):
        preflight()


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"only": ["hybrid"]}, "no benchmark 'hybrid'"),
        ({"devices": ["tpu"]}, "no device 'tpu'.*use one of cpu, gpu"),
        ({"scale": "tiny"}, "no scale 'tiny'"),
        ({"only": ["pgvector_search"], "devices": ["gpu"]}, "does not run on gpu"),
        ({"run_id": "../elsewhere"}, "cannot name a folder"),
        ({"overrides": {"hybrid_ann.rows": 20_000_000, "hybrid_ann.dim": 4096}}, "GB free and this scale needs"),
    ],
)
def test_preflight_refuses_what_cannot_work(tmp_path, monkeypatch, changes, message):
    monkeypatch.setenv("NIGHTGATE_HOME", str(tmp_path))
    with pytest.raises(InputError, match=message):
        steps.preflight(**{"run_id": "x", "dag_id": "test", "scale": "smoke", **changes})


def test_a_home_that_cannot_be_written_is_named(tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("NIGHTGATE_HOME", str(tmp_path / "file" / "home"))
    with pytest.raises(InputError, match="cannot be created.*set NIGHTGATE_HOME to a folder you can write to"):
        paths.home()
