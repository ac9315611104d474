"""A nightly of one's own: three lines in a DAG folder, beside the shipped one."""

from __future__ import annotations

from pathlib import Path

import pytest
from airflow.dag_processing.dagbag import DagBag

from nightgate.airflow import nightlies, nightly
from nightgate.errors import InputError
from nightgate.orchestration import hosts

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


@pytest.fixture
def cluster(monkeypatch, tmp_path):
    """``cluster(hosts)``: the nightlies of a suite for these hosts, in a cluster of east, west and north."""
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", "CeleryExecutor")
    monkeypatch.setenv(hosts.VARIABLE, "east, west,north,east")

    def made(names):
        (tmp_path / "own.yaml").write_text(f"hosts: {names}{SUITE}")
        return {dag.dag_id: dag for dag in nightlies(dag_id="own", suite=tmp_path / "own.yaml", schedule="30 3 * * 1")}

    return made


def test_each_host_that_a_suite_names_has_a_nightly_whose_work_it_alone_takes(cluster):
    found = cluster("[west, east]")
    assert list(found) == ["own", "own.west", "own.east"]
    assert [getattr(dag.timetable, "expression", None) for dag in found.values()] == [None, "30 3 * * 1", "30 3 * * 1"]
    for dag_id, ending in (("own", ""), ("own.west", ".west"), ("own.east", ".east")):
        tasks = {task.task_id: task for task in found[dag_id].tasks}
        for step in ("prepare", "measure", "record", "confirm", "gate"):
            for device in ("cpu", "gpu"):
                task = tasks[f"hybrid_ann.{device}.{step}"]
                assert (task.queue, task.pool) == (device + ending, device + ending)
        assert tasks["preflight"].queue == ("cpu" + ending if ending else "default"), "it looks at the host it runs on"
        assert list(tasks["preflight"].op_args[1:]) == ([ending[1:]] if ending else [])
        assert tasks["report"].queue == "default"


def test_all_hosts_are_those_of_the_cluster(cluster, monkeypatch):
    assert list(cluster("all")) == ["own", "own.east", "own.west", "own.north"]
    assert list(cluster("any")) == ["own"]
    assert list(hosts.pools()) == [
        "cpu",
        "gpu",
        "cpu.east",
        "gpu.east",
        "cpu.west",
        "gpu.west",
        "cpu.north",
        "gpu.north",
    ]
    assert hosts.pools()["cpu.west"] == hosts.pools()["cpu"]
    with pytest.raises(
        InputError, match="names the host 'south', and NIGHTGATE_HOSTS says east,west,north. Next step: add it"
    ):
        cluster("[east, south]")
    monkeypatch.setenv(hosts.VARIABLE, "")
    with pytest.raises(InputError, match="the suite own is for all hosts, and NIGHTGATE_HOSTS names none"):
        cluster("all")
    monkeypatch.setenv(hosts.VARIABLE, "a b")
    with pytest.raises(InputError, match="NIGHTGATE_HOSTS: a host cannot be called 'a b'"):
        hosts.pools()


def test_where_there_is_one_host_only_nobody_is_asked(cluster, monkeypatch):
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", "LocalExecutor")
    assert list(cluster("[nowhere]")) == ["own"]
