"""Parse the DAG folder once, without a database."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def bag():
    from airflow.dag_processing.dagbag import DagBag

    return DagBag(str(ROOT / "dags"))


@pytest.fixture(scope="session")
def nightly(bag):
    return bag.dags["nightly_benchmarks"]


@pytest.fixture
def connections(monkeypatch):
    """The Airflow connections there are: id → uri."""
    known = {"nightgate_results": "postgres://someone@host/results"}

    from airflow.sdk.exceptions import AirflowNotFoundException

    from nightgate.orchestration import tasks

    def get(name):
        if name not in known:
            raise AirflowNotFoundException(name)
        return SimpleNamespace(get_uri=lambda: known[name])

    monkeypatch.setattr(tasks, "Connection", SimpleNamespace(get=get))
    # set and then deleted, so that what a task puts there is gone after the test
    monkeypatch.setenv("PGVECTOR_URL", "")
    return known


@pytest.fixture
def calls(monkeypatch, connections):
    """The steps, replaced by what notes how they are called; `answers` is what they give or raise."""
    from nightgate import steps

    made, answers = [], {}

    def replaced(name):
        def step(*values, **named):
            made.append((name, *values, *([named] if named else [])))
            answer = answers.get(name)
            if isinstance(answer, BaseException):
                raise answer
            return answer

        return step

    for name in ("preflight", "prepare", "measure", "record", "confirm", "gate", "report", "upload"):
        monkeypatch.setattr(steps, name, replaced(name))

    def without(plan, devices):
        if devices:
            made.append(("without", devices))
            plan.dumped["unserved"] = dict.fromkeys(devices, "nobody serves it")
        return plan

    monkeypatch.setattr(steps, "without", without)
    monkeypatch.setattr(steps, "Plan", SimpleNamespace(model_validate=lambda plan: ("typed", plan)))
    return SimpleNamespace(made=made, answers=answers)
