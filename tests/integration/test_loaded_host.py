"""A host that another program really loads is recognised."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

from beside import beside
from nightgate.measure import counters, host

BUSY = "while True: sum(range(10_000))"


@pytest.fixture
def busy_core():
    """A child of ours that keeps a core busy."""
    process = subprocess.Popen([sys.executable, "-c", BUSY])
    time.sleep(0.3)  # it starts
    yield process
    process.kill()
    process.wait()


@pytest.fixture
def somebody():
    with beside(BUSY):
        time.sleep(0.3)  # it starts
        yield


@pytest.mark.parametrize("servers", [(), ("a server elsewhere",)])
def test_a_program_that_keeps_a_core_busy_disturbs(tmp_path, somebody, monkeypatch, servers):
    monkeypatch.delenv("NIGHTGATE_SHARED_HOST", raising=False)
    monkeypatch.setattr(host, "PATIENCE", 1.0)
    with host.quiet(tmp_path, servers) as noise:
        time.sleep(2)
    # more cannot be said of a machine that does other things besides
    assert (noise.others_at_rest if servers else noise.others) > 0.4
    assert "cores busy" in (noise.disturbed or "")
    assert host.known(tmp_path) == [], "nothing is learned from it"


def test_what_stands_beside_ends_with_whoever_wanted_it_however_that_ends():
    """A benchmark that was ended had left its load behind, and disturbed the next night."""
    code = "from beside import beside\nwith beside('MARK = 4711; import time; time.sleep(60)'): print(1, flush=True); input()"
    env = os.environ | {"PYTHONPATH": str(Path(__file__).resolve().parents[2] / "benchmarks")}
    process = subprocess.Popen([sys.executable, "-c", code], env=env, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    process.stdout.readline()

    def there():
        return [
            one for one in psutil.process_iter(["cmdline"]) if "MARK = 4711;" in str((one.info["cmdline"] or ())[2:3])
        ]

    (program,) = [one for one in there() if one.pid != process.pid]
    assert program.ppid() not in (process.pid, os.getpid())
    process.kill()
    process.communicate()
    program.wait(10)


def test_what_our_own_children_do_is_nobody_elses(busy_core):
    first = counters.read()
    time.sleep(2)
    last = counters.read()
    child = last.programs[busy_core.pid].seconds - first.programs[busy_core.pid].seconds
    everybody, others = (counters.between(first, last, ours).others for ours in (set(), {os.getpid()}))
    assert child > 0.1
    assert everybody - others >= child / (last.at - first.at) - 0.02
