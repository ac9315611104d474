"""What both vector benchmarks say of the times they took."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Any

from nightgate.measure import estimates
from nightgate.record import Record
from nightgate.vectors.metrics import LATENCY, OPEN_LOOP_LATENCY

if TYPE_CHECKING:
    import numpy as np

log = logging.getLogger(__name__)


def add_latencies(record: Record, durations_ns: np.ndarray) -> None:
    """``latency_p50|p95|p99`` of queries that were timed one at a time, int64 nanoseconds, (passes, queries)."""
    for percentile, spec in LATENCY.items():
        record.add(spec, *estimates.quantile(durations_ns / 1e9, percentile / 100, independent=durations_ns.shape[1]))


def add_open_loop(
    record: Record, answer: dict[str, Any], latencies_ns: np.ndarray, *, rate: float, seconds: float
) -> None:
    """``open_loop_p50|p95|p99``, from the scheduled moment; of a loop that could not keep up none are stated.

    Args:
        answer: ``saturated`` and what else is known of the loop.
        latencies_ns: int64, one per query served.
        rate: queries per second that were due, for so many ``seconds``.
    """
    record.detail["open_loop"] = {"rate": rate, "seconds": seconds, **answer}
    if answer["saturated"]:
        log.warning("%s cannot serve %g queries per second, so no open-loop latency is stated", record.variant, rate)
        return
    for percentile, spec in OPEN_LOOP_LATENCY.items():
        record.add(spec, *estimates.quantile(latencies_ns / 1e9, percentile / 100))


def open_loop_answer(load: Any) -> dict[str, Any]:
    """What is known of a `measure.load.Load` besides its latencies."""
    import numpy as np

    lateness = float(np.median(load.lateness_ns)) / 1e9 if len(load.lateness_ns) else None
    return {"utilisation": load.utilisation, "saturated": load.saturated, "lateness_p50_seconds": lateness}


def share(values: np.ndarray) -> estimates.Estimate:
    """The mean of shares, whose interval ends where shares do."""
    value, n, bounds = estimates.mean(values)
    return value, n, bounds and (max(0.0, bounds[0]), min(1.0, bounds[1]))
