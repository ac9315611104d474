"""Builders on several hosts take turns over Redis; here the server is a fake and hosts are threads."""

from __future__ import annotations

import re
import shutil
import threading
import time
from contextlib import contextmanager, nullcontext

import fakeredis
import fsspec
import pytest
import redis

from nightgate.artifacts import Cache, Settings, sharing
from nightgate.artifacts.sharing import Turns
from nightgate.errors import InputError, ServiceUnavailable

URL = "memory://hosts/cache"
LOCK = "nightgate:cache:kind/a:lock"


@pytest.fixture
def server():
    return fakeredis.FakeServer()


@pytest.fixture
def client(server):
    return fakeredis.FakeRedis(server=server, decode_responses=True)


@pytest.fixture(autouse=True)
def empty():
    yield
    fsspec.filesystem("memory").store.clear()


def write(folder):
    (folder / "a").write_bytes(b"x" * 1000)


class Hosts:
    """Threads that want the artefact at once, each with a home of its own; ``built`` are those that built it."""

    def __init__(self, root, **given):
        self.root, self.given = root, given
        self.built, self.got = [], {}
        self.together = threading.Barrier(2, timeout=20)

    def ask(self, name, build):
        cache = Cache(self.root / name, Settings(url=URL), **self.given)
        made = cache.get("kind", {}, build)
        self.got[name] = (made.path / "a").read_bytes()

    def run(self, build, *names):
        threads = [
            threading.Thread(target=self.ask, args=(name, lambda folder, name=name: build(name, folder)))
            for name in names
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(20)


def test_two_hosts_build_once_where_redis_answers(tmp_path, client):
    hosts = Hosts(tmp_path, redis=client)

    def build(name, folder):
        hosts.built.append(name)
        time.sleep(0.3)
        (folder / "a").write_text(name)

    hosts.run(build, "one", "two", "three", "four")
    [builder] = hosts.built
    assert hosts.got == dict.fromkeys(("one", "two", "three", "four"), builder.encode())
    assert client.keys("*") == []


def test_two_hosts_both_build_where_redis_does_not_answer_and_have_the_same(tmp_path, server, client, caplog):
    server.connected = False
    hosts = Hosts(tmp_path, redis=client)

    def build(name, folder):
        hosts.built.append(name)
        hosts.together.wait()  # both are at it
        if name == "two":
            while "one" not in hosts.got:
                time.sleep(0.01)
        (folder / "a").write_text(name)

    hosts.run(build, "one", "two")
    assert sorted(hosts.built) == ["one", "two"]
    assert hosts.got == {"one": b"one", "two": b"one"}, "the first published copy is everyone's"
    assert len([message for message in caplog.messages if "did not answer" in message]) == 2, "once on each host"


def test_redis_that_goes_away_in_the_middle_throws_no_build_away(tmp_path, server, client, caplog):
    cache = Cache(tmp_path, Settings(url=URL, lock_life=0.15), redis=client)

    def build(folder):
        write(folder)
        server.connected = False
        time.sleep(0.3)

    made = cache.get("kind", {}, build)
    assert not made.hit and cache.remote.manifest(f"kind/{made.digest}")["id"]
    assert len([m for m in caplog.messages if "did not answer" in m]) == 1, "said once, though asked more often"
    server.connected = True
    assert cache.get("kind", {}, write).hit


def test_redis_that_answers_again_is_used_again(tmp_path, server, client, caplog):
    cache = Cache(tmp_path, Settings(), redis=client)
    for number, there in enumerate([False, False, True, False]):
        server.connected = there

        def build(folder, there=there):
            write(folder)
            if there:
                assert len(client.keys("*:lock")) == 1

        cache.get("kind", {"n": number}, build)
    assert len([m for m in caplog.messages if "did not answer" in m]) == 2, "once each time it went away"


def test_who_lost_the_lock_goes_on(tmp_path, client, caplog):
    cache = Cache(tmp_path, Settings(url=URL, lock_life=0.15), redis=client)

    def build(folder):
        write(folder)
        client.flushall()  # as a server does that restarts
        time.sleep(0.2)

    made = cache.get("kind", {}, build)
    assert made.size == 1000 and cache.get("kind", {}, write).hit
    assert f"the lock of kind/{made.digest} was lost" in caplog.text


def test_the_lock_of_another_is_left_alone(client):
    with Turns(client, life=30).turn("kind/a"):
        client.set(LOCK, "another's")
    assert client.get(LOCK) == "another's"


def test_a_lock_lives_as_long_as_it_is_to(client):
    with Turns(client, life=12.5).turn("kind/a") as waited:
        assert 12_000 < client.pttl(LOCK) <= 12_500
        assert waited is None
    assert client.keys("*") == []


def test_a_long_build_keeps_its_lock(client):
    with Turns(client, life=0.3).turn("kind/a"):
        time.sleep(1)
        assert client.get(LOCK)
    assert client.keys("*") == []


def test_a_block_that_fails_gives_the_lock_back_and_its_thread_ends(client):
    with pytest.raises(ZeroDivisionError), Turns(client, life=9).turn("kind/a"):
        raise ZeroDivisionError
    assert client.keys("*") == []
    assert "nightgate-cache-lock" not in [thread.name for thread in threading.enumerate()]


def test_a_builder_that_died_is_waited_for_no_longer_than_its_lock_lives(client):
    client.set(LOCK, "of the dead", px=300)
    with Turns(client, life=30).turn("kind/a") as waited:
        assert 0.1 < waited < 10
        assert client.get(LOCK) != "of the dead"


def test_who_hangs_on_another_host_is_waited_for_as_long_as_patience_lasts(client, caplog):
    client.set(LOCK, "of one that hangs")
    with Turns(client, life=30).turn("kind/a", patience=0.2) as waited:
        assert waited >= 0.1
    assert caplog.messages == ["kind/a is being built on another host for over 0 s; it is built here"]
    assert client.get(LOCK) == "of one that hangs"


def test_redis_that_goes_away_while_a_host_waits_lets_it_build(server, client):
    client.set(LOCK, "of another host")

    def down():
        server.connected = False

    threading.Timer(0.2, down).start()
    with Turns(client, life=30).turn("kind/a"):
        assert server.connected is False


def test_a_torn_copy_in_the_store_is_fetched_once_and_replaced(tmp_path, client):
    one, two = (Cache(tmp_path / name, Settings(url=URL), redis=client) for name in ("one", "two"))
    one.get("kind", {}, write)
    [file] = [path for path in one.remote.fs.find("/hosts") if path.endswith("/a")]
    one.remote.fs.pipe_file(file, b"torn")
    assert two.get("kind", {}, write).size == 1000
    assert two.events.totals() == {"requests.rebuilt": 1, "evictions.damaged": 1}
    Cache(tmp_path / "three", Settings(url=URL)).get("kind", {}, lambda folder: pytest.fail("it is whole again"))


def test_what_another_host_built_on_this_volume_meanwhile_is_found(tmp_path, client, monkeypatch):
    """The lock of the volume's files does not reach every host: who gets the one in Redis looks once more."""
    elsewhere = Cache(tmp_path / "elsewhere", Settings()).get("kind", {}, lambda folder: (folder / "a").touch())
    cache, turn = Cache(tmp_path / "here", Settings(), redis=client), Turns.turn

    @contextmanager
    def late(self, name):
        with turn(self, name):
            shutil.copytree(elsewhere.path, tmp_path / "here" / "kind" / elsewhere.digest)
            yield 2.0  # and waited for it

    monkeypatch.setattr(sharing, "turn_on_host", lambda lock, look: nullcontext((look(), 3.0)))
    monkeypatch.setattr(Turns, "turn", late)
    found = cache.get("kind", {}, lambda folder: pytest.fail("built twice"))
    assert (found.hit, found.digest) == (True, elsewhere.digest)
    totals = cache.events.totals()
    assert (totals["requests.hit"], totals["build_seconds_saved"]) == (1, elsewhere.build_seconds)
    assert (totals["waits.flight"], totals["wait_seconds.flight"]) == (2, 5.0)
    assert client.keys("*") == []


def test_a_redis_that_does_not_answer_is_named_to_who_asks(server, client, tmp_path):
    server.connected = False
    with pytest.raises(ServiceUnavailable) as caught:
        Cache(tmp_path, Settings(), redis=client).check_servers()
    assert re.match(r"Redis at \w+:6379 did not answer: ", caught.value.what)
    assert caught.value.next_step == "start it, or unset NIGHTGATE_REDIS_URL when this host builds alone"


@pytest.mark.parametrize(
    ("address", "where"), [("redis://h:7/3", "h:7"), ("unix:///run/redis.sock", "/run/redis.sock")]
)
def test_a_client_gives_up_after_seconds_and_does_not_ask_again(address, where):
    made = sharing.connect(address)
    given = made.connection_pool.connection_kwargs
    assert (given["socket_timeout"], given["retry"].get_retries()) == (5, 0)
    assert Turns(made, 1)._where == where


def test_a_wrong_address_is_refused_and_its_password_not_shown(tmp_path):
    with pytest.raises(InputError, match="NIGHTGATE_REDIS_URL is no address of Redis") as error:
        Cache(tmp_path, Settings(redis_url="nonsense://:geheim@host")).get("kind", {}, write)
    assert "geheim" not in str(error.value)
    assert error.value.next_step == "write redis://host:6379/0"


def test_a_refusal_of_redis_is_said_without_the_password(monkeypatch, caplog):
    turns = Turns(sharing.connect("redis://:geheim@host:7"), life=1)

    def refuse(*_, **__):
        raise redis.AuthenticationError("WRONGPASS")

    monkeypatch.setattr(redis.Redis, "execute_command", refuse)
    with turns.turn("kind/a") as waited:
        assert waited is None
    assert "Redis at host:7 did not answer (WRONGPASS)" in caplog.text and "geheim" not in caplog.text
