"""The lock in Redis to the millisecond, and the shared store file by file; clocks and servers are replaced."""

from __future__ import annotations

import shutil
from contextlib import contextmanager
from types import SimpleNamespace

import fakeredis
import fsspec
import pytest
import redis

from nightgate.artifacts import Cache, Settings, flight, redis_flight, store
from nightgate.artifacts.redis_flight import Held
from nightgate.artifacts.remote import Remote
from nightgate.errors import InputError, LockLost, NotMeasured, ServiceUnavailable

KEY = "nightgate:cache:kind/a"


@pytest.fixture
def client():
    return fakeredis.FakeRedis(decode_responses=True)


def test_a_lock_has_a_token_a_life_and_a_number(client, monkeypatch):
    monkeypatch.setattr(redis_flight.uuid, "uuid4", lambda: SimpleNamespace(hex="cafe"))
    held = Held(client, "kind/a", life=12.5)
    assert (held.fence, held.token, held.acquire()) == (0, "", True)
    seconds, micros = client.time()
    assert 0 <= seconds * 10**6 + micros - held.fence < 60 * 10**6, "Redis's time in microseconds"
    assert client.get(f"{KEY}:lock") == held.token == f"{held.fence}:cafe"
    assert client.get(f"{KEY}:fence") == str(held.fence)
    assert 12_000 < client.pttl(f"{KEY}:lock") <= 12_500
    assert 604_700 < client.ttl(f"{KEY}:fence") <= 604_800, "a week"
    held.release()
    assert client.keys("*:lock") == []


def test_a_number_is_above_the_last_one_even_when_the_clock_of_redis_is_behind(client):
    client.set(f"{KEY}:fence", 10**17)
    held = Held(client, "kind/a", life=1)
    assert held.acquire() and held.fence == 10**17 + 1
    assert not Held(client, "kind/a", life=1).acquire()
    assert client.get(f"{KEY}:fence") == str(10**17 + 1), "who was refused took no number"


@pytest.mark.parametrize("what", ["lock", "fence"])
def test_two_that_ask_at_once_do_not_both_get_it(client, monkeypatch, what):
    held, uuid = Held(client, "kind/a", life=1), redis_flight.uuid.uuid4

    def in_between():
        client.set(f"{KEY}:{what}", "5")
        return uuid()

    monkeypatch.setattr(redis_flight.uuid, "uuid4", in_between)
    assert held.acquire() is False
    assert (held.fence, held.token, client.get(f"{KEY}:{what}")) == (0, "", "5")


def test_a_renewal_and_a_commit_give_a_whole_life_to_who_still_holds_it(client):
    held = Held(client, "kind/a", life=20)
    held.acquire()
    client.pexpire(f"{KEY}:lock", 100)
    assert held.renew() is True
    assert 19_000 < client.pttl(f"{KEY}:lock") <= 20_000
    client.pexpire(f"{KEY}:lock", 100)
    held.commit()
    assert 19_000 < client.pttl(f"{KEY}:lock") <= 20_000
    assert client.get(f"{KEY}:published") == str(held.fence)
    assert 604_700 < client.ttl(f"{KEY}:published") <= 604_800
    client.set(f"{KEY}:lock", "another's")
    assert held.renew() is False
    with pytest.raises(LockLost) as caught:
        held.commit()
    assert caught.value.what == (
        "the lock of kind/a was lost while it was built (Redis restarted, or this process stood still), "
        "so nothing was published"
    )
    assert caught.value.next_step == "start again"
    held.release()
    assert client.get(f"{KEY}:lock") == "another's"


def test_a_transaction_that_was_disturbed_is_tried_again(client):
    held, tries = Held(client, "kind/a", life=20), []
    held.acquire()

    def change(pipe):
        tries.append(1)
        if len(tries) == 1:
            client.pexpire(f"{KEY}:lock", 5000)  # touched, and still ours
            client.set(f"{KEY}:lock", held.token)
        pipe.set("done", len(tries))

    assert held._if_ours(change) is True
    assert (len(tries), client.get("done")) == (2, "2")


@pytest.fixture
def time(monkeypatch):
    now = SimpleNamespace(now=70.0, slept=[])

    def sleep(seconds):
        now.slept.append(seconds)
        now.now += seconds

    monkeypatch.setattr(redis_flight.time, "monotonic", lambda: now.now)
    monkeypatch.setattr(redis_flight.time, "sleep", sleep)
    return now


def test_another_hosts_builder_is_waited_for_and_no_longer_than_patience(client, time):
    client.set(f"{KEY}:lock", "another's")
    waits = []
    with pytest.raises(NotMeasured) as caught, redis_flight.turn(client, "kind/a", waits.append, life=9, patience=0.12):
        pytest.fail("another has it")
    assert caught.value.what == "kind/a is being built on another host for over 0 s"
    assert caught.value.next_step == "see what it does, and stop it if it hangs"
    assert time.slept == [0.05] * 3 and waits == []
    tries = iter([False, False, True])
    client.delete(f"{KEY}:lock")
    acquire = Held.acquire
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Held, "acquire", lambda held: next(tries) and acquire(held))
        with redis_flight.turn(client, "kind/a", waits.append, life=9) as held:
            assert client.get(f"{KEY}:lock") == held.token and held.life == 9
    assert waits == [pytest.approx(0.1)] and client.keys("*:lock") == []
    with redis_flight.turn(client, "kind/a", waits.append, life=9):
        assert len(waits) == 1, "nobody was in the way"


def test_the_lock_is_kept_alive_while_the_block_runs(client, monkeypatch):
    started = []

    class Thread:
        def __init__(self, **given):
            self.given, self.did = given, []
            started.append(self)

        def start(self):
            self.did.append("start")

        def join(self):
            self.did.append(("join", self.given["args"][1].is_set()))

    monkeypatch.setattr(redis_flight.threading, "Thread", Thread)
    with pytest.raises(ZeroDivisionError), redis_flight.turn(client, "kind/a", print, life=9) as held:
        assert started[0].did == ["start"]
        raise ZeroDivisionError
    [thread] = started
    assert thread.did == ["start", ("join", True)]
    assert thread.given.pop("args")[0] is held
    assert thread.given == {"target": redis_flight._keep_alive, "name": "nightgate-cache-lock", "daemon": True}
    assert client.keys("*:lock") == []


def test_a_lock_is_renewed_thrice_in_its_life(caplog):
    waited, renewals = [], iter([True, redis.ConnectionError("down"), True, False])

    class Stop:
        def wait(self, seconds):
            waited.append(seconds)
            return False

    def renew():
        found = next(renewals)
        if isinstance(found, Exception):
            raise found
        return found

    redis_flight._keep_alive(SimpleNamespace(life=30.0, name="kind/a", renew=renew), Stop())
    assert waited == [10.0] * 4
    assert caplog.messages == [
        "the lock of kind/a could not be renewed (down)",
        "the lock of kind/a was lost; what is being built will not be published",
    ]
    redis_flight._keep_alive(
        SimpleNamespace(life=3, renew=lambda: pytest.fail("told to stop")), SimpleNamespace(wait=lambda _: True)
    )


@pytest.mark.parametrize(
    ("settings", "where"),
    [
        ({"path": "/run/redis.sock", "host": "h"}, "/run/redis.sock"),
        ({"host": "h", "port": 7}, "h:7"),
        ({}, "localhost:6379"),
    ],
)
def test_a_redis_that_does_not_answer_is_named(settings, where):
    client = SimpleNamespace(connection_pool=SimpleNamespace(connection_kwargs=settings))
    with pytest.raises(ServiceUnavailable) as caught, redis_flight.answering(client):
        raise redis.TimeoutError("too slow")
    assert caught.value.what == (
        f"Redis at {where} did not answer, so no other host can be kept from building the same: too slow"
    )
    assert caught.value.next_step == "start it, or unset NIGHTGATE_REDIS_URL when this host builds alone"
    with pytest.raises(ZeroDivisionError), redis_flight.answering(client):
        raise ZeroDivisionError


def test_a_client_gives_up_after_seconds():
    made = redis_flight.connect("redis://host:7/3")
    given = made.connection_pool.connection_kwargs
    assert (given["host"], given["port"], given["db"]) == ("host", 7, 3)
    assert (given["socket_timeout"], given["socket_connect_timeout"], given["decode_responses"]) == (5, 5, True)
    assert given["retry_on_error"] == [redis.ConnectionError, redis.TimeoutError]
    assert given["retry"]._retries == 3
    assert (given["retry"]._backoff._cap, given["retry"]._backoff._base) == (1, 0.1)
    with pytest.raises(InputError) as caught:
        redis_flight.connect("nonsense://host")
    assert caught.value.what == "NIGHTGATE_REDIS_URL is no address of Redis"
    assert caught.value.next_step == "write redis://host:6379/0"


def test_what_another_host_built_on_this_volume_meanwhile_is_found(tmp_path, client, monkeypatch):
    """The lock of the volume's files does not reach every host: who gets the one in Redis looks once more."""
    elsewhere = Cache(tmp_path / "elsewhere", Settings()).get("kind", {}, lambda folder: (folder / "a").touch())
    cache, turn = Cache(tmp_path / "here", Settings(), redis=client), redis_flight.turn

    @contextmanager
    def behind(lock, ready):
        yield ready(), 3.0

    @contextmanager
    def late(*of, **given):
        of[2](2.0)  # and waited for it
        with turn(*of, **given) as held:
            shutil.copytree(elsewhere.path, tmp_path / "here" / "kind" / elsewhere.digest)
            yield held

    monkeypatch.setattr(flight, "turn", behind)
    monkeypatch.setattr(redis_flight, "turn", late)
    found = cache.get("kind", {}, lambda folder: pytest.fail("built twice"))
    assert (found.hit, found.digest) == (True, elsewhere.digest)
    totals = cache.events.totals()
    assert (totals["requests.hit"], totals["build_seconds_saved"]) == (1, elsewhere.build_seconds)
    assert (totals["waits.flight"], totals["wait_seconds.flight"]) == (2, 5.0)
    assert client.keys("*:lock") == []


def test_what_is_built_under_the_lock_carries_its_number(tmp_path, client):
    made = Cache(tmp_path, Settings(), redis=client).get("kind", {}, lambda folder: (folder / "a").touch())
    number = store.read(made.path)["fence"]
    assert number > 0
    name = f"nightgate:cache:kind/{made.digest}"
    assert client.get(f"{name}:fence") == client.get(f"{name}:published") == str(number)


# The shared store


@pytest.fixture
def memory():
    made = fsspec.filesystem("memory")
    yield made
    made.store.clear()


@pytest.fixture
def remote(memory):
    return Remote("memory://bucket/cache")


@pytest.fixture
def built(tmp_path):
    """A finished folder and its manifest."""
    draft = store.new_draft(tmp_path / "kind" / "abc")
    (draft / "deep" / "er").mkdir(parents=True)
    (draft / "deep" / "er" / "a").write_bytes(b"1234")
    (draft / "b").write_bytes(b"x")
    return draft, store.seal(draft, "kind", {}, {}, 1.0, fence=5)


BASE = "/bucket/cache"


def test_an_artefact_is_seen_when_it_is_pointed_to(remote, memory, built, tmp_path):
    folder, manifest = built
    remote.upload("kind/abc", manifest, folder)
    files = [f"{BASE}/kind/abc/{manifest['id']}/{name}" for name in ("b", "deep/er/a")]
    assert sorted(memory.find(BASE)) == files and remote.manifest("kind/abc") is None
    remote.point("kind/abc", manifest)
    assert sorted(memory.find(BASE)) == sorted([*files, f"{BASE}/kind/abc/manifest.json"])
    assert remote.manifest("kind/abc") == manifest
    target = tmp_path / "target"
    assert remote.fetch("kind/abc", manifest, target) is True
    assert ((target / "deep" / "er" / "a").read_bytes(), (target / "b").read_bytes()) == (b"1234", b"x")


def test_what_is_fetched_is_checked_and_synced(remote, memory, built, tmp_path, monkeypatch):
    folder, manifest = built
    remote.upload("kind/abc", manifest, folder)
    asked = []
    monkeypatch.setattr(store, "matches", lambda folder, of, **given: asked.append((folder, of, given)) or "checked")
    assert remote.fetch("kind/abc", manifest, tmp_path / "t") == "checked"
    assert asked == [(tmp_path / "t", manifest, {"sync": True})]
    memory.rm(f"{BASE}/kind/abc/{manifest['id']}/b")
    assert remote.fetch("kind/abc", manifest, tmp_path / "t2") is False


@pytest.mark.parametrize(
    ("before", "after", "wins"),
    [(4, 5, "new"), (5, 5, "new"), (6, 5, "old"), (None, None, "new"), (1, None, "old"), (None, 1, "new")],
)
def test_the_later_number_wins_and_the_others_files_go(remote, memory, built, before, after, wins):
    folder, manifest = built
    old, new = manifest | {"id": "old", "fence": before}, manifest | {"id": "new", "fence": after}
    for one in (old, new):
        if one["fence"] is None:  # of an older version
            del one["fence"]
    for one in (old, new):
        remote.upload("kind/abc", one, folder)
    remote.point("kind/abc", old)
    remote.point("kind/abc", new)
    assert remote.manifest("kind/abc")["id"] == wins
    names = {path.removeprefix(f"{BASE}/kind/abc/").split("/")[0] for path in memory.find(BASE)}
    assert names == {wins, "manifest.json"}


def test_pointing_twice_keeps_the_files(remote, memory, built):
    folder, manifest = built
    remote.upload("kind/abc", manifest, folder)
    remote.point("kind/abc", manifest)
    remote.point("kind/abc", manifest)
    assert len(memory.find(BASE)) == 3


@pytest.mark.parametrize("text", [b"{", b"[]", b"{}"])
def test_a_damaged_manifest_in_the_store_is_none(remote, memory, text, caplog):
    memory.pipe_file(f"{BASE}/kind/abc/manifest.json", text)
    assert remote.manifest("kind/abc") is None
    assert caplog.messages == ["the manifest of kind/abc in the shared store is damaged"]


def test_what_a_driver_raises_leaves_as_one_kind_of_failure(remote, built, monkeypatch, caplog):
    folder, manifest = built

    def fails(*_, **__):
        raise RuntimeError("no credentials")

    for part in ("cat_file", "get_file", "put_file", "rm", "pipe_file"):
        monkeypatch.setattr(type(remote.fs), part, fails)
    for call in (lambda: remote.manifest("k/a"), lambda: remote.fetch("k/a", manifest, folder), lambda: remote.upload("k/a", manifest, folder)):  # fmt: skip
        with pytest.raises(OSError, match="^RuntimeError: no credentials$"):
            call()
    remote.drop("kind/abc", manifest)
    assert caplog.messages == [
        "files of kind/abc in the shared store could not be removed (RuntimeError: no credentials)"
    ]
    with pytest.raises(ServiceUnavailable) as caught:
        remote.check()
    assert caught.value.what == (
        "the shared store of NIGHTGATE_CACHE_URL cannot be written: RuntimeError: no credentials"
    )
    assert caught.value.next_step == "make it reachable, or unset NIGHTGATE_CACHE_URL"


def test_dropping_what_is_not_there_says_nothing(remote, built, caplog):
    remote.drop("kind/abc", built[1])
    assert caplog.messages == []


def test_a_check_writes_and_leaves_nothing(remote, memory, monkeypatch):
    written, write = [], type(memory).pipe_file
    monkeypatch.setattr(
        type(memory), "pipe_file", lambda fs, path, text: written.append((path, text)) or write(fs, path, text)
    )
    remote.check()
    [(path, text)] = written
    assert path.startswith(f"{BASE}/") and path.endswith(".building") and text == b""
    assert memory.find(BASE) == [] and memory.isdir(BASE)


def test_an_address_that_cannot_be_used_is_named():
    with pytest.raises(InputError) as caught:
        Remote("nosuch://bucket")
    assert caught.value.what.startswith("NIGHTGATE_CACHE_URL cannot be used: ")
    assert caught.value.next_step == "write file:///folder, or install what it names"
    assert Remote("memory://bucket/x").base == "/bucket/x"
