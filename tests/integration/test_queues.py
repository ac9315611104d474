"""Who serves which queue, as a real broker and a real worker tell."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
import time

import pytest
from support.redis_server import RedisServer

from nightgate.orchestration import queues

WORKER = """
from celery import Celery
Celery("work", broker="{url}").worker_main(["worker", "-Q", "default,cpu", "-c", "1", "-P", "solo", "--loglevel", "ERROR"])
"""


@pytest.fixture
def broker(tmp_path, monkeypatch):
    server = RedisServer(tmp_path)
    server.start()
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", "CeleryExecutor")
    monkeypatch.setenv("AIRFLOW__CELERY__BROKER_URL", server.url)
    yield server
    server.stop()


@pytest.fixture
def worker(broker, tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", WORKER.format(url=broker.url)], cwd=tmp_path, env=dict(os.environ)
    )
    yield process
    process.terminate()
    process.wait(20)


def test_a_queue_without_a_worker_is_named(worker):
    end = time.monotonic() + 60
    while (found := queues.unserved({"cpu", "gpu"})) != ["gpu"] and time.monotonic() < end:
        time.sleep(0.2)  # it starts
    assert found == ["gpu"]
    assert queues.unserved({"cpu", "default"}) == []


def test_where_nobody_answers_nothing_is_known(broker, monkeypatch, caplog):
    monkeypatch.setattr(queues, "_PATIENCE", 0.2)
    caplog.set_level(logging.WARNING)
    assert queues.unserved({"cpu", "gpu"}) == []
    assert "no worker answered within" in caplog.text
    broker.stop()
    assert queues.unserved({"cpu", "gpu"}) == []
    assert caplog.text.count("who serves the queues cannot be found out") == 2


def test_an_airflow_without_queues_needs_none(monkeypatch):
    monkeypatch.setenv("AIRFLOW__CORE__EXECUTOR", "LocalExecutor")
    assert queues.unserved({"cpu", "gpu"}) == []
