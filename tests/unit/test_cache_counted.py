"""What a cache tells of itself: its state, and which cache it is."""

from __future__ import annotations

from nightgate.artifacts import Cache, Settings
from nightgate.artifacts.counted import Counted, counted


def write(folder):
    (folder / "a").write_bytes(b"x" * 70)


def test_its_state_in_numbers(tmp_path):
    cache = Cache(tmp_path, Settings(limit=10**6))
    for number in (1, 2, 2):
        cache.get("kind", {"n": number}, write).release()
    cache.events.eviction("gc")
    found = counted(cache, "east")
    assert (found.host, found.entries, found.bytes, found.limit, found.waiters) == ("east", 2, 140, 10**6, 0)
    assert {name: found.counts[name] for name in ("requests.miss", "requests.hit", "evictions.gc")} == {
        "requests.miss": 2, "requests.hit": 1, "evictions.gc": 1,
    }  # fmt: skip
    assert Counted.model_validate_json(found.model_dump_json()) == found


def test_which_one_it_is_stays_and_is_no_other(tmp_path):
    first = counted(Cache(tmp_path / "one"), "east")
    assert counted(Cache(tmp_path / "one"), "west").cache == first.cache
    assert counted(Cache(tmp_path / "two"), "east").cache != first.cache
    assert (first.entries, first.limit, first.counts) == (0, None, {})
