"""The cache's counters by name and value, its marks of use, and its settings."""

from __future__ import annotations

import subprocess
import sys

import pytest

from nightgate.artifacts import events, settings
from nightgate.artifacts.events import Events
from nightgate.artifacts.leases import touch
from nightgate.errors import InputError


def test_each_event_has_its_counters(tmp_path):
    counted = Events(tmp_path)
    assert counted.totals() == {}
    counted.request("miss")
    counted.request("hit", saved=2.5, waited=0.0)
    counted.request("fetched", saved=1.5, waited=700.0)
    counted.eviction("gc")
    counted.wait("room", 1.0)
    counted.wait("room", 1.01)
    counted.add({"builds_refused": 2})
    every = ("0.1", "0.5", "1", "5", "15", "60", "300", "600", "1800")
    assert counted.totals() == {
        "requests.miss": 1, "requests.hit": 1, "requests.fetched": 1, "build_seconds_saved": 4.0,
        "evictions.gc": 1, "builds_refused": 2,
        "waits.flight": 2, "wait_seconds.flight": 700.0,
        **{f"wait_bucket.flight.{bound}": 1 for bound in every[:-1]}, "wait_bucket.flight.1800": 2,
        "waits.room": 2, "wait_seconds.room": 2.01,
        "wait_bucket.room.1": 1, **{f"wait_bucket.room.{bound}": 2 for bound in every[3:]},
    }  # fmt: skip


def test_counting_makes_its_folder(tmp_path):
    counted = Events(tmp_path / "new" / "home")
    counted.request("miss")
    counted.request("miss")
    assert counted.totals() == {"requests.miss": 2}


def test_the_names_that_others_read_are_these():
    assert events.RESULTS == ("hit", "miss", "rebuilt", "fetched")
    assert events.REASONS == ("limit", "gc", "damaged")
    assert events.WAITS == ("room", "flight")
    assert events.WAIT_BUCKETS == (0.1, 0.5, 1.0, 5.0, 15.0, 60.0, 300.0, 600.0, 1800.0)


def test_a_count_that_was_cut_off_is_undone_and_the_next_one_stands(tmp_path):
    counted = Events(tmp_path)
    counted.add({"a": 1.5})
    code = "import os, sys; from pathlib import Path; from nightgate.artifacts.events import Events\n"
    code += "with Events(Path(sys.argv[1]))._open() as database:\n"
    code += " database.execute('UPDATE counts SET value = 7'); os.kill(os.getpid(), 9)"
    assert subprocess.run([sys.executable, "-c", code, str(tmp_path)], check=False).returncode == -9
    assert counted.totals() == {"a": 1.5}
    counted.add({"a": 1, "b": 2})
    assert counted.totals() == {"a": 2.5, "b": 2}


def test_who_keeps_the_file_locked_fails_nobody(tmp_path, monkeypatch, caplog):
    counted = Events(tmp_path)
    counted.request("hit")
    monkeypatch.setattr(events, "_LOCK_SECONDS", 0.05)
    with counted._open() as database:
        database.execute("BEGIN EXCLUSIVE")
        counted.request("hit")
        assert counted.totals() == {}
    assert "the cache's counters could not be written (database is locked)" in caplog.text
    assert counted.totals() == {"requests.hit": 1}, "and it was not taken for a damaged one"


def test_marks_of_use_only_grow(tmp_path):
    files = [tmp_path / name for name in "abc"]
    for file, now in zip(files, (50.0, 50.0, 20.0), strict=True):
        file.touch()
        touch(tmp_path, file, now)
    newest = tmp_path / ".state" / "newest"
    assert [file.stat().st_mtime_ns for file in (*files, newest)] == [
        50 * 10**9, 50 * 10**9 + 1000, 50 * 10**9 + 2000, 50 * 10**9 + 2000,
    ]  # fmt: skip
    touch(tmp_path / "new", files[0], 0.0)
    assert files[0].stat().st_mtime_ns == 1000, "the first mark of all"
    touch(tmp_path, files[0], 60.5)
    assert files[0].stat().st_mtime_ns == newest.stat().st_mtime_ns == 60_500_000_000
    assert files[0].stat().st_atime_ns == 60_500_000_000


def test_a_cache_without_settings_is_private_and_without_a_limit(monkeypatch):
    for name in ("BYTES", "PATIENCE", "URL"):
        monkeypatch.delenv(f"NIGHTGATE_CACHE_{name}", raising=False)
    found = settings.from_environment()
    assert found == settings.Settings()
    assert (found.limit, found.patience, found.url, found.redis_url, found.lock_life) == (None, 600.0, None, None, 30.0)
    assert found.clock is settings.time.time
    for name in (settings.URL, settings.REDIS, settings.LIMIT, settings.PATIENCE):
        monkeypatch.setenv(name, "")
    assert settings.from_environment() == settings.Settings(), "empty is unset"


def test_each_variable_is_read_by_its_name(monkeypatch):
    given = {"NIGHTGATE_CACHE_BYTES": "3", "NIGHTGATE_CACHE_PATIENCE": "0", "NIGHTGATE_CACHE_URL": "file:///x", "NIGHTGATE_REDIS_URL": "redis://y"}  # fmt: skip
    for name, value in given.items():
        monkeypatch.setenv(name, value)
    found = settings.from_environment()
    assert (found.limit, found.patience, found.url, found.redis_url) == (3, 0.0, "file:///x", "redis://y")


@pytest.mark.parametrize("text", ["-1", "inf", "nan", "soon"])
def test_what_is_no_number_of_seconds_is_refused(monkeypatch, text):
    monkeypatch.setenv("NIGHTGATE_CACHE_PATIENCE", text)
    with pytest.raises(InputError) as caught:
        settings.from_environment()
    assert caught.value.what == f"NIGHTGATE_CACHE_PATIENCE={text!r} is no number of seconds"
    assert caught.value.next_step == "write seconds, for example 600"


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("1k", 1000),
        ("1 KiB", 1024),
        ("2mb", 2 * 10**6),
        ("3TiB", 3 * 2**40),
        ("1PB", 10**15),
        (" 2.5 ", 2),
        ("1.5KiB", 1536),
    ],
)
def test_units_are_powers_of_a_thousand_and_of_1024(text, size):
    assert settings.parse_bytes(text) == size


def test_what_is_no_size_is_named():
    with pytest.raises(InputError) as caught:
        settings.parse_bytes("much")
    assert caught.value.what == "NIGHTGATE_CACHE_BYTES='much' is no size"
    assert caught.value.next_step == "write bytes, or a number with a unit: 20GB, 20GiB"


def test_more_counters_than_fit_into_a_page_are_kept(tmp_path):
    counted = Events(tmp_path)
    many = {f"requests.of_a_kind_that_has_a_long_name_{n}": n for n in range(400)}
    counted.add(many)
    counted.add({"requests.hit": 1})
    assert counted.totals() == many | {"requests.hit": 1}
