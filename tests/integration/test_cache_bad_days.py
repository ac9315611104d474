"""The cache on bad days: builders that are killed, a disk that fills up, bytes that flip, many who want the same."""

from __future__ import annotations

import os
import random
import subprocess
import sys
import time

import pytest

from nightgate.artifacts import Cache, Settings
from nightgate.errors import ArtifactError

ASK = """
import os, sys, time
from pathlib import Path
from nightgate.artifacts import Cache

def build(folder):
    with open(sys.argv[2], "a") as built:
        built.write(f"{os.getpid()}\\n")
    for number, size in enumerate((300_000, 1, 700_000)):
        with open(folder / str(number), "wb", buffering=0) as file:
            for _ in range(10):
                file.write(bytes([number]) * (size // 10 or 1))
                time.sleep(float(sys.argv[3]) / 30)
    return {"files": 3}

print("asks", flush=True)
made = Cache(Path(sys.argv[1])).get("kind", {"n": 1}, build)
assert [(made.path / str(n)).stat().st_size for n in range(3)] == [300_000, 10, 700_000], "torn"
assert made.facts == {"files": 3}
print("has it", flush=True)
"""


def ask(root, seconds, **environment):
    """A process that wants the artefact and takes ``seconds`` to build it."""
    return subprocess.Popen(
        [sys.executable, "-c", ASK, str(root / "cache"), str(root / "built"), str(seconds)],
        stdout=subprocess.PIPE, text=True, env=os.environ | environment,
    )  # fmt: skip


def builds(root):
    return (root / "built").read_text().splitlines()


def test_a_builder_killed_at_any_moment_leaves_nothing_torn(tmp_path):
    """From its first byte to after its rename: the next one gets a whole artefact, and the litter goes."""
    chance, finished = random.Random(20), 0
    cache = Cache(tmp_path / "cache", Settings())

    def build(folder):
        for number, size in enumerate((300_000, 10, 700_000)):
            (folder / str(number)).write_bytes(bytes([number]) * size)
        return {"files": 3}

    for _ in range(20):
        victim = ask(tmp_path, 0.1)
        victim.stdout.readline()
        time.sleep(chance.uniform(0, 0.25))
        victim.kill()
        victim.communicate()
        assert cache.damaged() == []
        made = cache.get("kind", {"n": 1}, build)
        finished += made.hit
        assert made.facts == {"files": 3}
        assert [set((made.path / str(n)).read_bytes()) for n in range(3)] == [{0}, {1}, {2}]
        assert made.size == 1_000_010
        cache.sweep()
        assert [path.name for path in (tmp_path / "cache" / "kind").iterdir()] == [made.digest]
        made.release()
        assert cache.collect(0) == [made]
    assert 0 < finished < 20, "some were killed before the end and some after it"


def test_eight_processes_build_once(tmp_path):
    crowd = [ask(tmp_path, 0.5) for _ in range(8)]
    assert [one.communicate(timeout=60)[0] for one in crowd] == ["asks\nhas it\n"] * 8
    assert len(builds(tmp_path)) == 1
    totals = Cache(tmp_path / "cache").events.totals()
    assert (totals["requests.miss"], totals["requests.hit"]) == (1, 7)


def test_the_next_in_line_builds_when_the_builder_is_killed(tmp_path):
    first = ask(tmp_path, 60)
    while not (tmp_path / "built").exists():
        time.sleep(0.01)
    second = ask(tmp_path, 0)
    second.stdout.readline()
    time.sleep(0.2)
    first.kill()
    first.communicate()
    assert second.communicate(timeout=60)[0] == "has it\n"
    assert builds(tmp_path) == [str(first.pid), str(second.pid)]


def test_a_flipped_byte_is_found_rebuilt_and_counted(tmp_path):
    assert ask(tmp_path, 0).communicate(timeout=60)[0].endswith("has it\n")
    cache = Cache(tmp_path / "cache")
    [made] = cache.entries()
    with open(made.path / "2", "r+b") as file:
        file.seek(654_321)
        file.write(b"!")
    assert cache.damaged() == [made.path]
    assert ask(tmp_path, 0).communicate(timeout=60)[0].endswith("has it\n")
    assert len(builds(tmp_path)) == 2
    assert cache.damaged() == []
    totals = cache.events.totals()
    assert (totals["requests.rebuilt"], totals["evictions.damaged"]) == (1, 1)


def test_a_full_disk_is_said_and_leaves_nothing(tiny_disk):
    cache = Cache(tiny_disk / "cache")

    def too_much(folder):
        for number in range(10):
            (folder / str(number)).write_bytes(b"x" * 1_000_000)

    with pytest.raises(ArtifactError, match=r"the disk of .* was full before kind/.*Next step: free some space"):
        cache.get("kind", {}, too_much)
    assert cache.entries() == []
    assert list((tiny_disk / "cache" / "kind").iterdir()) == []
    assert cache.get("kind", {}, lambda folder: (folder / "a").write_bytes(b"x") and None).size == 1


def test_a_disk_that_is_full_already_serves_what_is_there(tiny_disk):
    cache = Cache(tiny_disk / "cache")
    cache.get("kind", {}, lambda folder: (folder / "a").write_bytes(b"x") and None)
    with pytest.raises(OSError, match="No space"), open(tiny_disk / "filler", "wb", buffering=0) as filler:
        while True:
            filler.write(b"x" * 4096)
    assert cache.get("kind", {}, lambda folder: pytest.fail("built")).hit
    with pytest.raises(ArtifactError, match="was full"):
        cache.get("kind", {"n": 2}, lambda folder: (folder / "a").write_bytes(b"x" * 8192) and None)
