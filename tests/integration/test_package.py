"""The package without a checkout: what its wheel brings is enough, in any folder."""

from __future__ import annotations

import json
import zipfile

import pytest
from support.package import ROOT, Project

SUITE = """
schema_version: 1
name: own
objectives: {hybrid_ann: {recall_at_100: ">= 0.5"}}
hybrid_ann: {variants: [hybrid], controls: []}
scales:
  smoke: {hybrid_ann: {rows: 3000, queries: 100, load_seconds: 0.1}}
"""
DAG = """
from pathlib import Path
from nightgate.airflow import nightly
nightly(dag_id="own_benchmarks", suite=Path(__file__).with_name("own.yaml"), schedule=None)
"""
PARSE = """
import json, sys
from airflow.dag_processing.dagbag import DagBag
import nightgate
bag = DagBag(sys.argv[1])
print("RESULT", json.dumps({"errors": bag.import_errors, "dags": sorted(bag.dags), "from": nightgate.__file__}))
"""


@pytest.fixture(scope="module")
def project(wheel, tmp_path_factory):
    made = Project(tmp_path_factory.mktemp("project"))
    made.install(wheel)
    (made.folder / "dags").mkdir()
    (made.folder / "dags" / "own.py").write_text(DAG)
    for place in ("own.yaml", "dags/own.yaml"):
        (made.folder / place).write_text(SUITE)
    return made


def test_the_wheel_holds_what_is_needed_and_nothing_else(wheel):
    names = set(zipfile.ZipFile(wheel).namelist())
    brought = {name.removeprefix("nightgate/") for name in names if name.startswith("nightgate/")}
    assert brought >= {
        "py.typed", "pools.json", "suites/nightly.yaml", "suites/own.yaml", "dags/nightly_benchmarks.py", "dags/regression_watch.py", "dashboards/nightly-slo.json",
        "dashboards/cache-backpressure.json", "dashboards/rules/nightgate.yml", "results/schema/1_results.sql", "results/schema/4_past.sql", "web/board.html",
        "publish/report.html", "publish/style.css", "transcription/clips/corpus.txt",
    }  # fmt: skip
    own = {str(file.relative_to(ROOT / "include/nightgate")) for file in (ROOT / "include/nightgate").rglob("*.py")}
    assert {name for name in brought if name.endswith(".py")} == own | {
        "dags/nightly_benchmarks.py",
        "dags/regression_watch.py",
    }
    (facts,) = {name.split("/")[0] for name in names if not name.startswith("nightgate/")}
    assert facts.endswith(".dist-info")
    assert any(name.endswith("licenses/LICENSE") for name in names)


def test_the_dag_of_three_lines_parses(project):
    done = project.python("-c", PARSE, str(project.folder / "dags"))
    assert "RESULT " in done.stdout, done.stderr
    found = json.loads(done.stdout.split("RESULT ", 1)[1])
    assert found == {
        "errors": {},
        "dags": ["own_benchmarks"],
        "from": str(project.folder / "site/nightgate/__init__.py"),
    }


def test_its_files_are_found(project):
    done = project.nightgate("dashboards", "check")
    assert (done.returncode, done.stdout.splitlines()[0]) == (0, "every dashboard is valid"), done.stderr


@pytest.mark.slow
def test_a_run_and_its_results(project):
    """Through Airflow's scheduler, from a folder that is no checkout; all it writes is in NIGHTGATE_HOME."""
    before = {path.name for path in project.folder.iterdir()}
    done = project.nightgate("run", "--suite", "own.yaml", "--json")
    assert done.returncode == 0, done.stderr
    summary = json.loads(done.stdout)
    assert (summary["suite"], summary["dag_id"], summary["overrides"]) == ("own", "nightly_benchmarks", {})
    assert {(r["benchmark"], r["suite"]) for r in summary["results"]} == {("hybrid_ann", "own")}
    folder = project.home / "runs" / summary["run_id"]
    assert {path.name for path in folder.iterdir()} >= {"summary.json", "report.html", "hybrid_ann-cpu.json"}
    assert {path.name for path in project.folder.iterdir()} - before == {"home"}
    listed = project.nightgate("results", "list")
    assert summary["run_id"] in listed.stdout and " own " in listed.stdout


@pytest.mark.slow
def test_a_measurement_without_airflow(project):
    done = project.nightgate("measure", "hybrid_ann", "--suite", "own.yaml", "--json")
    assert done.returncode == 0, done.stderr
    (record,) = json.loads(done.stdout)
    assert (record["suite"], record["settings"]["rows"]) == ("own", 3000)
