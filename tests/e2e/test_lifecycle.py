"""One run with a stack of its own: alone, on loopback only, and gone without a trace, also after Ctrl-C."""

from __future__ import annotations

import json
import signal
import time
from contextlib import suppress

import psutil
from support.interrupting import start, wait_for


def test_a_second_run_is_refused_and_ctrl_c_leaves_nothing_behind(home, small):
    # so many queries that the measurement is surely under way when it is interrupted
    run = start(home, *small({"hybrid_ann.passes": 50, "hybrid_ann.queries": 2000}))
    wait_for(run, "hybrid_ann.cpu.measure  running")

    second = home.nightgate("run", "--benchmarks", "hybrid_ann", *small())
    assert second.returncode == 2
    assert f"another `nightgate run` (pid {run.pid}" in second.stderr

    listening = []
    for process in psutil.Process(run.pid).children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # tasks come and go
            found = process.net_connections("inet")
            listening += [connection.laddr.ip for connection in found if connection.status == psutil.CONN_LISTEN]
    assert listening, "the API server listens"
    assert set(listening) == {"127.0.0.1"}

    run.send_signal(signal.SIGINT)
    said, _ = run.communicate(timeout=60)
    assert run.returncode == 3, said
    assert "interrupted" in said
    assert home.processes() == []
    (folder,) = home.runs.iterdir()
    assert json.loads((folder / "summary.json").read_text())["state"] == "invalid"


def test_after_a_crash_the_next_run_works_and_is_alone(home, small):
    run = start(home, *small({"hybrid_ann.passes": 50, "hybrid_ann.queries": 2000}))
    wait_for(run, "hybrid_ann.cpu.measure  running")
    run.kill()
    run.wait()
    run.stdout.close()
    deadline = time.monotonic() + 60
    while home.processes() and time.monotonic() < deadline:
        time.sleep(0.5)
    assert home.processes() == [], "everything dies with its owner"
    assert (home.path / "stack.json").exists(), "the stale state file is still there"

    done = home.nightgate("run", "--benchmarks", "hybrid_ann", "--json", *small())
    assert done.returncode == 0, done.stderr
    assert home.processes() == []
    assert len(list(home.runs.glob("*/summary.json"))) == 2, "the interrupted one and this one: no other night ran"


def test_a_database_that_is_killed_comes_back_and_the_night_goes_on(home, small):
    run = start(
        home, *small({"pgvector_search.passes": 20, "pgvector_search.queries": 2000}), benchmark="pgvector_search"
    )
    wait_for(run, "pgvector_search.cpu.measure  running")
    (server,) = (p for p in psutil.Process(run.pid).children() if str(home.path / "postgres/bench/data") in p.cmdline())
    server.kill()
    said, _ = run.communicate(timeout=180)
    assert run.returncode == 0, said
    summary = json.loads(max(home.runs.glob("*/summary.json")).read_text())
    (record,) = summary["results"]
    assert record["status"] == "measured"
    assert record["detail"]["build"]["reused"] is False, "the crash has emptied the tables"
    assert home.processes() == []
