"""How many queries a search answers per second in batches of each size, and how long one takes alone."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from gpu.asked import BATCHES
from gpu.outcome import Finding
from nightgate.judge import comparison
from nightgate.measure import estimates
from nightgate.measure.clock import time_calls
from nightgate.measure.load import closed_loop

_WARM = 3
MOST = 200  # batches of a size, and queries that are asked alone


@dataclass(frozen=True)
class Speeds:
    """``alone_ns``: int64, (queries,), of one query after the other. ``seconds``: batch → of one query in each pass."""

    alone_ns: np.ndarray
    seconds: dict[int, np.ndarray]


def measure(ask_many: Callable[[np.ndarray], Any], queries: np.ndarray, seconds: float, most: int = MOST) -> Speeds:
    """``ask_many`` answers queries (n, dim) and returns when it is done; each size of batch is measured for ``seconds``, and
    for one pass over its batches at least."""
    alone, _ = time_calls(lambda query: ask_many(query[None]), queries[:most], passes=1, warmup=queries[:_WARM])
    found = {}
    for size in BATCHES:
        batches = _batches(queries, size, most)
        ask_many(batches[0])
        load = closed_loop(ask_many, batches, seconds)
        found[size] = load.durations_ns.sum(axis=1) / 1e9 / load.sizes.sum()
    return Speeds(alone[0], found)


def _batches(queries: np.ndarray, size: int, most: int) -> Sequence[np.ndarray]:
    """Whole ones, at most so many; the queries come again where a batch holds more than there are."""
    repeated = np.concatenate([queries] * -(-size // len(queries)))
    count = min(len(repeated) // size, most)
    return [repeated[start * size : (start + 1) * size] for start in range(count)]


def findings(speeds: Speeds) -> list[Finding]:
    """P50 and P95 alone, and queries per second in batches, each with its interval."""
    seconds = speeds.alone_ns / 1e9
    found = [
        _of("P50, one by one", estimates.quantile(seconds, 0.5), "seconds"),
        _of("P95, one by one", estimates.quantile(seconds, 0.95), "seconds"),
    ]
    for size, spent in speeds.seconds.items():
        value, n, bounds = estimates.mean(spent)
        rates = (1 / bounds[1], 1 / bounds[0]) if bounds and bounds[0] > 0 else None
        found.append(_of(f"queries per second, batches of {size:,}", (1 / value, n, rates), "per_second"))
    return found


def speedup(fast: np.ndarray, slow: np.ndarray) -> tuple[float, tuple[float, float] | None]:
    """How many times as fast the first is, by seconds of repeats, and the interval of that where repeats allow one."""
    found = comparison.speeds(fast, slow, confidence=estimates.CONFIDENCE)
    return found.value, found.interval


def _of(name: str, estimate: estimates.Estimate, unit: str) -> Finding:
    return Finding(name=name, value=estimate[0], unit=unit, ci95=estimate[2])
