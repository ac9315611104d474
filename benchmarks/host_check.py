"""Is a quiet host called quiet, and a disturbed one disturbed? On a quiet machine, in about four minutes.

`make host-check` takes short measurements, in which this process computes as an engine would, while another program does what
each line says once they have begun, and prints as Markdown how many were called disturbed and what was seen in them. What is known of the host is
gathered anew in a scratch folder, from the quiet ones, which come first.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from beside import beside
from nightgate.facts import Noise
from nightgate.measure import host

_CORE = "while True: sum(range(10_000))"
_MEMORY = """
import numpy as np
data = np.ones(2**25)
into = np.empty_like(data)
while True:
    np.copyto(into, data)
"""
_BURSTS = """
import random, time
draw = random.Random({seed})
while True:
    end = time.monotonic() + draw.uniform(0.5, 5)
    while time.monotonic() < end:
        sum(range(1000))
    time.sleep(draw.uniform(0.5, 5))
"""
_SERVICE = """
import time
while True:
    end = time.monotonic() + 0.05
    while time.monotonic() < end:
        sum(range(1000))
    time.sleep(0.95)
"""


@dataclass(frozen=True)
class Scene:
    """What another program does meanwhile, and whether that disturbs."""

    title: str
    program: str | None
    disturbs: bool
    share: float
    """Of the trials."""


SCENES = (
    Scene("nothing", None, False, 0.36),
    Scene("a service awake for a twentieth of the time", _SERVICE, False, 0.14),
    Scene("one core at work", _CORE, True, 0.14),
    Scene("memory copied all the time", _MEMORY, True, 0.14),
    Scene("bursts of 0.5 to 5 s, pauses as long", _BURSTS, True, 0.22),
)


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__)
    asked.add_argument("--trials", type=int, default=28)
    asked.add_argument(
        "--seconds", type=float, default=6.0, help="of one measurement, without the second before and after"
    )
    asked.add_argument("--seed", type=int, default=1)
    given = asked.parse_args()
    lines, wrong = [], 0
    with tempfile.TemporaryDirectory(prefix="nightgate-host-check-") as folder:
        print(
            f"{host.describe().cpu}, {host.describe().cores} cores; {host.told(host.look(Path(folder)))}",
            file=sys.stderr,
        )
        for scene in SCENES:
            found = []
            for number in range(max(1, round(scene.share * given.trials))):
                found.append(_trial(scene, Path(folder), given.seconds, given.seed + number))
                print(f"{scene.title}: {found[-1].disturbed or 'quiet'}", file=sys.stderr, flush=True)
            wrong += sum(bool(noise.disturbed) is not scene.disturbs for noise in found)
            lines.append(_line(scene, found))
    head = "| meanwhile | called disturbed | cores busy by others | computing, ms | memory, GB/s | cache, ns | sleeps late, µs | core lost | stolen | fast |"
    print(head, "|---" * 10 + "|", *lines, sep="\n")
    raise SystemExit(f"{wrong} of them wrongly" if wrong else 0)


def _trial(scene: Scene, home: Path, seconds: float, seed: int) -> Noise:
    with host.quiet(home) as noise, beside(scene.program and scene.program.format(seed=seed)):
        end = time.monotonic() + seconds
        numbers = np.random.default_rng(seed).standard_normal((200, 200))
        while time.monotonic() < end:
            pause = time.monotonic() + 0.05
            while time.monotonic() < pause:
                sum(x * x for x in range(1000))
                numbers @ numbers[:, 0]
            for _ in range(20):  # and as one who waits for requests: what it does is counted in ticks
                time.sleep(0.002)
                sum(range(10_000))
            host.glance()
    return noise


def _line(scene: Scene, found: list[Noise]) -> str:
    def span(values: list[float | None], scale: float = 1.0, digits: int = 2) -> str:
        known = [value * scale for value in values if value is not None]
        return f"{min(known):.{digits}f}–{max(known):.{digits}f}" if known else "not counted"

    def part(name: str, scale: float, digits: int) -> str:
        between = [noise.samples[1:-1] or noise.samples for noise in found]  # before and after nobody is at work
        return span([statistics.median(getattr(one, name) for one in samples) for samples in between], scale, digits)

    called = sum(bool(noise.disturbed) for noise in found)
    wanted = "all" if scene.disturbs else "0"
    return (
        f"| {scene.title} | {called} of {len(found)} ({wanted} wanted) | {span([noise.others for noise in found])} | {part('cpu', 1e3, 1)} "
        f"| {part('memory', 1e-9, 1)} | {part('cache', 1e9, 1)} | {part('late', 1e6, 0)} | {part('lost', 1, 3)} "
        f"| {span([noise.stolen for noise in found], digits=3)} | {span([noise.at_full_speed for noise in found])} |"
    )


if __name__ == "__main__":
    main()
