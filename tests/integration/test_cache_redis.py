"""Two hosts on one real Redis and one shared store: two homes, a process each."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest
import redis

from nightgate.artifacts import Cache, Settings, redis_flight
from nightgate.errors import LockLost, ServiceUnavailable

ASK = """
import os, sys, time
from pathlib import Path
from dataclasses import replace
from nightgate.artifacts import Cache
from nightgate.artifacts.settings import from_environment
from nightgate.errors import NightgateError

def build(folder):
    with open(sys.argv[2], "a") as built:
        built.write(f"{os.getpid()}\\n")
    (folder / "a").write_text(str(os.getpid()))
    print("builds", flush=True)
    time.sleep(float(sys.argv[3]))

try:
    settings = replace(from_environment(), lock_life=float(sys.argv[4]))
    made = Cache(Path(sys.argv[1]), settings).get("kind", {}, build)
    print("has", (made.path / "a").read_text(), flush=True)
except NightgateError as error:
    print(type(error).__name__, flush=True)
"""


@pytest.fixture
def host(tmp_path, redis_server):
    """Start a host that wants the artefact."""
    started = []

    def start(name, seconds=0.0, life=30.0):
        environment = {"NIGHTGATE_REDIS_URL": redis_server.url, "NIGHTGATE_CACHE_URL": f"file://{tmp_path}/shared"}
        started.append(subprocess.Popen(
            [sys.executable, "-c", ASK, str(tmp_path / name), str(tmp_path / "built"), str(seconds), str(life)],
            stdout=subprocess.PIPE, text=True, env=os.environ | environment,
        ))  # fmt: skip
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


@pytest.fixture
def cache(tmp_path, redis_server):
    return Cache(tmp_path / "here", Settings(url=f"file://{tmp_path}/shared", redis_url=redis_server.url))


def write(folder):
    (folder / "a").write_text("here")


def said(process):
    return process.communicate(timeout=60)[0].splitlines()[-1]


def builds(tmp_path):
    return [int(line) for line in (tmp_path / "built").read_text().splitlines()]


def test_four_hosts_build_once(tmp_path, host):
    hosts = [host(f"host{n}", 0.5) for n in range(4)]
    answers = {said(process) for process in hosts}
    [builder] = builds(tmp_path)
    assert answers == {f"has {builder}"}
    assert len(list((tmp_path / "shared").rglob("a"))) == 1


def test_a_killed_holder_gives_way(tmp_path, host):
    first = host("one", 60, life=1)
    assert first.stdout.readline() == "builds\n"
    first.kill()
    second = host("two")
    assert said(second) == f"has {second.pid}"
    assert builds(tmp_path) == [first.pid, second.pid]


def test_a_holder_that_stood_still_cannot_publish(tmp_path, host):
    """Stopped for longer than its lock lives, as in a long swap or a paused machine; another builds meanwhile."""
    slow = host("one", 0.2, life=1)
    assert slow.stdout.readline() == "builds\n"
    slow.send_signal(signal.SIGSTOP)
    quick = host("two")
    assert said(quick) == f"has {quick.pid}"
    slow.send_signal(signal.SIGCONT)
    assert said(slow) == "LockLost"
    third = host("three")
    assert said(third) == f"has {quick.pid}"
    assert len(list((tmp_path / "shared").rglob("a"))) == 1, "the slow one took its files back"
    assert list((tmp_path / "one").rglob("a")) == []


def test_a_redis_that_restarts_fences_the_holder_off(tmp_path, redis_server, host):
    slow = host("one", 2)
    assert slow.stdout.readline() == "builds\n"
    redis_server.stop()
    redis_server.start()
    quick = host("two")
    assert said(quick) == f"has {quick.pid}"
    assert said(slow) == "LockLost"
    assert len(list((tmp_path / "shared").rglob("a"))) == 1


def test_redis_down_before(redis_server, cache, tmp_path):
    redis_server.stop()
    with pytest.raises(
        ServiceUnavailable, match=rf"Redis at 127.0.0.1:{redis_server.port} did not answer.*unset NIGHT"
    ):
        cache.get("kind", {}, lambda folder: pytest.fail("built without a lock"))
    redis_server.start()
    made = cache.get("kind", {}, write)
    redis_server.stop()
    assert cache.get("kind", {}, write).hit, "what is here needs no Redis"
    there = Cache(tmp_path / "there", cache.settings)
    assert there.get("kind", {}, write).path != made.path, "nor does what is in the store"
    assert there.events.totals()["requests.fetched"] == 1


def test_redis_down_while_the_lock_is_held(redis_server, cache):
    def build(folder):
        write(folder)
        redis_server.stop()

    with pytest.raises(ServiceUnavailable):
        cache.get("kind", {}, build)
    assert cache.entries() == []
    redis_server.start()
    assert not cache.get("kind", {}, write).hit


def test_redis_down_after_the_decision(redis_server, cache, monkeypatch):
    commit = redis_flight.Held.commit

    def then_down(held):
        commit(held)
        redis_server.stop()

    monkeypatch.setattr(redis_flight.Held, "commit", then_down)
    made = cache.get("kind", {}, write)
    assert cache.get("kind", {}, write).hit
    assert (made.path / "a").read_text() == "here"


def test_a_lock_that_ran_out_between_check_and_write_stops_the_commit(redis_server):
    """What WATCH promises of keys that expire, shown on the real server."""
    client = redis_flight.connect(redis_server.url)
    held = redis_flight.Held(client, "kind/a", life=0.2)
    assert held.acquire()
    times = []

    def change(pipe):
        times.append(time.sleep(0.5))
        pipe.set("published", held.fence)

    assert held._if_ours(change) is False
    assert len(times) == 1
    assert client.get("published") is None
    with pytest.raises(LockLost):
        held.commit()


def test_a_wrong_password_is_said_and_not_shown(redis_server, cache, tmp_path):
    redis.Redis.from_url(redis_server.url).config_set("requirepass", "richtig")
    wrong = redis_server.url.replace("//", "//:falsch@")
    with pytest.raises(ServiceUnavailable, match=r"Redis at 127.0.0.1.*(invalid|WRONGPASS|password)") as error:
        Cache(tmp_path / "here", Settings(redis_url=wrong)).get("kind", {}, write)
    assert "falsch" not in str(error.value)
