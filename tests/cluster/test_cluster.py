"""Nights over two machines that share only Redis, PostgreSQL and the artefact store."""

from __future__ import annotations

import os
import time
from itertools import product

import pytest
import requests
from support.real_prometheus import query

# whichever two steps one takes, each pair of machines has them (a covering array of strength two); CLUSTER_ALL=1 runs all 32
SOME = ["AAAAA", "BBBBB", "BBBAA", "BAABB", "ABABA", "AABAB"]
WHERE = ["".join(letters) for letters in product("AB", repeat=5)] if os.environ.get("CLUSTER_ALL") else SOME


@pytest.fixture(scope="module")
def night(cluster):
    cluster.trigger("a-night", scale="smoke")
    return cluster.ended("a-night")


def test_a_night_over_two_machines_passes(cluster, night):
    state, tasks = night
    assert state == "success", tasks
    summary = cluster.store.summary("a-night")
    assert summary.state == "pass"
    assert {(one.benchmark, one.device, one.status) for one in summary.results if one.gated} >= {
        ("hybrid_ann", "cpu", "measured"), ("pgvector_search", "cpu", "measured"),
    }  # fmt: skip
    assert all(one.reason for one in summary.results if one.device == "gpu")


@pytest.fixture(scope="module")
def everywhere(cluster):
    """A run for each combination of machines for prepare, measure, record, gate and report, all at once."""
    for letter in "AB":
        cluster.serve(letter, f"on-{letter}")
    for where in WHERE:
        cluster.trigger(f"on-{where}", "many", scale="smoke", benchmarks=["hybrid_ann"], devices=["cpu"])
    return {where: cluster.ended(f"on-{where}", "many", seconds=1800) for where in WHERE}


@pytest.mark.parametrize("where", WHERE)
def test_whichever_machine_takes_a_step_the_records_and_the_state_are_the_same(cluster, everywhere, where):
    state, tasks = everywhere[where]
    assert state == "success", tasks
    run_id, steps = f"many.on-{where}", ("prepare", "measure", "record", "gate")
    for letter in "AB":
        ran = {name.removeprefix("hybrid_ann.cpu.") for name in cluster.logs(letter, f"on-{where}")}
        wanted = {step for step, of in zip((*steps, "report"), where, strict=True) if of == letter}
        assert wanted <= ran and not (ran & {*steps, "report"}) - wanted
    summary = cluster.store.summary(run_id)
    assert summary.state == "pass"
    (record,) = [one for one in summary.results if one.gated]
    assert record.metrics["recall_at_100"].value >= 0.5
    assert cluster.store.earlier(run_id) == []
    closing = cluster.runs(where[4]) / run_id
    assert (closing / "report.html").exists() and (closing / "hybrid_ann-cpu.npz").exists()


def test_every_machine_measures_its_own_work_at_the_same_time(cluster, everywhere):
    names = ("main", "second")
    for name in names:
        cluster.trigger("at-once", f"each.{name}", scale="smoke", benchmarks=["hybrid_ann"], devices=["cpu"])
    for name in names:
        state, tasks = cluster.ended("at-once", f"each.{name}")
        assert state == "success", tasks
    for letter, name in zip("AB", names, strict=True):
        log = cluster.machines["AB".index(letter)].volume("airflow-logs") / f"dag_id=each.{name}" / "run_id=at-once"
        ran = {one.name.removeprefix("task_id=") for one in log.iterdir()}
        assert {f"hybrid_ann.cpu.{step}" for step in ("prepare", "measure", "record", "gate")} | {"preflight"} <= ran
    times = [cluster.times("at-once", f"each.{name}", "hybrid_ann.cpu.measure") for name in names]
    assert max(start for start, _ in times) < min(end for _, end in times), times


def test_prometheus_gets_the_metrics_of_the_night(cluster, night):
    url = f"http://127.0.0.1:{cluster.main.port('prometheus', 9090)}"
    deadline = time.monotonic() + 90
    while not (found := query(url, "nightgate_recall_ratio")) and time.monotonic() < deadline:
        time.sleep(2)
    assert found or query(url, "up"), "no metric arrived"
    up = {one["metric"]["job"]: one["value"][1] for one in query(url, "up")}
    assert (up["nightgate"], up["redis"]) == ("1", "1"), up


def test_the_board_shows_a_report_that_another_machine_wrote(cluster, everywhere):
    client = cluster.client()
    client.import_errors()  # logs in
    page = client._session.get(f"{cluster.url}/nightgate/runs/many.on-BAABB", timeout=30)
    assert page.status_code == 200, page.text[:500]
    assert requests.get(f"{cluster.url}/nightgate/", timeout=10).status_code in (401, 403)
