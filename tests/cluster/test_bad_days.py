"""What a worker that dies and a server that goes away do to a run: nothing is lost or doubled, and the next run passes."""

from __future__ import annotations

import time

import pytest

AWAY = 60.0


def wait_for(cluster, run_id, task_id, states, seconds=120):
    deadline = time.monotonic() + seconds
    while cluster.tasks(run_id).get(task_id) not in states:
        assert time.monotonic() < deadline, cluster.tasks(run_id)
        time.sleep(0.5)


def whole(cluster, run_id):
    """Each record once, and none lost."""
    summary = cluster.store.summary(run_id)
    found = [(one.benchmark, one.variant, one.device, one.status) for one in summary.results]
    assert found == [("hybrid_ann", "hybrid", "cpu", "measured")]
    return summary


def start(cluster, run_id, **more):
    cluster.trigger(run_id, scale="smoke", benchmarks=["hybrid_ann"], devices=["cpu"], **more)


def slow(cluster, run_id):
    """A run whose measurement takes some twenty seconds."""
    start(cluster, run_id, set={"hybrid_ann.load_seconds": 8})


def test_a_worker_that_is_killed_in_a_measurement(cluster):
    """Its machine is gone with all that ran on it; the other one takes the second try."""
    second = cluster.machines[1]
    main = cluster.main
    main.stop("airflow-worker-cpu")
    worker = dict(second.services)["airflow-worker-cpu"]
    try:
        cluster.serve("B", "default")
        slow(cluster, "killed")
        wait_for(cluster, "killed", "hybrid_ann.cpu.measure", {"running"})
        time.sleep(3)
        second.kill(worker.name)
        since = time.monotonic()
    finally:
        main.start("airflow-worker-cpu")
        main.wait("airflow-worker-cpu")
    state, tasks = cluster.ended("killed", seconds=400)
    assert (state, tasks["hybrid_ann.cpu.measure"]) == ("success", "success"), tasks
    print(f"killed in measure: ended {time.monotonic() - since:.0f} s later")
    assert whole(cluster, "killed").state == "pass"
    second.start("airflow-worker-cpu")
    second.wait("airflow-worker-cpu")


@pytest.mark.parametrize("service", ["redis", "postgres", "airflow-apiserver"])
def test_a_server_that_is_away_for_a_minute_in_a_measurement(cluster, service):
    run_id = f"without-{service}"
    slow(cluster, run_id)
    wait_for(cluster, run_id, "hybrid_ann.cpu.measure", {"running"})
    time.sleep(2)
    cluster.main.kill(service)
    time.sleep(AWAY)
    cluster.main.start(service)
    cluster.main.wait(service)
    since = time.monotonic()
    state, tasks = cluster.ended(run_id, seconds=400)
    print(f"{service} away: ended {time.monotonic() - since:.0f} s after it was back")
    assert state == "success", tasks
    assert whole(cluster, run_id).state == "pass"
    start(cluster, f"after-{service}")
    assert cluster.ended(f"after-{service}")[0] == "success"
