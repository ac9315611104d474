"""The embedded clusters: started, stopped, found again, and never left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from contextlib import suppress

import psutil
import psycopg
import pytest

from nightgate.errors import StackError
from nightgate.stack.postgres import Cluster, tuned_for_airflow, tuned_for_vectors


@pytest.fixture
def cluster(tmp_path):
    made = Cluster(tmp_path / "cluster", tuned_for_airflow())
    yield made
    made.stop()


def test_data_survive_a_restart_and_pgvector_is_there(cluster):
    cluster.start()
    cluster.create_database("things")
    cluster.create_database("things")
    with psycopg.connect(cluster.url("things")) as connection:
        connection.execute("CREATE EXTENSION vector")
        connection.execute("CREATE TABLE t AS SELECT '[1,2]'::vector AS v")
    cluster.stop()
    assert not cluster.alive
    cluster.start()
    with psycopg.connect(cluster.url("things")) as connection:
        assert connection.execute("SELECT v <=> '[1,2]' FROM t").fetchone() == (0.0,)


def test_it_listens_on_its_socket_only(cluster):
    cluster.start()
    family = [psutil.Process(cluster._server.pid), *psutil.Process(cluster._server.pid).children(recursive=True)]
    with psycopg.connect(cluster.url()) as connection:
        assert connection.info.status == psycopg.pq.ConnStatus.OK
    found = []
    for process in family:
        with suppress(psutil.NoSuchProcess):  # a worker of the server may end meanwhile
            found += process.net_connections("inet")
    assert found == []


def test_a_stale_pid_file_does_not_stop_it(cluster):
    cluster.start()
    os.kill(cluster._server.pid, signal.SIGKILL)
    cluster._server.wait()
    assert (cluster.data / "postmaster.pid").exists()
    cluster.start()
    assert cluster.alive


def test_a_path_too_long_for_a_socket_works(tmp_path):
    deep = Cluster(tmp_path / ("d" * 60) / ("e" * 60), tuned_for_airflow())
    deep.start()
    with psycopg.connect(deep.url()) as connection:
        assert connection.execute("SELECT 1").fetchone() == (1,)
    deep.stop()


def test_a_setting_the_server_refuses_is_in_the_message(tmp_path):
    with pytest.raises(StackError, match="did not start: .*shared_buffers"):
        Cluster(tmp_path, {"shared_buffers": "lots"}).start()


def test_the_server_dies_with_its_owner(tmp_path):
    script = f"""
import time; from pathlib import Path; from nightgate.stack.postgres import Cluster
c = Cluster(Path({str(tmp_path)!r}), {{}}); c.start(); print(c._server.pid, flush=True); time.sleep(60)
"""
    owner = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    with owner:
        server = psutil.Process(int(owner.stdout.readline()))
        owner.kill()
    deadline = time.monotonic() + 20
    while server.is_running() and time.monotonic() < deadline:
        time.sleep(0.1)
    assert not server.is_running()


def test_the_vector_cluster_fits_small_hosts():
    assert tuned_for_vectors(4 * 2**30)["shared_buffers"] == "1024MB"
    assert tuned_for_vectors(64 * 2**30)["shared_buffers"] == "4096MB"
