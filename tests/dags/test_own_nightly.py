"""A nightly of one's own: three lines in a DAG folder, beside the shipped one."""

from __future__ import annotations

from pathlib import Path

import pytest
from airflow.dag_processing.dagbag import DagBag

from nightgate.airflow import nightly
from nightgate.errors import InputError

SHIPPED = Path(__file__).resolve().parents[2] / "dags" / "nightly_benchmarks.py"
OWN = """
from pathlib import Path
from nightgate.airflow import nightly
nightly(dag_id="own_benchmarks", suite=Path(__file__).with_name("own.yaml"), schedule="30 3 * * 1")
"""
SUITE = """
schema_version: 1
objectives: {hybrid_ann: {latency_p95: "< 0.02"}}
hybrid_ann: {variants: [hybrid], rows: 7000}
"""


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "own.py").write_text(OWN)
    (tmp_path / "own.yaml").write_text(SUITE)
    (tmp_path / SHIPPED.name).write_bytes(SHIPPED.read_bytes())
    return tmp_path


def test_two_nightlies_live_beside_each_other(folder):
    bag = DagBag(str(folder))
    assert bag.import_errors == {}
    assert {name: (dag.timetable.expression, Path(dag.fileloc).name) for name, dag in bag.dags.items()} == {
        "nightly_benchmarks": ("0 2 * * *", "nightly_benchmarks.py"), "own_benchmarks": ("30 3 * * 1", "own.py"),
    }  # fmt: skip
    own, shipped = bag.dags["own_benchmarks"], bag.dags["nightly_benchmarks"]
    assert list(own.get_task("preflight").op_args) == [str(folder / "own.yaml")]
    assert list(shipped.get_task("preflight").op_args) == [None]
    assert own.task_ids == shipped.task_ids
    assert own.params["benchmarks"] == ["hybrid_ann"]
    assert "7,000" in own.params.get_param("hybrid_ann.rows").description
    assert str(folder / "own.yaml") in own.doc_md and "shipped" in shipped.doc_md


def test_a_suite_that_is_wrong_is_the_import_error_of_its_file(folder):
    (folder / "own.yaml").write_text(SUITE.replace("rows", "rowz"))
    bag = DagBag(str(folder))
    assert set(bag.dags) == {"nightly_benchmarks"}
    (error,) = bag.import_errors.values()
    assert "own.yaml line 4: hybrid_ann has no key 'rowz'; did you mean 'rows'?" in error


def test_a_relative_suite_is_refused():
    with pytest.raises(InputError, match=r"suite='own.yaml' is relative.*Path\(__file__\).with_name\('own.yaml'\)"):
        nightly(dag_id="own_benchmarks", suite="own.yaml")
