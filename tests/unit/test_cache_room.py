"""The byte limit to the byte: what is evicted and what is not, what waits, and what a builder is told."""

from __future__ import annotations

import os
import re
import threading

import pytest
from filelock import FileLock

from nightgate.artifacts import Settings, leases, limit, store
from nightgate.artifacts.events import Events
from nightgate.errors import CacheFull

GB = 10**9


@pytest.fixture
def put(tmp_path):
    """``put(name, bytes, used)``: a finished artefact, as far as the limit can see."""

    def made(name, size, used=0):
        folder = tmp_path / "kind" / name
        folder.mkdir(parents=True)
        manifest = {"files": {"a": {"size": size}}, "built_at": "then"}
        (folder / store.MANIFEST).write_text(store.dumps(manifest))
        os.utime(folder / store.MANIFEST, (used, used))
        return folder

    return made


@pytest.fixture
def clock(monkeypatch):
    """Time passes in sleeps alone; gives the sleeps."""
    now, slept = [100.0], []

    def sleep(seconds):
        slept.append(seconds)
        now[0] += seconds

    monkeypatch.setattr(limit.time, "monotonic", lambda: now[0])
    monkeypatch.setattr(limit.time, "sleep", sleep)
    return slept


def names(root):
    return [entry.folder.name for entry in limit.entries(root)]


def test_artefacts_are_told_in_the_order_of_their_use(put, tmp_path):
    put("b", 7, used=20), put("a", 5, used=30), put("c", 9, used=10)
    (tmp_path / "kind" / "aa").mkdir()
    found = limit.entries(tmp_path)
    assert [(entry.folder, entry.size, entry.used) for entry in found] == [
        (tmp_path / "kind" / name, size, used * 10**9) for name, size, used in (("c", 9, 10), ("b", 7, 20), ("a", 5, 30))
    ]  # fmt: skip


def test_what_was_built_again_has_its_new_size_and_what_is_damaged_that_of_its_files(put, tmp_path):
    folder = put("a", 5)
    assert [entry.size for entry in limit.entries(tmp_path)] == [5]
    folder.rename(tmp_path / "gone")
    put("a", 8)
    assert [entry.size for entry in limit.entries(tmp_path)] == [8]
    (folder / "deep").mkdir()
    (folder / "deep" / "x").write_bytes(b"1234")
    (folder / "new").write_text("{torn")
    (folder / "new").rename(folder / store.MANIFEST)
    assert [entry.size for entry in limit.entries(tmp_path)] == [4 + 5], "the file and the manifest of five bytes"


def test_only_what_nobody_uses_is_evicted(put, tmp_path):
    settings = Settings(clock=lambda: 1000.0)
    folder = put("a", 5)
    lease = leases.take(folder)
    assert limit.evict(tmp_path, folder, "limit", settings) is False
    lease.release()
    leases.reserve(tmp_path, folder, "night", 900.0)
    assert limit.evict(tmp_path, folder, "limit", settings) is False
    assert Events(tmp_path).totals() == {}
    leases.unreserve(tmp_path, folder, "night")
    before = len(os.listdir("/proc/self/fd"))
    assert limit.evict(tmp_path, folder, "limit", settings) is True
    assert len(os.listdir("/proc/self/fd")) == before
    assert not folder.exists() and Events(tmp_path).totals() == {"evictions.limit": 1}
    assert limit.evict(tmp_path, folder, "limit", settings) is False


def test_no_limit_asks_for_nothing(tmp_path):
    with limit.room(tmp_path, "kind/new", Settings()) as room:
        room.need(10**15)
        assert limit.claims(tmp_path) == []


def test_the_oldest_go_until_it_fits_and_no_more(put, tmp_path):
    for used, name in enumerate("abcd", 1):
        put(name, 10, used)
    with limit.room(tmp_path, "kind/new", Settings(limit=50)) as room:
        room.need(10)
        assert names(tmp_path) == list("abcd"), "to the byte"
        room.need(11)
        assert names(tmp_path) == list("bcd")
        room.need(21)
        assert names(tmp_path) == list("cd")
        room.need(50)
        assert names(tmp_path) == []
        [(file, claim)] = limit.claims(tmp_path)
        assert claim == {"name": "kind/new", "pid": os.getpid(), "bytes": 50, "waits": False}
        assert file.parent == tmp_path / ".state" / "claims" and re.fullmatch(
            rf"{os.getpid()}-[0-9a-f]{{8}}", file.name
        )
    assert list((tmp_path / ".state" / "claims").iterdir()) == []
    assert Events(tmp_path).totals() == {"evictions.limit": 4}


def test_what_is_in_use_is_passed_over(put, tmp_path):
    lease = leases.take(put("a", 10, 1))
    put("b", 10, 2), put("c", 10, 3)
    with limit.room(tmp_path, "kind/new", Settings(limit=30)) as room:
        room.need(10)
    assert names(tmp_path) == ["a", "c"]
    lease.release()


def test_two_builders_share_the_room(tmp_path, clock):
    settings = Settings(limit=50, patience=0)
    with limit.room(tmp_path, "kind/one", settings) as one, limit.room(tmp_path, "kind/two", settings) as two:
        one.need(30)
        two.need(20)
        assert sorted(claim["bytes"] for _, claim in limit.claims(tmp_path)) == [20, 30]
        with pytest.raises(CacheFull, match=rf"in use are kind/one \(3e-08 GB: built by pid {os.getpid()}\)\. Next"):
            two.need(21)
        waiting = {claim["name"]: (claim["bytes"], claim["waits"]) for _, claim in limit.claims(tmp_path)}
        assert waiting == {"kind/one": (30, False), "kind/two": (0, True)}, "who waits lets go of what it had"
        one.need(50)


def test_more_than_the_limit_can_never_fit(tmp_path, clock):
    with limit.room(tmp_path, "kind/new", Settings(limit=2 * GB)) as room:
        room.need(2 * GB)
        with pytest.raises(CacheFull) as caught:
            room.need(2 * GB + 10**7)
    assert caught.value.what == "kind/new takes 2.01 GB and the cache may hold 2 GB"
    assert caught.value.next_step == "raise NIGHTGATE_CACHE_BYTES or lower the scale"
    assert clock == [] and Events(tmp_path).totals() == {}


def test_a_builder_waits_as_long_as_its_patience_and_says_who_is_in_the_way(put, tmp_path, clock, caplog):
    folder = put("old", GB)
    put("free", GB // 2)
    lease, now = leases.take(folder), 5000.0
    idle = limit.Room(tmp_path, "kind/idle", Settings())
    idle_lock = FileLock(idle.file)
    idle_lock.acquire()
    idle._note(0, waits=True)  # waits as well and has nothing
    leases.reserve(tmp_path, folder, "night", now)
    settings = Settings(limit=2 * GB, patience=0.25, clock=lambda: now)
    with (
        caplog.at_level("INFO"),
        limit.room(tmp_path, "kind/new", settings) as room,
        pytest.raises(CacheFull) as caught,
    ):
        room.need(3 * GB // 2)
    assert caught.value.what == (
        "no room for kind/new after 0 s: it takes 1.5 GB, the cache holds 1 GB of 2 GB, and in use are "
        f"kind/old (1 GB: pid {os.getpid()}, this process, reserved for a measurement)"
    )
    assert caught.value.next_step == (
        "wait for those processes, or raise NIGHTGATE_CACHE_BYTES or NIGHTGATE_CACHE_PATIENCE"
    )
    assert clock == [0.1, 0.1, 0.1]
    assert [line for line in caplog.messages if "waits for room" in line] == [
        "kind/new waits for room: all of the cache is in use"
    ], "said once"
    totals = Events(tmp_path).totals()
    assert totals.pop("wait_seconds.room") == pytest.approx(0.3)
    assert totals == {
        "builds_refused": 1, "evictions.limit": 1, "waits.room": 1,
        **{f"wait_bucket.room.{bound}": 1 for bound in ("0.5", "1", "5", "15", "60", "300", "600", "1800")},
    }  # fmt: skip
    lease.release()
    idle_lock.release()


def test_a_builder_that_waited_goes_on_when_there_is_room(put, tmp_path, clock, monkeypatch):
    lease, sleep = leases.take(put("old", 10)), limit.time.sleep
    monkeypatch.setattr(limit.time, "sleep", lambda seconds: (sleep(seconds), len(clock) == 3 and lease.release()))
    with limit.room(tmp_path, "kind/new", Settings(limit=15, patience=60)) as room:
        room.need(10)
        assert [claim["bytes"] for _, claim in limit.claims(tmp_path)] == [10]
    assert clock == [0.1] * 3
    assert Events(tmp_path).totals()["waits.room"] == 1 and names(tmp_path) == []


def test_an_impatient_builder_looks_as_often_as_it_can(put, tmp_path, clock):
    lease = leases.take(put("old", 10))
    with limit.room(tmp_path, "kind/new", Settings(limit=15, patience=0.04)) as room, pytest.raises(CacheFull):
        room.need(10)
    assert clock == [0.04]
    lease.release()


def test_one_builder_decides_at_a_time(put, tmp_path, monkeypatch):
    folder, gate = put("old", 10), tmp_path / ".state" / "admission.lock"
    lock = FileLock(gate)
    lock.acquire()
    monkeypatch.setattr(limit, "_GATE_SECONDS", 0.05)
    with (
        limit.room(tmp_path, "kind/new", Settings(limit=15, patience=0)) as room,
        pytest.raises(CacheFull, match="in use are none\\. Next"),
    ):
        room.need(10)
    assert folder.exists(), "it decided nothing"
    lock.release()
    with limit.room(tmp_path, "kind/new", Settings(limit=15, patience=0)) as room:
        room.need(10)
        assert FileLock(gate).acquire(blocking=False), "and lets the next one decide"
    assert not folder.exists()


def test_claims_of_the_dead_and_the_damaged_count_nothing(tmp_path):
    folder = tmp_path / ".state" / "claims"
    folder.mkdir(parents=True)
    for name, text in (("1-dead", '{"bytes": 5}'), ("2-torn", "{"), ("3-alive", '{"bytes": 7}'), ("4-new", "")):
        (folder / name).write_text(text)
    held = [FileLock(folder / name) for name in ("2-torn", "3-alive", "4-new")]
    for lock in held:
        lock.acquire()
    assert limit.claims(tmp_path) == [(folder / "3-alive", {"bytes": 7})]
    assert sorted(path.name for path in folder.iterdir()) == ["2-torn", "3-alive", "4-new"]
    for lock in held:
        lock.release()


def test_a_claim_that_another_removes_at_the_same_moment_is_no_error(tmp_path, monkeypatch):
    folder = tmp_path / ".state" / "claims"
    folder.mkdir(parents=True)
    (folder / "1-dead").touch()
    (folder / "2-ends").write_text('{"bytes": 7}')
    lock = FileLock(folder / "2-ends")
    lock.acquire()
    unlocked = limit.unlocked
    monkeypatch.setattr(limit, "unlocked", lambda file: [path.unlink() for path in (file,)] and unlocked(file))
    assert limit.claims(tmp_path) == [] and list(folder.iterdir()) == []
    lock.release()


def test_a_claim_stands_although_another_counts_at_the_very_moment(tmp_path, monkeypatch):
    """Who counts takes a file that is not locked yet for a dead one's, and removes it."""
    room = limit.Room(tmp_path, "kind/a", Settings(limit=10))
    monkeypatch.setattr(limit, "Room", lambda *of: room)
    counting = FileLock(room.file, thread_local=False)
    counting.acquire()

    def counted():
        room.file.unlink()
        counting.release()

    threading.Timer(0.1, counted).start()
    with limit.room(tmp_path, "kind/a", room.settings):
        room.need(1)
        assert [claim["name"] for _, claim in limit.claims(tmp_path)] == ["kind/a"]
    assert limit.claims(tmp_path) == [] and not room.file.exists()
