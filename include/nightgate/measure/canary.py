"""How fast a host is right now, by four fixed pieces of work that other programs and machines slow down each in its way.

=============  ==================================================  ==============================================
part           the work                                            what slows it down
=============  ==================================================  ==============================================
computation    squares of 100,000 numbers, in Python               a slower clock, a busy twin of the core
memory         a copy of 32 MiB, more than a core's caches hold    whoever else moves much data
cache          131,072 numbers from random places in 4 MiB         whoever else fills the shared cache
scheduling     five sleeps of a millisecond, ten ms of asking       whoever else runs on this core; the hypervisor
               for the time
=============  ==================================================  ==============================================

Each takes 1 to 20 ms, and they take turns, so that all four see each state of the host.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

_SQUARES = 100_000
_COPIED = 2**25  # bytes
_CACHED = 2**20  # int32, 4 MiB
_PICKED = 2**17
_SLEEPS, _SLEEP = 5, 0.001
_SPIN = 10_000_000  # ns
GAP = 200_000
"""Nanoseconds. A loop that asks for the time goes round in 0.1 µs and is interrupted by the clock for some ten; who does not
come round for longer than this did not have its core."""


@dataclass(frozen=True)
class Readings:
    """Round by round: seconds of the computation, bytes copied per second, seconds per number picked; and over all rounds
    how much later than asked for the sleeps ended in the median, seconds, the longest gap of the loop, seconds, and the
    share of its time that passed in gaps longer than `GAP`."""

    cpu: tuple[float, ...]
    memory: tuple[float, ...]
    cache: tuple[float, ...]
    late: float
    longest_gap: float
    lost: float


class Canary:
    """Holds the memory that it works on, about 70 MiB, so that none is new when it is timed."""

    def __init__(self) -> None:
        import numpy as np

        self._from = np.ones(_COPIED // 8)
        self._to = np.zeros_like(self._from)
        self._numbers = np.arange(_CACHED, dtype=np.int32)
        self._places = np.random.default_rng(1).permutation(_CACHED)[:_PICKED]
        self._picked = np.empty(_PICKED, np.int32)

    def sample(self, seconds: float) -> Readings:
        """Rounds for about ``seconds``, one at least (some 40 ms)."""
        import numpy as np

        end = time.perf_counter() + seconds
        cpu, memory, cache, late, gaps, spun = [], [], [], [], [], 0
        self._pick()  # what ran before left the caches to others
        while True:
            cpu.append(_compute())
            memory.append(_COPIED / self._copy())
            self._pick()  # the copy has swept the cache
            cache.append(self._pick() / _PICKED)
            late += [_oversleep() for _ in range(_SLEEPS)]
            found = _spin()
            gaps += found.gaps
            spun += found.asked
            if time.perf_counter() >= end:
                break
        lost = sum(gap for gap in gaps if gap > GAP)
        return Readings(
            tuple(cpu), tuple(memory), tuple(cache), float(np.median(late)), max(gaps, default=0) / 1e9, lost / spun
        )

    def _copy(self) -> float:
        import numpy as np

        start = time.perf_counter()
        np.copyto(self._to, self._from)
        return time.perf_counter() - start

    def _pick(self) -> float:
        start = time.perf_counter()
        self._numbers.take(self._places, out=self._picked, mode="clip")
        return time.perf_counter() - start


@dataclass(frozen=True)
class _Spun:
    """Nanoseconds: how long the loop went on, and the gaps that were longer than a tenth of `GAP`."""

    asked: int
    gaps: list[int]


def _compute() -> float:
    start = time.perf_counter()
    total = 0
    for i in range(_SQUARES):
        total += i * i
    return time.perf_counter() - start


def _oversleep() -> float:
    start = time.perf_counter()
    time.sleep(_SLEEP)
    return time.perf_counter() - start - _SLEEP


def _spin() -> _Spun:
    ask = time.perf_counter_ns
    gaps = []
    start = last = ask()
    end = start + _SPIN
    while last < end:
        now = ask()
        if now - last > GAP // 10:
            gaps.append(now - last)
        last = now
    return _Spun(last - start, gaps)
