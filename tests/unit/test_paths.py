"""Where things lie: in a checkout, and where the package is installed without one."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from nightgate import paths
from nightgate.errors import InputError
from nightgate.stack import airflow

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """The package as a wheel lays it down: its data are files of its own."""
    package = tmp_path / "site-packages" / "nightgate"
    for name in ("dags", "dashboards", "suites"):
        (package / name).mkdir(parents=True)
    (package / "dags" / "nightly_benchmarks.py").write_text("as shipped")
    monkeypatch.setattr(paths, "_PACKAGE", package)
    monkeypatch.setenv("NIGHTGATE_HOME", str(tmp_path / "home"))
    return package


@pytest.fixture(autouse=True)
def own_results(monkeypatch):
    monkeypatch.delenv("NIGHTGATE_RUNS", raising=False)


def test_in_a_checkout_everything_is_where_people_look_for_it():
    assert paths.checkout() == ROOT
    assert paths.suite_file() == ROOT / "include/suites/nightly.yaml"
    assert paths.dashboards_dir() == ROOT / "dashboards"
    assert (paths.dags_dir(), paths.plugins_dir()) == (ROOT / "dags", ROOT / "plugins")
    assert paths.runs_dir() == ROOT / "benchmarks/runs"
    assert paths.pools_file().samefile(ROOT / "include/pools.json")


def test_without_a_checkout_what_is_written_goes_to_the_users_home(installed, tmp_path):
    home = tmp_path / "home"
    assert paths.checkout() is None
    assert paths.runs_dir() == home / "runs"
    assert (paths.dags_dir(), paths.plugins_dir()) == (home / "airflow/dags", home / "airflow/plugins")
    assert paths.suite_file() == installed / "suites/nightly.yaml"
    assert paths.dashboards_dir() == installed / "dashboards"


def test_a_suite_that_comes_along_is_found_by_its_name():
    assert paths.shipped_suite("nightly") == paths.suite_file()
    assert paths.shipped_suite("own").read_text().startswith("# A suite for data of your own")
    with pytest.raises(InputError, match="no suite 'onw' comes along; did you mean 'own'.*use one of nightly, own"):
        paths.shipped_suite("onw")


def test_the_dag_is_put_where_it_is_missing_and_left_where_it_is(installed, tmp_path):
    dag = tmp_path / "home/airflow/dags/nightly_benchmarks.py"
    for there in ("as shipped", "as somebody changed it"):
        facts = airflow.environment(tmp_path / "home", port=1, metadata_url="m", results_url="r", scheduled=False)
        assert facts["AIRFLOW__CORE__DAGS_FOLDER"] == str(dag.parent)
        assert dag.read_text() == there
        dag.write_text("as somebody changed it")


def test_variables_say_otherwise(installed, tmp_path, monkeypatch):
    monkeypatch.setenv("NIGHTGATE_RUNS", str(tmp_path / "elsewhere"))
    monkeypatch.setenv("NIGHTGATE_SUITE", "~/mine.yaml")
    assert paths.runs_dir() == tmp_path / "elsewhere"
    assert paths.suite_file() == Path.home() / "mine.yaml"


def test_a_suite_is_named_for_this_process_and_its_children(monkeypatch, tmp_path):
    monkeypatch.setenv("NIGHTGATE_SUITE", "/one.yaml")
    paths.use_suite(None)
    assert paths.suite_file() == Path("/one.yaml")
    monkeypatch.chdir(tmp_path)
    paths.use_suite(Path("two.yaml"))
    assert os.environ["NIGHTGATE_SUITE"] == str(tmp_path / "two.yaml")
