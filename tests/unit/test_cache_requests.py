"""A request from end to end, with what it counts, and what goes wrong on the way: disks, stores, damage."""

from __future__ import annotations

import errno
import os
import shutil
import time
from contextlib import contextmanager, nullcontext
from datetime import datetime
from pathlib import Path

import pytest

from nightgate.artifacts import Artifact, Cache, Settings, leases, sharing, store
from nightgate.artifacts import cache as requests
from nightgate.artifacts.events import Events
from nightgate.errors import ArtifactError, CacheFull, InputError


def write(folder):
    (folder / "a").write_bytes(b"x" * 1000)
    return {"rows": 3}


@pytest.fixture
def slow_write(monkeypatch):
    """A builder that takes 40 s, on a clock that nothing else moves."""
    now = [100.0]
    monkeypatch.setattr(requests.time, "monotonic", lambda: now[0])

    def build(folder):
        now[0] += 40
        return write(folder)

    return build


@pytest.fixture
def cache(tmp_path):
    return Cache(tmp_path, Settings(clock=lambda: 5000.0))


def test_what_is_built_and_found_again_is_told_whole(cache, tmp_path, slow_write):
    built = cache.get("kind", {"n": 1}, slow_write)
    digest = store.digest_of({"n": 1})
    assert built == Artifact("kind", digest, tmp_path / "kind" / digest, {"rows": 3}, 40.0, built.built_at, 1000)
    found = cache.get("kind", {"n": 1}, write)
    assert (built.hit, found.hit, found) == (False, True, built)
    assert found.lease is built.lease and found.lease.count == 2
    manifest = store.read(built.path)
    assert (manifest["kind"], manifest["key"], manifest["built_at"]) == ("kind", {"n": 1}, built.built_at)
    assert abs(datetime.fromisoformat(built.built_at).timestamp() - time.time()) < 60
    assert cache.events.totals() == {"requests.miss": 1, "requests.hit": 1, "build_seconds_saved": 40.0}
    assert cache.get("kind", {"n": 2}, lambda folder: (folder / "a").touch()).facts == {}


def test_a_hit_marks_its_artefact_as_the_last_used(tmp_path):
    now = [5000.0]
    cache = Cache(tmp_path, Settings(clock=lambda: now[0]))
    first, _ = cache.get("kind", {"n": 1}, write), cache.get("kind", {"n": 2}, write)
    assert next(one.digest for one in cache.entries()) == first.digest
    now[0] = 6000.0
    cache.get("kind", {"n": 1}, write)
    assert [one.digest for one in cache.entries()][1] == first.digest
    assert (first.path / store.MANIFEST).stat().st_mtime == 6000.0


def test_a_kind_with_a_dot_is_refused(cache):
    with pytest.raises(ValueError, match=r"^the kind 'a\.b' holds a dot$"):
        cache.get("a.b", {}, write)


def test_damage_is_counted_and_built_again(cache, caplog):
    made = cache.get("kind", {}, write)
    (made.path / "a").write_bytes(b"x")
    assert cache.get("kind", {}, write).hit is False
    totals = cache.events.totals()
    assert {name: totals.get(name) for name in ("requests.miss", "requests.rebuilt", "evictions.damaged")} == {
        "requests.miss": 1, "requests.rebuilt": 1, "evictions.damaged": 1,
    }  # fmt: skip
    assert f"kind/{made.digest} is torn or damaged here and will be built again" in caplog.text


def test_an_artefact_that_is_whole_and_being_evicted_is_not_damaged(cache):
    made = cache.get("kind", {}, write)
    made.release()
    assert leases.discard_damaged(made.path) is False and made.path.exists()
    assert leases.discard_damaged(made.path.with_name("none")) is False
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(leases, "_verdicts", {})  # as in a process that never hashed it
        assert leases.discard_damaged(made.path) is False and made.path.exists()
    (made.path / "a").unlink()
    assert leases.discard_damaged(made.path) is True and not made.path.exists()


def test_an_artefact_whose_bytes_were_found_wrong_is_damaged_though_its_sizes_are_right(cache, monkeypatch):
    made = cache.get("kind", {}, write)
    made.release()
    monkeypatch.setattr(leases, "_verdicts", {(made.path, store.read(made.path)["id"]): False})
    assert cache.find(made.path) is None
    assert leases.discard_damaged(made.path) is True


def test_a_damaged_artefact_is_not_leased(cache):
    made = cache.get("kind", {}, write)
    made.release()
    (made.path / "a").unlink()
    assert cache.find(made.path) is None
    file = leases.exclusive(made.path)
    assert file is not None, "nobody holds it"
    os.close(file)


def test_room_on_the_disk_is_looked_at_before_the_builder_starts(cache, monkeypatch, tmp_path):
    asked = []
    monkeypatch.setattr(
        requests.shutil, "disk_usage", lambda path: asked.append(path) or shutil._ntuple_diskusage(9, 8, 10**9)
    )
    assert cache.get("kind", {}, write, needs=10**9).size == 1000, "to the byte"
    with pytest.raises(InputError) as caught:
        cache.get("kind", {"n": 2}, lambda folder: pytest.fail("started"), needs=11 * 10**8)
    assert caught.value.what == f"no disk space for kind: it needs 1.1 GB and {tmp_path} has 1.0 GB free"
    assert caught.value.next_step == "free some space (`nightgate cache gc`), move NIGHTGATE_HOME, or lower the scale"
    assert set(asked) == {tmp_path}


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EDQUOT])
def test_a_disk_that_runs_full_is_said(cache, tmp_path, code):
    def full(folder):
        raise OSError(code, "full")

    with pytest.raises(ArtifactError) as caught:
        cache.get("kind", {}, full)
    assert caught.value.what == f"the disk of {tmp_path} was full before kind/{store.digest_of({})} was written"
    assert caught.value.next_step == "free some space (`nightgate cache gc`), move NIGHTGATE_HOME, or lower the scale"
    assert list((tmp_path / "kind").iterdir()) == []


def test_another_error_of_the_system_is_left_as_it_is(cache, tmp_path):
    def denied(folder):
        write(folder)
        raise PermissionError(errno.EACCES, "denied")

    with pytest.raises(PermissionError, match="denied"):
        cache.get("kind", {}, denied)
    assert list((tmp_path / "kind").iterdir()) == [], "no draft, no lock"
    assert cache.events.totals() == {}


def test_what_is_announced_and_what_was_written_must_fit(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(requests.limit.Room, "need", lambda room, size: asked.append((room.name, size)))
    cache = Cache(tmp_path, Settings())
    cache.get("kind", {}, write, needs=500)
    name = f"kind/{store.digest_of({})}"
    assert asked == [(name, 500), (name, 1000)]
    cache.get("kind", {"n": 1}, write)
    assert len(asked) == 3, "nothing announced, nothing asked for in advance"


@pytest.fixture
def shared(tmp_path):
    """Two homes and one store."""
    settings = Settings(url=f"file://{tmp_path}/shared", clock=lambda: 5000.0)
    return Cache(tmp_path / "one", settings), Cache(tmp_path / "two", settings)


def test_who_waited_for_another_builder_is_counted_however_it_ends(shared, monkeypatch):
    @contextmanager
    def behind(lock, ready):
        yield ready(), 3.0

    monkeypatch.setattr(sharing, "turn_on_host", behind)
    one, two = shared
    built = one.get("kind", {}, write)
    two.get("kind", {}, write)
    for cache, result in ((one, "miss"), (two, "fetched")):
        totals = cache.events.totals()
        assert (totals[f"requests.{result}"], totals["waits.flight"], totals["wait_seconds.flight"]) == (1, 1, 3.0)
    looks = iter([None, built])
    monkeypatch.setattr(one, "find", lambda folder: next(looks))
    assert one.get("kind", {}, write) is built
    totals = one.events.totals()
    assert (totals["requests.hit"], totals["waits.flight"], totals["wait_seconds.flight"]) == (1, 2, 6.0)


def test_a_key_may_hold_a_path(cache):
    made = cache.get("kind", {"file": Path("/data/x")}, write)
    assert store.read(made.path)["key"] == {"file": "/data/x"}
    assert cache.get("kind", {"file": Path("/data/x")}, write).hit


def test_what_is_fetched_counts_as_fetched(shared, slow_write):
    one, two = shared
    built = one.get("kind", {}, slow_write)
    fetched = two.get("kind", {}, lambda folder: pytest.fail("built"))
    assert (fetched.facts, fetched.build_seconds, fetched.hit) == ({"rows": 3}, 40.0, False)
    assert two.events.totals() == {"requests.fetched": 1, "build_seconds_saved": 40.0}
    assert store.read(fetched.path) == store.read(built.path)
    assert fetched.built_at == built.built_at, "the seconds are of that day"
    assert [path.name for path in fetched.path.parent.iterdir()] == [fetched.digest], "no draft, no lock"
    assert fetched.lease is not None


def test_a_store_whose_disk_is_full_is_said_and_another_failure_costs_a_build(shared, monkeypatch, caplog):
    one, two = shared
    one.get("kind", {}, write)

    def fails(code):
        def fetch(*_):
            raise OSError(code, "words")

        monkeypatch.setattr(type(two.remote), "fetch", fetch)

    fails(errno.ENOSPC)
    with pytest.raises(ArtifactError, match="was full before"):
        two.get("kind", {}, write)
    fails(errno.EIO)
    assert two.get("kind", {}, write).facts == {"rows": 3}
    assert two.events.totals() == {"requests.miss": 1}
    assert "the shared store could not be read ([Errno 5] words)" in caplog.text


def test_damage_in_the_store_is_said_and_mended(shared, tmp_path, caplog):
    one, two = shared
    made = one.get("kind", {}, write)
    [file] = (tmp_path / "shared").rglob("a")
    file.write_bytes(b"y" * 1000)
    assert two.get("kind", {}, write).facts == {"rows": 3}
    assert two.events.totals() == {"requests.rebuilt": 1, "evictions.damaged": 1}
    assert f"kind/{made.digest} is torn or damaged in the shared store and will be built again" in caplog.text
    assert [path.read_bytes() for path in (tmp_path / "shared").rglob("a")] == [b"x" * 1000]


def test_what_was_uploaded_and_not_pointed_to_is_taken_back(shared, tmp_path, monkeypatch, caplog):
    one, _ = shared

    def fails(*_):
        raise OSError("no")

    monkeypatch.setattr(type(one.remote.fs), "mv", fails)
    assert one.get("kind", {}, write).facts == {"rows": 3}
    assert [path for path in (tmp_path / "shared").rglob("*") if path.is_file()] == []
    assert "is not shared with other hosts (no)" in caplog.text


def test_what_is_fetched_must_fit(shared, tmp_path):
    one, _ = shared
    made = one.get("kind", {}, write)
    small = Cache(tmp_path / "small", Settings(url=one.settings.url, limit=999))
    with pytest.raises(CacheFull, match=f"^kind/{made.digest} takes"):
        small.get("kind", {}, write)
    assert small.entries() == []


def test_what_could_not_be_uploaded_is_not_pointed_to(shared, tmp_path, monkeypatch):
    one, _ = shared

    def fails(*_):
        raise OSError("no")

    monkeypatch.setattr(type(one.remote.fs), "put_file", fails)
    assert one.get("kind", {}, write).facts == {"rows": 3}
    assert [path for path in (tmp_path / "shared").rglob("*") if path.is_file()] == []


def test_the_copy_that_another_host_published_first_is_everyones(shared, tmp_path):
    """Two hosts build at once, without a lock between them; their bytes differ, as those of a graph built by threads."""
    one, two = shared

    def build(folder):
        one.get("kind", {}, write)
        (folder / "a").write_bytes(b"another")
        return {"rows": 4}

    made = two.get("kind", {}, build)
    assert (made.facts, (made.path / "a").read_bytes(), made.hit) == ({"rows": 3}, b"x" * 1000, False)
    assert two.events.totals()["requests.miss"] == 1 and two.damaged() == []
    assert [path.read_bytes() for path in (tmp_path / "shared").rglob("a")] == [b"x" * 1000]
    assert [path.name for path in made.path.parent.iterdir()] == [made.digest]


@pytest.mark.parametrize("why", ["torn", "large"])
def test_a_finished_build_is_kept_when_the_copy_that_was_first_cannot_be_had(shared, tmp_path, why, caplog):
    one, two = shared
    if why == "large":
        two = Cache(tmp_path / "two", Settings(url=one.settings.url, limit=900))

    def build(folder):
        one.get("kind", {}, write)
        if why == "torn":
            next((tmp_path / "shared").rglob("a")).write_bytes(b"torn")
        (folder / "a").write_bytes(b"mine")

    made = two.get("kind", {}, build)
    assert (made.path / "a").read_bytes() == b"mine"
    assert two.damaged() == [] and len(two.entries()) == 1


def test_the_copy_that_got_the_name_first_stays(cache):
    """Two builders on one volume where the lock of files does not reach both."""
    other, before = Cache(cache.root, cache.settings), len(os.listdir("/proc/self/fd"))

    def late(folder):
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(sharing, "turn_on_host", lambda lock, look: nullcontext((None, None)))
            patch.setattr(store, "clear", lambda folder: None)
            other.get("kind", {}, write).release()
        (folder / "a").write_bytes(b"late")
        return {"rows": 4}

    made = cache.get("kind", {}, late)
    assert (made.facts, (made.path / "a").read_bytes(), made.hit) == ({"rows": 3}, b"x" * 1000, True)
    assert cache.damaged() == [] and [path.name for path in made.path.parent.iterdir()] == [made.digest]
    assert cache.collect(0) == [], "it is leased"
    made.release()
    assert cache.collect(0) == [made] and made.path not in leases._held
    assert len(os.listdir("/proc/self/fd")) == before, "nor is the draft that lost"


def test_a_torn_copy_that_has_the_name_gives_way(cache):
    def late(folder):
        torn = folder.with_name(folder.name.split(".")[0])
        torn.mkdir()
        (torn / "manifest.json").write_text("{")
        return write(folder)

    made = cache.get("kind", {}, late)
    assert (made.facts, made.hit) == ({"rows": 3}, False) and cache.damaged() == []


def test_entries_and_what_is_collected(cache):
    made = [cache.get("kind", {"n": n}, write) for n in range(3)]
    assert [(one.digest, one.lease, one.hit) for one in cache.entries()] == [(one.digest, None, True) for one in made]
    for one in made[:2]:
        one.release()
    assert cache.collect(3000) == []
    assert cache.collect(2999) == [made[0]]
    assert cache.collect(0) == [made[1]], "the last one is in use"
    assert cache.events.totals()["evictions.gc"] == 2
    assert [one.digest for one in cache.entries()] == [made[2].digest]


def test_an_artefact_that_is_torn_is_no_entry_but_damaged(cache):
    made = cache.get("kind", {}, write)
    assert (cache.damaged(), len(cache.entries())) == ([], 1)
    (made.path / store.MANIFEST).write_text("{")
    assert (cache.damaged(), cache.entries()) == ([made.path], [])


def test_what_is_prepared_is_leased_while_it_is_used(cache):
    made = [cache.get("kind", {"n": n}, write) for n in range(2)]
    for one in made:
        one.release()
    prepared = [str(one.path / "a") for one in made]
    cache.reserve(prepared, "night")
    with cache.using(prepared, "night"):
        assert [len(cache.holders(one)) for one in made] == [2, 2]
    assert [cache.holders(one) for one in made] == [[], []]
    cache.reserve(prepared, "night")
    (made[1].path / "a").unlink()
    with pytest.raises(ArtifactError) as caught, cache.using(prepared, "night"):
        pytest.fail("one is torn")
    assert caught.value.what == f"kind/{made[1].digest} is gone from the cache or torn"
    assert caught.value.next_step == "prepare again"
    assert [cache.holders(one) for one in made] == [["reserved for a measurement"]] * 2, "and no lease is left"


def test_a_private_cache_has_no_servers(cache, monkeypatch):
    cache.check_servers()
    assert (cache.remote, cache.turns, cache.waiters()) == (None, None, 0)


def test_servers_are_asked_where_they_are_named(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(sharing, "connect", lambda url: asked.append(url) or Ping(asked))
    monkeypatch.setattr(sharing, "Remote", lambda url: asked.append(url) or Ping(asked))
    cache = Cache(tmp_path, Settings(url="memory://x", redis_url="redis://host"))
    cache.check_servers()
    assert asked == ["memory://x", "redis://host", "checked", "pinged"]
    Cache(tmp_path, Settings(redis_url="redis://other"), redis=Ping(asked)).check_servers()
    assert asked[4:] == ["pinged"], "the client that was given"


class Ping:
    def __init__(self, asked):
        self.asked = asked

    def ping(self):
        self.asked.append("pinged")

    def check(self):
        self.asked.append("checked")


def test_the_environment_is_read_when_nothing_is_given(tmp_path, monkeypatch):
    monkeypatch.setenv("NIGHTGATE_CACHE_BYTES", "7")
    assert Cache(tmp_path).settings.limit == 7
    assert Cache(tmp_path, Settings(limit=8)).settings.limit == 8
    assert Cache(tmp_path).events.file == Events(tmp_path).file == tmp_path / ".state" / "events.sqlite"
