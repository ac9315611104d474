"""What every vector search says of the times it took."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import TYPE_CHECKING

from nightgate.facts import OpenLoop
from nightgate.measure import estimates
from nightgate.record import Record
from nightgate.vector_search.metrics import AT_FULL_SPEED, LATENCY, OPEN_LOOP_LATENCY, QPS

if TYPE_CHECKING:
    import numpy as np

log = logging.getLogger(__name__)


def add_latencies(record: Record, durations_ns: np.ndarray, processes: Sequence[int] | None = None) -> None:
    """``latency_p50|p95|p99`` and ``qps`` of queries that were timed one at a time, in whatever state the host was.

    Args:
        durations_ns: int64 nanoseconds, (passes, queries).
        processes: the process that each pass was made in; None: all in one.
    """
    seconds = durations_ns / 1e9
    for percentile, spec in LATENCY.items():
        q = percentile / 100
        found = estimates.quantile(seconds, q, processes=processes)
        record.add(spec, *found, shared=estimates.shared(seconds, q, processes=processes))
    # closed loop, one client: the next query starts when the last one is answered
    found = turned(*estimates.mean_of_passes(seconds, processes=processes))
    record.add(QPS, *found, shared=estimates.shared(seconds, processes=processes))


def add_at_full_speed(record: Record, durations_ns: np.ndarray, processes: Sequence[int]) -> None:
    """``latency_p50_fast|p95_fast|p99_fast``: as `add_latencies`, of calls that were made at the host's full speed alone."""
    seconds = durations_ns / 1e9
    for percentile, spec in AT_FULL_SPEED.items():
        q = percentile / 100
        found = estimates.quantile(seconds, q, processes=processes)
        record.add(spec, *found, shared=estimates.shared(seconds, q, processes=processes))


def add_open_loop(record: Record, loop: OpenLoop, latencies_ns: np.ndarray) -> None:
    """``open_loop_p50|p95|p99``, from the scheduled moment; of a loop that could not keep up none are stated.

    Args:
        latencies_ns: int64, one per query served.
    """
    if loop.saturated:
        log.warning(
            "%s cannot serve %g queries per second, so no open-loop latency is stated", record.variant, loop.rate
        )
        return
    for percentile, spec in OPEN_LOOP_LATENCY.items():
        record.add(spec, *estimates.quantile(latencies_ns / 1e9, percentile / 100))


def rate(per_second: np.ndarray) -> estimates.Estimate:
    """The queries per second over passes of so many each, float64 (passes,).

    Every pass is the same work, so their seconds are averaged: the mean of their rates would make light of slow ones.
    """
    return turned(*estimates.mean(1 / per_second))


def share(values: np.ndarray) -> estimates.Estimate:
    """The mean of shares, whose interval ends where shares do."""
    value, n, bounds = estimates.mean(values)
    return value, n, bounds and (max(0.0, bounds[0]), min(1.0, bounds[1]))


def turned(seconds: float, n: int, bounds: tuple[float, float] | None) -> estimates.Estimate:
    """A mean time as a rate; without an interval where the time may be nothing."""
    return 1 / seconds, n, (1 / bounds[1], 1 / bounds[0]) if bounds and bounds[0] > 0 else None
