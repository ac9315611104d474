"""The metrics of the hybrid ANN benchmark, in the order in which they are read."""

from __future__ import annotations

from nightgate.metrics import PEAK_DEVICE, MetricSpec
from nightgate.vectors.metrics import (
    BUILD_SECONDS,
    INDEX_BYTES,
    LATENCY,
    OPEN_LOOP_LATENCY,
    PEAK_RSS,
    QPS,
    RECALL,
    RECALL_BY_HARDNESS,
    RECALL_WORST,
    THROUGHPUT,
)

_STAGE = "Stage by stage: mean time · share of the true neighbours still there"

ROUTE_RECALL = MetricSpec("route_recall", "ratio", "Recall after routing", "higher", section="", share=True)
SCAN_RECALL = MetricSpec("scan_recall", "ratio", "Recall after the scan", "higher", section="", share=True)
ROUTE_SECONDS = MetricSpec("route_seconds", "seconds", "Routing", section=_STAGE, beside="route_recall")
SCAN_SECONDS = MetricSpec("scan_seconds", "seconds", "Scan", section=_STAGE, beside="scan_recall")
RERANK_SECONDS = MetricSpec("rerank_seconds", "seconds", "Rerank", section=_STAGE, beside="recall_at_100")
FIRST_TOUCH = MetricSpec("first_touch", "seconds", "First touch")
BUILD_PEAK_RSS = MetricSpec("build_peak_rss_bytes", "bytes", "Peak memory of the build")

METRICS = (
    *RECALL.values(), *RECALL_BY_HARDNESS.values(), RECALL_WORST, *LATENCY.values(), QPS, ROUTE_SECONDS, SCAN_SECONDS,
    RERANK_SECONDS, ROUTE_RECALL, SCAN_RECALL, *OPEN_LOOP_LATENCY.values(), THROUGHPUT, BUILD_SECONDS, BUILD_PEAK_RSS,
    INDEX_BYTES, PEAK_RSS, PEAK_DEVICE, FIRST_TOUCH,
)  # fmt: skip
HEADLINES = ("recall_at_100", "latency_p50", "latency_p95", "throughput_qps", "build_seconds", "index_bytes")
