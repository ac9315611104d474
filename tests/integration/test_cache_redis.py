"""Two hosts on one real Redis and one shared store: two homes, a process each."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest
import redis

from nightgate.artifacts import Cache, Settings, sharing
from nightgate.errors import ServiceUnavailable

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


def test_a_holder_that_stood_still_takes_what_was_published_first(tmp_path, host):
    """Stopped for longer than its lock lives, as in a long swap or a paused machine; another builds meanwhile."""
    slow = host("one", 0.2, life=1)
    assert slow.stdout.readline() == "builds\n"
    slow.send_signal(signal.SIGSTOP)
    quick = host("two")
    assert said(quick) == f"has {quick.pid}"
    slow.send_signal(signal.SIGCONT)
    assert said(slow) == f"has {quick.pid}", "its own copy is thrown away"
    assert said(host("three")) == f"has {quick.pid}"
    assert [path.read_text() for path in (tmp_path / "shared").rglob("a")] == [str(quick.pid)]


def test_a_redis_that_restarts_costs_a_second_build_and_no_other(tmp_path, redis_server, host):
    slow = host("one", 2, life=1)
    assert slow.stdout.readline() == "builds\n"
    redis_server.stop()
    redis_server.start()
    quick = host("two")
    assert said(quick) == f"has {quick.pid}"
    assert said(slow) == f"has {quick.pid}"
    assert builds(tmp_path) == [slow.pid, quick.pid]
    assert len(list((tmp_path / "shared").rglob("a"))) == 1


def test_redis_down_before_costs_the_lock_and_not_the_build(redis_server, cache, tmp_path, caplog):
    redis_server.stop()
    made = cache.get("kind", {}, write)
    assert (made.path / "a").read_text() == "here"
    assert f"Redis at 127.0.0.1:{redis_server.port} did not answer" in caplog.text
    there = Cache(tmp_path / "there", cache.settings)
    assert there.get("kind", {}, lambda folder: pytest.fail("it is in the store")).path != made.path


def test_redis_down_while_the_lock_is_held(redis_server, cache, tmp_path):
    def build(folder):
        write(folder)
        redis_server.stop()

    assert (cache.get("kind", {}, build).path / "a").read_text() == "here"
    assert len(list((tmp_path / "shared").rglob("a"))) == 1


def test_a_redis_that_takes_the_connection_and_says_nothing(redis_server, cache, monkeypatch):
    monkeypatch.setattr(sharing, "_ANSWER_SECONDS", 0.3)
    redis_server.process.send_signal(signal.SIGSTOP)
    try:
        assert not cache.get("kind", {}, write).hit
    finally:
        redis_server.process.send_signal(signal.SIGCONT)


def test_a_wrong_password_costs_the_lock_and_is_not_shown(redis_server, tmp_path, caplog):
    redis.Redis.from_url(redis_server.url).config_set("requirepass", "richtig")
    wrong = Cache(tmp_path / "here", Settings(redis_url=redis_server.url.replace("//", "//:falsch@")))
    assert not wrong.get("kind", {}, write).hit
    with pytest.raises(ServiceUnavailable, match=r"Redis at 127.0.0.1.*(invalid|WRONGPASS|password)") as error:
        wrong.check_servers()
    assert "falsch" not in str(error.value) + caplog.text
