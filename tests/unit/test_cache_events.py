"""What the cache counts, and who can read it."""

from __future__ import annotations

import multiprocessing
import os

import pytest

from nightgate.artifacts import Cache, Settings
from nightgate.artifacts.events import Events
from nightgate.artifacts.leases import touch
from nightgate.terminal.cached import lines


def write(folder):
    (folder / "a").write_bytes(b"x" * 1000)


def _count(root):
    for _ in range(100):
        Events(root).request("hit", saved=0.5)


def test_no_count_is_lost_between_processes(tmp_path):
    workers = [multiprocessing.get_context("fork").Process(target=_count, args=(tmp_path,)) for _ in range(4)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join(30)
    assert Events(tmp_path).totals() == {"requests.hit": 400, "build_seconds_saved": 200.0}


def test_each_way_a_request_ends_is_counted(tmp_path):
    cache = Cache(tmp_path, Settings())
    made = cache.get("kind", {}, write)
    cache.get("kind", {}, write)
    (made.path / "a").write_bytes(b"x")
    cache.get("kind", {}, write)
    totals = cache.events.totals()
    assert {name: totals[f"requests.{name}"] for name in ("hit", "miss", "rebuilt")} == {
        "hit": 1,
        "miss": 1,
        "rebuilt": 1,
    }
    assert totals["evictions.damaged"] == 1
    assert totals["build_seconds_saved"] == pytest.approx(made.build_seconds)


def test_waits_fall_into_buckets(tmp_path):
    events = Events(tmp_path)
    events.wait("room", 0.3)
    events.wait("room", 7200)
    totals = events.totals()
    assert (totals["waits.room"], totals["wait_seconds.room"]) == (2, 7200.3)
    assert "wait_bucket.room.0.1" not in totals
    assert (totals["wait_bucket.room.0.5"], totals["wait_bucket.room.1800"]) == (1, 1)


@pytest.mark.parametrize("text", ["", "no database at all, and longer than the header of one: " * 5])
def test_a_damaged_file_starts_anew_and_fails_nobody(tmp_path, text):
    events = Events(tmp_path)
    events.request("hit")
    events.file.write_text(text)
    assert events.totals() == {}
    events.request("hit")
    events.request("hit")
    assert events.totals()["requests.hit"] in (1, 2), "what finds the damage may be lost"


def test_a_file_that_cannot_be_written_fails_nobody(tmp_path, caplog):
    (tmp_path / ".state").touch()  # a file where the folder should be
    Events(tmp_path).request("hit")
    assert "counters could not be written" in caplog.text


def test_uses_are_ordered_whatever_the_clock_says(tmp_path):
    first, second = tmp_path / "first", tmp_path / "second"
    first.touch(), second.touch()
    touch(tmp_path, first, 2e9)
    touch(tmp_path, second, 1e9)
    assert os.stat(first).st_mtime_ns < os.stat(second).st_mtime_ns


def test_the_list_shows_users_limit_and_totals(tmp_path):
    cache = Cache(tmp_path, Settings(limit=2_000_000_000))
    held, free = cache.get("kind", {"n": 1}, write), cache.get("kind", {"n": 2}, write)
    free.release()
    shown = list(lines(cache))
    assert f"kind/{held.digest}" in shown[0] and f"in use: pid {os.getpid()}" in shown[0]
    assert f"kind/{free.digest}" in shown[1] and "in use" not in shown[1]
    assert shown[2] == "2 artefacts, 2.00 kB of 2.00 GB, 0 waiting for room"
    assert shown[3].startswith("requests: 0 hit, 2 miss, 0 rebuilt, 0 fetched; evictions: 0 limit")
