"""How often does the watch cry wolf, and how soon does it see? Simulated years, watched by the code that watches real nights.

`make watching`; ARGS="--years 300" for the figures of docs/judging.md. The nights scatter by a known amount, and what
happens to them is known, so false alerts and missed shifts can be counted. A confirming run and its control share what
disturbs the host, of which their ratio takes off ``--taken-off`` (85 %: to be measured by `make duet-aa` on a real host).
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from statistics import fmean

import numpy as np

from nightgate.regression.dating import dated
from nightgate.regression.suite import Beside, Suite, Tonight
from nightgate.regression.thresholds import Thresholds, thresholds

SERIES, NIGHTS, ROUNDS = 20, 365, 3
OUTLIERS, LASTING = 0.02, 0.3  # of nights; of outliers those that last until it is measured again
OUTLIER_SD = 0.10
PHASE_EVERY, PHASE_SD = 60, 0.03  # a host that is slower for some nights


@dataclass(frozen=True)
class World:
    """How nights scatter: ``sd`` of the logarithm, ``tails`` the degrees of freedom of Student's t (None: normal), ``builds``
    how many series have an index that is built anew every ``rebuilt`` nights on average and then differs by ``build_sd``."""

    sd: float = 0.02
    tails: float | None = None
    builds: int = 0
    build_sd: float = 0.08
    rebuilt: float = 30.0
    taken_off: float = 0.85
    alerts: float = 1.0


@dataclass
class Year:
    """What came of a year: (night, series) of each alert and each confirmed improvement; how many were asked again."""

    alerts: list[tuple[int, int]] = field(default_factory=list)
    better: list[tuple[int, int]] = field(default_factory=list)
    asked: int = 0
    hosts: int = 0
    suite: Suite[int] | None = None


Shift = Callable[[int], float]
"""Night → by how much the first series is truly worse."""


def live(
    world: World, chance: np.random.Generator, shift: Shift, nights: int = NIGHTS, limits: Thresholds | None = None,
    until: Callable[[Year], bool] = lambda year: False,
) -> tuple[Year, np.ndarray]:  # fmt: skip
    """One year, night by night; also the first series as it was measured."""
    suite: Suite[int] = Suite(
        dict.fromkeys(range(SERIES), "speed"), {"speed": limits or thresholds(world.alerts, SERIES)}
    )
    year, first = Year(suite=suite), np.full(nights, np.nan)
    builds, levels, phase, left = np.zeros(SERIES, int), np.zeros(SERIES), 0.0, 0
    control = np.zeros(SERIES)  # the level of the build that each control keeps

    def noise(size: int | tuple[int, ...]) -> np.ndarray:
        if world.tails is None:
            return chance.normal(0, world.sd, size)
        return chance.standard_t(world.tails, size) * world.sd * math.sqrt((world.tails - 2) / world.tails)

    for night in range(nights):
        if left == 0 and chance.random() < 1 / PHASE_EVERY:
            phase, left = abs(chance.normal(0, PHASE_SD)), int(chance.integers(3, 10))
        left = max(0, left - 1)
        phase = phase if left else 0.0
        for series in range(world.builds):
            if chance.random() < 1 / world.rebuilt:
                builds[series] += 1
                levels[series] = chance.normal(0, world.build_sd)
        true = levels + np.where(np.arange(SERIES) == 0, shift(night), 0.0)
        wild = np.where(chance.random(SERIES) < OUTLIERS, np.abs(chance.normal(0, OUTLIER_SD, SERIES)), 0.0)
        values = true + phase + wild + noise(SERIES)
        first[night] = values[0]
        found = suite.night(
            {
                one: Tonight(float(values[one]), str(builds[one]) if one < world.builds else None)
                for one in range(SERIES)
            }
        )
        for one, candidate in found.items():
            disturbed = phase + (wild[one] if chance.random() < LASTING else 0.0)
            left_over = (1 - world.taken_off) * disturbed
            ours = true[one] + disturbed + noise(ROUNDS)
            theirs = control[one] + disturbed - left_over + noise(ROUNDS)
            same = one >= world.builds or levels[one] == control[one]
            answer = suite.decide(one, candidate, Beside(ours.tolist(), theirs.tolist(), same))
            year.asked += 1
            year.hosts += answer.host
            if answer.confirmed:
                (year.alerts if candidate.worse else year.better).append((night, one))
        for course in suite.courses.values():
            course.recovered(suite.limits["speed"]) or course.lasting()
        if until(year):
            break
    return year, first


def still(world: World, years: int, seed: int) -> str:
    """Years in which nothing happens."""
    found = [live(world, np.random.default_rng([seed, year]), lambda night: 0.0)[0] for year in range(years)]
    alerts = [len(year.alerts) for year in found]
    return " | ".join(
        (
            f"{fmean(alerts):.2f}", f"{100 * fmean(count <= 2 for count in alerts):.0f} %",
            f"{fmean(len(year.better) for year in found):.2f}", f"{fmean(year.asked for year in found):.0f}",
        )
    )  # fmt: skip


def seen(
    world: World, shift: Callable[[int], float], repeats: int, seed: int, before: int = 60
) -> tuple[list[float], float]:
    """After how many nights a shift of the first series is seen (0: the same night; inf: not within 30), and how often it
    is dated to within a night five nights after the alert."""
    delays, right, counted = [], 0, 0
    for repeat in range(repeats):
        chance = np.random.default_rng([seed, repeat])
        year, first = live(
            world, chance, lambda night: shift(night - before) if night >= before else 0.0, before + 30,
        )  # fmt: skip
        own = [night - before for night, series in year.alerts if series == 0 and night >= before]
        delays.append(own[0] if own else math.inf)
        if own and own[0] <= 5:
            counted += 1
            end = before + own[0] + 6
            place = dated(first[max(0, end - 60) : end].tolist())
            right += place is not None and abs(max(0, end - 60) + place - before) <= 1
    return delays, right / counted if counted else math.nan


def share(delays: Sequence[float], within: float) -> str:
    return f"{100 * fmean(delay <= within for delay in delays):.0f} %"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--years", type=int, default=60)
    parser.add_argument("--repeats", type=int, default=400)
    parser.add_argument("--seed", type=int, default=1)
    asked = parser.parse_args()
    usual, wide = World(), World(tails=5.0)
    worlds = {
        "2 % night noise": usual,
        "4 % night noise": World(sd=0.04),
        "t5-tailed nights": wide,
        "an index of 4 series built anew every 30 nights, sd 8 %": World(builds=4),
        "the control takes off half of a disturbance": World(taken_off=0.5),
        "5 alerts a year asked for": World(alerts=5.0),
    }
    print(f"{SERIES} series, {NIGHTS} nights without change, {asked.years} years\n")
    print("| nights | false alerts a year | years with 2 at most | confirmed improvements | asked again |")
    print("|---|---|---|---|---|")
    for name, world in worlds.items():
        print(f"| {name} | {still(world, asked.years, asked.seed)} |", flush=True)
    print(f"\n{asked.repeats} repeats\n")
    print("| what happens to one series | the same night | by night 7 | within 30 | median night | dated to a night |")
    print("|---|---|---|---|---|---|")
    steps = {
        "10 % step": (usual, lambda night: math.log(1.10)),
        "5 % step": (usual, lambda night: math.log(1.05)),
        ".3 % a night": (usual, lambda night: night * math.log(1.003)),
        "10 % step, t5-tailed nights": (wide, lambda night: math.log(1.10)),
        "10 % step, 4 % night noise": (World(sd=0.04), lambda night: math.log(1.10)),
    }
    for name, (world, shift) in steps.items():
        delays, right = seen(world, shift, asked.repeats, asked.seed)
        print(
            f"| {name} | {share(delays, 0)} | {share(delays, 6)} | {share(delays, 29)} | "
            f"{np.median(delays):.0f} | {100 * right:.0f} % |",
            flush=True,
        )
    chance = np.random.default_rng([asked.seed, 0])
    start = time.perf_counter()
    live(usual, chance, lambda night: 0.0)
    print(f"\nthe statistics of {NIGHTS} nights of {SERIES} series: {time.perf_counter() - start:.2f} s")


if __name__ == "__main__":
    main()
