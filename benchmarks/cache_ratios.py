"""The artefact cache: how soon a hit is there, how soon the others have what one built, what the bookkeeping costs.

`make ratios-cache` takes about a minute and 2 GB of disk, in a folder of its own that is removed afterwards.
"""

from __future__ import annotations

import json
import logging
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count, cycle
from pathlib import Path
from statistics import median, quantiles

import numpy as np
from rich.console import Console
from rich.table import Table as Screen

from nightgate import paths
from nightgate.artifacts import Cache, Settings
from nightgate.measure import host

ROWS, DIM = 1_000_000, 256  # 1 GB of float32
PROCESSES, ROUNDS = 8, 5
ENTRIES, REQUESTS, BUILDS = 10_000, 2_000, 20


def main() -> None:
    logging.basicConfig(level=logging.WARNING, format="%(asctime)s %(message)s", stream=sys.stderr)
    home = paths.home() / "ratios" / "cache"
    shutil.rmtree(home, ignore_errors=True)
    screen = Screen("what", "measured", "wanted", title=f"{host.describe().cpu}, {host.describe().cores} cores")
    try:
        for row in (*large_array(home / "large"), *crowd(home / "crowd"), *many_entries(home / "many")):
            screen.add_row(*row)
    finally:
        shutil.rmtree(home, ignore_errors=True)
    Console(width=140).print(screen)


def large_array(root: Path) -> list[tuple[str, str, str]]:
    """From the request to the first byte of a mapped array of 1 GB, and what the first request of a process costs."""

    def build(folder: Path) -> None:
        array = np.lib.format.open_memmap(folder / "base.npy", "w+", np.float32, (ROWS, DIM))
        array[:] = np.arange(DIM, dtype=np.float32)

    cache = Cache(root, Settings())
    cache.get("vectors", {}, build).release()

    def hit() -> None:
        made = cache.get("vectors", {}, build)
        assert np.load(made.path / "base.npy", mmap_mode="r")[0, 1] == 1
        made.release()

    spent = times(hit, 200)
    code = "import sys, time; from pathlib import Path; from nightgate.artifacts import Cache, Settings\n"
    code += "cache = Cache(Path(sys.argv[1]), Settings()); start = time.perf_counter()\n"
    code += "cache.get('vectors', {}, None); print(time.perf_counter() - start)"
    first = float(
        subprocess.run([sys.executable, "-c", code, root], stdout=subprocess.PIPE, text=True, check=True).stdout
    )
    return [
        ("hit on a 1 GB array to its first byte, median", f"{median(spent):.2f} ms", "≤ 5 ms"),
        ("the same, P99 of 200", f"{quantiles(spent, n=100)[-1]:.2f} ms", ""),
        ("first request of a process, every byte hashed", f"{first:.2f} s", ""),
    ]


WANT = """
import json, os, sys, time
from pathlib import Path
from nightgate.artifacts import Cache, Settings

built = None

def build(folder):
    global built
    time.sleep(1)
    (folder / "a").write_bytes(bytes(1_000_000))
    built = True

cache = Cache(Path(sys.argv[1]), Settings())
print("ready", flush=True)
sys.stdin.readline()
cache.get("kind", {}, build)
print(json.dumps({"built": built, "at": time.monotonic()}), flush=True)
"""


def crowd(root: Path) -> list[tuple[str, str, str]]:
    """Eight processes ask for one missing key at the same moment, several times over."""
    builds, late = [], []
    for number in range(ROUNDS):
        started = [
            subprocess.Popen([sys.executable, "-c", WANT, root / str(number)], stdin=subprocess.PIPE,
                             stdout=subprocess.PIPE, text=True)
            for _ in range(PROCESSES)
        ]  # fmt: skip
        for process in started:
            assert process.stdout
            process.stdout.readline()
        for process in started:
            assert process.stdin
            process.stdin.write("\n")
            process.stdin.flush()
        said = [json.loads(process.communicate()[0]) for process in started]
        (builder,) = [one for one in said if one["built"]]
        builds.append(sum(bool(one["built"]) for one in said))
        late += [1e3 * (one["at"] - builder["at"]) for one in said if not one["built"]]
    return [
        (f"builds when {PROCESSES} processes want one missing key, most of {ROUNDS} rounds", str(max(builds)), "1"),
        ("the others have it after the builder, median", f"{median(late):.0f} ms", ""),
        ("the last of them in any round", f"{max(late):.0f} ms", "≤ 100 ms"),
    ]


def many_entries(root: Path) -> list[tuple[str, str, str]]:
    """A hit and a build among 10,000 entries, with a byte limit."""
    cache = Cache(root, Settings(limit=10**9))
    made = cache.get("kind", {"n": 0}, small)
    made.release()
    manifest = (made.path / "manifest.json").read_bytes()
    for number in range(1, ENTRIES):  # copies of one: building each would wait for the disk 10,000 times
        copy = made.path.with_name(f"{number:020d}")
        copy.mkdir()
        os.link(made.path / "a", copy / "a")
        (copy / "manifest.json").write_bytes(manifest)
    keys = [{"n": number} for number in range(50)]
    for key in keys:
        cache.get("kind", key, small).release()
    hits = times(partial(ask, cache, cycle(keys)), REQUESTS)
    builds = times(partial(ask, cache, ({"new": number} for number in count())), BUILDS)
    return [
        (f"a hit among {ENTRIES:,} entries, median", f"{median(hits):.2f} ms", "≤ 1 ms"),
        (f"the same, P99 of {REQUESTS:,}", f"{quantiles(hits, n=100)[-1]:.2f} ms", ""),
        ("a build among them under a byte limit, median", f"{median(builds):.0f} ms", ""),
    ]


def ask(cache: Cache, keys: Iterator[dict[str, int]]) -> None:
    cache.get("kind", next(keys), small).release()


def small(folder: Path) -> None:
    (folder / "a").write_bytes(b"x")


def times(action: Callable[[], object], calls: int) -> list[float]:
    """Milliseconds of each call."""
    spent = []
    for _ in range(calls):
        start = time.perf_counter()
        action()
        spent.append(1e3 * (time.perf_counter() - start))
    return spent


if __name__ == "__main__":
    main()
