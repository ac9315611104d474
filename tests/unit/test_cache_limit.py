"""The byte limit: what goes first, what never goes, and what a builder does when nothing may go."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
import threading
import time

import pytest

from nightgate.artifacts import Cache, Settings, leases, limit
from nightgate.artifacts.settings import from_environment, parse_bytes
from nightgate.errors import ArtifactError, CacheFull, InputError

HOLD = """
import sys
from pathlib import Path
from nightgate.artifacts import Cache, Settings
Cache(Path(sys.argv[1]), Settings()).get("kind", {"n": int(sys.argv[2])}, None)
print("held", flush=True)
sys.stdin.read()
"""


def write(size=1000):
    def build(folder):
        (folder / "a").write_bytes(b"x" * size)

    return build


def put(cache, n, size=1000, **given):
    """An artefact that nobody uses any more."""
    made = cache.get("kind", {"n": n}, write(size), **given)
    made.release()
    return made


def digests(cache):
    return [artifact.digest for artifact in cache.entries()]


@pytest.fixture
def hold(tmp_path):
    """Start processes that hold a lease on an artefact of `tmp_path`."""
    started = []

    def start(n):
        process = subprocess.Popen(
            [sys.executable, "-c", HOLD, str(tmp_path), str(n)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )  # fmt: skip
        started.append(process)
        assert process.stdout.readline() == "held\n"
        return process

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_the_least_recently_used_goes_for_what_is_new(tmp_path):
    cache = Cache(tmp_path, Settings(limit=3000))
    first, second, third = (put(cache, n) for n in range(3))
    put(cache, 0)
    fourth = put(cache, 3)
    assert digests(cache) == [third.digest, first.digest, fourth.digest]
    assert not second.path.exists()
    assert cache.events.totals()["evictions.limit"] == 1


def test_needs_make_room_before_the_builder_starts(tmp_path):
    cache = Cache(tmp_path, Settings(limit=3000))
    put(cache, 1), put(cache, 2)

    def build(folder):
        assert digests(cache) == [], "3000 bytes were announced"
        write(10)(folder)

    cache.get("kind", {"n": 3}, build, needs=3000)


def test_two_builders_do_not_get_the_same_room(tmp_path):
    cache = Cache(tmp_path, Settings(limit=3000, patience=0))

    def build(folder):
        with pytest.raises(CacheFull, match=r"built by pid"):
            put(cache, 2, needs=2000)
        write()(folder)

    cache.get("kind", {"n": 1}, build, needs=2000)
    put(cache, 2, needs=2000)


def test_more_than_the_limit_is_refused_at_once(tmp_path):
    cache = Cache(tmp_path, Settings(limit=3000))
    with pytest.raises(CacheFull, match=r"takes 4e-06 GB and the cache may hold 3e-06 GB.*NIGHTGATE_CACHE_BYTES"):
        cache.get("kind", {}, lambda folder: pytest.fail("started"), needs=4000)
    with pytest.raises(CacheFull):
        put(cache, 1, size=4000)
    assert digests(cache) == []


def test_what_a_process_uses_stays_until_it_is_killed(tmp_path, hold):
    cache = Cache(tmp_path, Settings(limit=1500, patience=0.1))
    put(cache, 1)
    holder = hold(1)
    [used] = cache.entries()
    assert cache.holders(used) == [f"pid {holder.pid}"]
    assert cache.collect(0) == []
    with pytest.raises(CacheFull, match=rf"takes 1e-06 GB.*kind/{used.digest} \(1e-06 GB: pid {holder.pid}\)"):
        put(cache, 2)
    assert digests(cache) == [used.digest]
    totals = cache.events.totals()
    assert (totals["builds_refused"], totals["waits.room"]) == (1, 1)
    holder.kill()
    holder.wait()
    assert put(cache, 2).digest in digests(cache)
    assert not used.path.exists()


def test_a_builder_waits_for_its_room(tmp_path):
    cache = Cache(tmp_path, Settings(limit=1500, patience=30))
    used = cache.get("kind", {"n": 1}, write())
    waiter = threading.Thread(target=put, args=(cache, 2))
    waiter.start()
    while not cache.waiters():
        time.sleep(0.01)
    assert used.path.exists()
    used.release()
    waiter.join(20)
    assert not used.path.exists()
    assert cache.waiters() == 0
    totals = cache.events.totals()
    assert totals["waits.room"] == 1 and totals["wait_seconds.room"] > 0
    assert totals["wait_bucket.room.1800"] == 1


def test_each_user_of_one_process_counts(tmp_path):
    cache = Cache(tmp_path, Settings())
    first, second = (cache.get("kind", {}, write()) for _ in range(2))
    first.release()
    assert cache.collect(0) == []
    second.release()
    assert [gone.digest for gone in cache.collect(0)] == [first.digest]


def test_a_forked_child_keeps_what_it_uses(tmp_path):
    cache = Cache(tmp_path, Settings())
    made = cache.get("kind", {}, write())
    context = multiprocessing.get_context("fork")
    done = context.Event()
    child = context.Process(target=done.wait, args=(30,))
    child.start()
    made.release()
    assert cache.collect(0) == []
    done.set()
    child.join(10)
    assert cache.collect(0) == [made]


def test_the_claim_of_a_killed_builder_is_void(tmp_path):
    code = "import os, sys; from pathlib import Path; from nightgate.artifacts import Cache, Settings\n"
    code += "Cache(Path(sys.argv[1]), Settings(limit=3000)).get('kind', {}, lambda folder: os.kill(os.getpid(), 9), needs=3000)"
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False).returncode == -9
    assert list(tmp_path.rglob("*.building")), "it left its draft"
    put(Cache(tmp_path, Settings(limit=3000, patience=0)), 1, needs=3000)
    assert limit.claims(tmp_path) == []


def test_gc_removes_what_killed_builders_left_and_nothing_of_living_ones(tmp_path):
    cache = Cache(tmp_path, Settings())
    kind = tmp_path / "kind"
    (kind / "dead.1.building").mkdir(parents=True)
    (kind / "dead.2.trash").mkdir()
    (kind / "dead.lock").touch()

    def build(folder):
        assert {path.name for path in cache.sweep()} == {"dead.1.building", "dead.2.trash", "dead.lock"}
        assert folder.exists()
        write()(folder)

    made = cache.get("kind", {}, build)
    assert [path.name for path in kind.iterdir()] == [made.digest]


def test_what_is_reserved_stays_for_the_process_that_measures(tmp_path):
    now = [1e9]
    cache = Cache(tmp_path, Settings(clock=lambda: now[0]))
    made = put(cache, 1)
    prepared = {"vectors": [str(made.path / "a")], "elsewhere": "/nowhere", "rows": 3}
    cache.reserve(prepared, "one")
    cache.reserve(prepared, "two")
    assert cache.collect(0) == []
    with cache.using(prepared, "one"):
        now[0] += 1e6
        assert cache.collect(0) == [], "leased while it is measured"
        assert cache.holders(made) != []
        now[0] -= 1e6
    assert cache.collect(0) == [], "the other one has not measured yet"
    with pytest.raises(ZeroDivisionError), cache.using(prepared, "two"):
        raise ZeroDivisionError
    assert cache.holders(made) == ["reserved for a measurement"], "it will be tried again"
    now[0] += 1e6
    assert cache.sweep() != []
    assert cache.collect(0) == [made]
    with pytest.raises(ArtifactError, match="is gone from the cache"), cache.using(prepared, "two"):
        pytest.fail("nothing to use")


def test_the_clock_may_jump(tmp_path):
    now = [2e9]
    cache = Cache(tmp_path, Settings(limit=3000, clock=lambda: now[0]))
    old, used = put(cache, 1), put(cache, 2)
    cache.reserve(str(old.path), "a clock that ran ahead")
    now[0] = 1e9
    new = put(cache, 3)
    put(cache, 2)
    assert digests(cache) == [old.digest, new.digest, used.digest], "the order of uses is kept"
    put(cache, 4)
    assert not old.path.exists(), "and its reservation ended with the wrong clock"


@pytest.mark.parametrize(
    ("text", "size"), [("5", 5), ("20GB", 20 * 10**9), ("20 GiB", 20 * 2**30), ("1.5tb", 15 * 10**11), ("7B", 7)]
)
def test_sizes_are_read_as_people_write_them(text, size):
    assert parse_bytes(text) == size


@pytest.mark.parametrize("text", ["", "GB", "20XB", "-1", "1e9", "20 GB free"])
def test_what_is_no_size_is_refused(text):
    with pytest.raises(InputError, match=r"NIGHTGATE_CACHE_BYTES.*is no size.*20GiB"):
        parse_bytes(text)


def test_the_environment_is_read(monkeypatch):
    for name, value in {"BYTES": "1GiB", "PATIENCE": "5", "URL": "memory://x"}.items():
        monkeypatch.setenv(f"NIGHTGATE_CACHE_{name}", value)
    assert (from_environment().limit, from_environment().patience) == (2**30, 5.0)
    assert from_environment().url == "memory://x"
    monkeypatch.setenv("NIGHTGATE_CACHE_PATIENCE", "nan")
    with pytest.raises(InputError, match="is no number of seconds"):
        from_environment()


@pytest.mark.parametrize("way", [leases.take, leases.exclusive])
def test_a_lease_on_what_was_just_removed_is_none(tmp_path, monkeypatch, way):
    made, lock = put(Cache(tmp_path, Settings()), 1), leases.fcntl.flock

    def late(file, how):
        made.path.rename(made.path.with_suffix(".trash"))
        lock(file, how)

    monkeypatch.setattr(leases.fcntl, "flock", late)
    assert way(made.path) is None
