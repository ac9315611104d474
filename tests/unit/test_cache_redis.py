"""Builders on several hosts take turns over Redis; here the server is a fake and hosts are threads."""

from __future__ import annotations

import threading
import time

import fakeredis
import pytest

from nightgate.artifacts import Cache, Settings, redis_flight
from nightgate.errors import InputError, LockLost, ServiceUnavailable

URL = "memory://hosts/cache"


@pytest.fixture
def server():
    return fakeredis.FakeServer()


@pytest.fixture
def client(server):
    return fakeredis.FakeRedis(server=server, decode_responses=True)


@pytest.fixture(autouse=True)
def empty():
    import fsspec

    yield
    fsspec.filesystem("memory").store.clear()


def write(folder):
    (folder / "a").write_bytes(b"x" * 1000)


def lock_of(client):
    [key] = client.keys("*:lock")
    return key


def test_two_hosts_build_once(tmp_path, client):
    built = []

    def build(folder):
        built.append(folder)
        time.sleep(0.3)
        write(folder)

    def host(name):
        Cache(tmp_path / name, Settings(url=URL), redis=client).get("kind", {}, build)

    hosts = [threading.Thread(target=host, args=(f"host{n}",)) for n in range(4)]
    for thread in hosts:
        thread.start()
    for thread in hosts:
        thread.join(20)
    assert len(built) == 1
    assert len(list(tmp_path.glob("*/kind/*/a"))) == 4
    assert client.keys("*:lock") == []


def test_who_lost_the_lock_does_not_publish(tmp_path, client):
    cache = Cache(tmp_path, Settings(url=URL), redis=client)

    def build(folder):
        write(folder)
        client.delete(lock_of(client))  # as a server does that restarts, or a lock that ran out

    with pytest.raises(LockLost, match=r"the lock of kind/\w+ was lost.*nothing was published"):
        cache.get("kind", {}, build)
    assert cache.entries() == []
    assert cache._remote.fs.find("/hosts") == []
    assert client.keys("*:published") == []
    assert not cache.get("kind", {}, write).hit


def test_a_slow_holder_is_fenced_off_by_the_next(client):
    slow, quick = (redis_flight.Held(client, "kind/a", life=30) for _ in range(2))
    assert slow.acquire()
    assert not quick.acquire()
    client.delete(lock_of(client))
    assert quick.acquire()
    assert quick.fence > slow.fence
    assert not slow.renew()
    with pytest.raises(LockLost):
        slow.commit()
    slow.release()
    quick.commit()
    assert client.get("nightgate:cache:kind/a:published") == str(quick.fence)


def test_a_lock_that_changes_hands_within_the_commit_stops_it(client):
    """Between the check and the write another takes the lock: the transaction notices."""
    slow, quick = (redis_flight.Held(client, "kind/a", life=30) for _ in range(2))
    slow.acquire()
    looked = []

    def change(pipe):
        if not looked:
            looked.append(True)
            client.delete("nightgate:cache:kind/a:lock")
            quick.acquire()
        pipe.set("nightgate:cache:kind/a:published", slow.fence)

    assert slow._if_ours(change) is False
    assert client.get("nightgate:cache:kind/a:published") is None


def test_fences_rise_although_redis_forgot(client):
    first, second = (redis_flight.Held(client, "kind/a", life=30) for _ in range(2))
    first.acquire()
    client.flushall()
    second.acquire()
    assert second.fence > first.fence


def test_a_long_build_keeps_its_lock(client):
    with redis_flight.turn(client, "kind/a", lambda seconds: None, life=0.3) as held:
        time.sleep(1)
        held.commit()
    assert client.keys("*:lock") == []


def test_a_builder_that_died_is_waited_for_no_longer_than_its_lock_lives(client):
    dead = redis_flight.Held(client, "kind/a", life=0.3)
    assert dead.acquire()
    waits = []
    with redis_flight.turn(client, "kind/a", waits.append, life=30) as held:
        assert held.fence > dead.fence
    assert len(waits) == 1


def test_redis_down_before_is_said_and_nothing_is_built(tmp_path, server, client):
    cache = Cache(tmp_path, Settings(url=URL), redis=client)
    cache.get("kind", {"n": 1}, write)
    server.connected = False
    with pytest.raises(ServiceUnavailable, match="Redis at .* did not answer.*unset NIGHTGATE_REDIS_URL"):
        cache.get("kind", {"n": 2}, lambda folder: pytest.fail("built without a lock"))
    assert cache.get("kind", {"n": 1}, write).hit, "what is there needs no Redis"
    server.connected = True
    assert not cache.get("kind", {"n": 2}, write).hit


def test_redis_down_at_the_end_publishes_nothing(tmp_path, server, client):
    cache = Cache(tmp_path, Settings(url=URL), redis=client)

    def build(folder):
        write(folder)
        server.connected = False

    with pytest.raises(ServiceUnavailable):
        cache.get("kind", {}, build)
    assert cache.entries() == [] and cache._remote.fs.find("/hosts") == []


def test_redis_down_in_between_does_no_harm(tmp_path, server, client):
    cache = Cache(tmp_path, Settings(url=URL), redis=client)

    def build(folder):
        server.connected = False
        write(folder)
        server.connected = True

    assert not cache.get("kind", {}, build).hit


def test_a_late_manifest_does_not_replace_a_newer_one(tmp_path):
    cache = Cache(tmp_path, Settings(url=URL))
    made = cache.get("kind", {}, write)
    name = f"kind/{made.digest}"
    newer = cache._remote.manifest(name) | {"fence": 2, "id": "newer"}
    cache._remote.upload(name, newer | {"id": "late"}, made.path)
    cache._remote.point(name, newer)
    cache._remote.point(name, newer | {"fence": 1, "id": "late"})
    assert cache._remote.manifest(name)["id"] == "newer"
    assert not [path for path in cache._remote.fs.find("/hosts") if "/late/" in path], "its files are gone"


def test_a_wrong_address_is_refused_and_its_password_not_shown(tmp_path):
    with pytest.raises(InputError, match="NIGHTGATE_REDIS_URL is no address of Redis") as error:
        Cache(tmp_path, Settings(redis_url="nonsense://:geheim@host")).get("kind", {}, write)
    assert "geheim" not in str(error.value)
