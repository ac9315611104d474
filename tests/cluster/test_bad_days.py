"""What a worker that dies and a server that goes away do to a run: nothing is lost or doubled, and the next run passes."""

from __future__ import annotations

import time
from datetime import UTC, datetime

import psutil
import pytest
from filelock import FileLock

from nightgate.results import under_way

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


def slow(cluster, run_id, rows=4000):
    """A run whose measurement takes some twenty seconds; ``rows`` that no other run has make its prepare take some, too."""
    start(cluster, run_id, set={"hybrid_ann.load_seconds": 8, "hybrid_ann.rows": rows})


def nothing_left(cluster, run_id):
    """No slot is taken, no process of a measurement runs, no step is said to be at work, and the lock of the machine is free."""
    deadline = time.monotonic() + 90  # the watch, which every run that has ended starts, takes its slots for a moment
    while taken := [pool for pool in cluster.client()._call("GET", "/pools")["pools"] if pool["occupied_slots"]]:
        assert time.monotonic() < deadline, taken
        cluster.let_pass(1)
    children = [
        process.pid for process in psutil.process_iter(["cmdline", "environ"])
        if "nightgate.measure.child" in (process.info["cmdline"] or ()) and str(cluster.folder) in str(process.info["environ"])
    ]  # fmt: skip
    assert children == []
    assert under_way.of_runs(cluster.store, [run_id]) == {}
    worker = cluster.main.services["airflow-worker-cpu"]
    lock = cluster.main.environment(worker).get("NIGHTGATE_LOCK", "/tmp/nightgate-measure.lock")
    with FileLock(lock, timeout=5):
        pass


def kill_the_worker(cluster, run_id, step, rows):
    """Of the second machine, which alone takes the tasks, while ``step`` is at work; then let the main one go on."""
    second, main = cluster.machines[1], cluster.main
    main.stop("airflow-worker-cpu")
    try:
        cluster.serve("B", "default")
        slow(cluster, run_id, rows)
        wait_for(cluster, run_id, f"hybrid_ann.cpu.{step}", {"running", "success"})
        if step == "measure":
            time.sleep(3)
        second.kill("airflow-worker-cpu")
    finally:
        main.start("airflow-worker-cpu")
        main.wait("airflow-worker-cpu")


@pytest.mark.parametrize(("step", "rows"), [("prepare", 4100), ("measure", 4200), ("record", 4300)])
def test_a_worker_that_is_killed(cluster, step, rows):
    """Its machine is gone with all that ran on it; the other one takes the second try."""
    run_id, second = f"killed-in-{step}", cluster.machines[1]
    try:
        kill_the_worker(cluster, run_id, step, rows)
        up = datetime.now(UTC)
        state, tasks = cluster.ended(run_id, seconds=400)
        assert (state, tasks[f"hybrid_ann.cpu.{step}"]) == ("success", "success"), tasks
        again, _ = cluster.times(run_id, "nightly_benchmarks", f"hybrid_ann.cpu.{step}")
        print(
            f"worker killed in {step}: tried again {(datetime.fromisoformat(again) - up).total_seconds():.0f} s and ended "
            f"{(datetime.now(UTC) - up).total_seconds():.0f} s after the other one was up"
        )
        assert whole(cluster, run_id).state == "pass"
        nothing_left(cluster, run_id)
    finally:
        second.start("airflow-worker-cpu")
        second.wait("airflow-worker-cpu")


@pytest.mark.parametrize(("step", "more"), [("prepare", 0), ("measure", 10), ("record", 20)])
@pytest.mark.parametrize(("service", "rows"), [("redis", 4400), ("postgres", 4500), ("airflow-apiserver", 4600)])
def test_a_server_that_is_away_for_a_minute(cluster, service, rows, step, more):
    run_id = f"{step}-without-{service}"
    slow(cluster, run_id, rows + more)
    wait_for(cluster, run_id, f"hybrid_ann.cpu.{step}", {"running", "success"})
    cluster.main.kill(service)
    cluster.let_pass(AWAY)
    cluster.main.start(service)
    cluster.main.wait(service)
    since = time.monotonic()
    state, tasks = cluster.ended(run_id, seconds=500)
    print(f"{service} away in {step}: ended {time.monotonic() - since:.0f} s after it was back")
    assert state == "success", tasks
    assert whole(cluster, run_id).state == "pass"
    nothing_left(cluster, run_id)


def test_an_artefact_store_that_is_away_for_a_whole_run(cluster):
    """A file stands where its folder was, so that nothing can be read from it or put there."""
    shared = cluster.folder / "shared"
    shared.mkdir(exist_ok=True)
    aside = shared.rename(shared.with_name("aside"))
    shared.write_text("")
    try:
        slow(cluster, "without-store", 4700)
        state, tasks = cluster.ended("without-store", seconds=400)
        assert state == "success", tasks
        assert whole(cluster, "without-store").state == "pass"
        nothing_left(cluster, "without-store")
    finally:
        shared.unlink()
        aside.rename(shared)


def test_the_next_run_passes(cluster):
    start(cluster, "after-all")
    assert cluster.ended("after-all")[0] == "success"
    nothing_left(cluster, "after-all")
