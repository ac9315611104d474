"""The metrics of the pgvector benchmark, in the order in which they are read."""

from __future__ import annotations

from nightgate.metrics import MetricSpec
from nightgate.vectors.metrics import (
    BUILD_SECONDS,
    INDEX_BYTES,
    LATENCY,
    OPEN_LOOP_LATENCY,
    QPS,
    RECALL,
    RECALL_WORST,
    THROUGHPUT,
)

_COLD = "Cold, after a restart of the server"

COLD_START_FIRST = MetricSpec("cold_start_first", "seconds", "First query", section=_COLD)
COLD_START_P50 = MetricSpec("cold_start_p50", "seconds", "P50 of the first queries", section=_COLD)
LOAD_SECONDS = MetricSpec("load_seconds", "seconds", "Load")
ROWS_PER_SECOND = MetricSpec("rows_per_second", "per_second", "Rows loaded", "higher")

METRICS = (
    RECALL[5], RECALL_WORST, *LATENCY.values(), QPS, *OPEN_LOOP_LATENCY.values(), THROUGHPUT, COLD_START_FIRST,
    COLD_START_P50, BUILD_SECONDS, LOAD_SECONDS, ROWS_PER_SECOND, INDEX_BYTES,
)  # fmt: skip
HEADLINES = ("recall_at_5", "latency_p50", "latency_p95", "throughput_qps", "build_seconds", "index_bytes")
