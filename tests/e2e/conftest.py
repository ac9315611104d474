"""Runs through Airflow's scheduler, small enough for a test, in a NIGHTGATE_HOME of their own."""

from __future__ import annotations

import socket

import pytest
from contract import grafana_server
from redis import Redis
from support.redis_server import RedisServer
from support.small_home import SMALL, Home


@pytest.fixture(scope="module")
def small():
    """``small({path: value, …})``: the ``--set`` words of a run of test size."""

    def words(changes: dict[str, object] | None = None) -> list[str]:
        values = SMALL | (changes or {})
        return [word for path, value in values.items() for word in ("--set", f"{path}={value}")]

    return words


@pytest.fixture(scope="module")
def home(tmp_path_factory):
    return Home(tmp_path_factory.mktemp("home"))


@pytest.fixture(scope="module")
def grafana(home):
    """An empty Grafana."""
    with grafana_server.running() as server:
        home.env |= {"GRAFANA_URL": server.url, "GRAFANA_TOKEN": grafana_server.TOKEN}
        yield server


@pytest.fixture(scope="module")
def statsd(home):
    """A UDP socket in the place of statsd."""
    receiver = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    receiver.bind(("127.0.0.1", 0))
    receiver.settimeout(1)
    home.env |= {"STATSD_HOST": "127.0.0.1", "STATSD_PORT": str(receiver.getsockname()[1])}
    yield receiver
    receiver.close()


@pytest.fixture(scope="module")
def redis(home, tmp_path_factory):
    """A broker with one task in a queue that no worker takes; builders of the nights take turns over it."""
    server = RedisServer(tmp_path_factory.mktemp("redis"))
    server.start()
    with Redis.from_url(server.url) as client:
        client.lpush("default", "a task")
    home.env["NIGHTGATE_REDIS_URL"] = server.url
    yield server
    server.stop()
