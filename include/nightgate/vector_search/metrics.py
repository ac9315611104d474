"""The metrics of a vector search, whichever index or server answers."""

from __future__ import annotations

from nightgate.metrics import BATCHES, ONE_BY_ONE, OPEN_LOOP, MetricSpec, Quantile, Repeats
from nightgate.vectors.data import TRUTH_DEPTH

_RECALL = "Recall"

RECALL = {
    k: MetricSpec(
        f"recall_at_{k}",
        "ratio",
        f"Recall@{k}",
        "higher",
        section=_RECALL,
        share=True,
        gauge="nightgate_recall_ratio",
        labels=(("at", str(k)),),
        help="Mean share of the true nearest neighbours found.",
        watched=True,
    )
    for k in range(1, TRUTH_DEPTH + 1)
}
"""Recall by its depth k."""
RECALL_WORST = MetricSpec(
    "recall_p5",
    "ratio",
    "Recall, worst 5 %",
    "higher",
    section=_RECALL,
    share=True,
    gauge="nightgate_recall_worst_ratio",
    help="The 5th percentile of recall over the queries.",
)
RECALL_BY_HARDNESS = {
    bucket: MetricSpec(f"recall_{bucket}", "ratio", f"Recall, {bucket} queries", "higher", section=_RECALL, share=True)
    for bucket in ("easy", "middle", "hard")
}
"""Recall of each third of the queries by how hard they are, see `hardness.buckets`."""


def _latency(percentile: int) -> MetricSpec:
    return MetricSpec(
        f"latency_p{percentile}",
        "seconds",
        f"P{percentile} latency",
        section=ONE_BY_ONE,
        gauge="nightgate_latency_seconds",
        labels=(("percentile", str(percentile)),),
        help="Time of one query at a quantile.",
        samples=Quantile("durations_ns", percentile / 100),
        rounds=Repeats("round_p50") if percentile == 50 else None,
        alike=f"latency_p{percentile}_fast",
    )


LATENCY = {percentile: _latency(percentile) for percentile in (50, 95, 99)}
"""The time of one query at a time, by percentile, in whatever state the host was: what a user gets."""
_FULL_SPEED = "One query at a time, at the host's full speed"
AT_FULL_SPEED = {
    percentile: MetricSpec(
        f"latency_p{percentile}_fast",
        "seconds",
        f"P{percentile} latency at full speed",
        section=_FULL_SPEED,
        gauge="nightgate_latency_at_full_speed_seconds",
        labels=(("percentile", str(percentile)),),
        help="Time of one query at a quantile, of those asked while nothing slowed the host down.",
        watched=percentile < 99,
    )
    for percentile in (50, 95, 99)
}
"""The same of the queries alone beside which the host was at its full speed: like with like, also between runs."""
FAST_SHARE = MetricSpec(
    "fast_share",
    "ratio",
    "Queries asked at full speed",
    None,
    section=_FULL_SPEED,
    share=True,
    help="Share of the timed queries beside which the host was at its full speed.",
)
QPS = MetricSpec(
    "qps",
    "per_second",
    "Queries",
    "higher",
    section=ONE_BY_ONE,
    gauge="nightgate_queries_per_second",
    help="Queries per second of one client that asks the next when the last is answered.",
)
OPEN_LOOP_LATENCY = {
    percentile: MetricSpec(f"open_loop_p{percentile}", "seconds", f"P{percentile}, open loop", section=OPEN_LOOP)
    for percentile in (50, 95, 99)
}
"""The time from a query's scheduled moment to its answer, by percentile."""
FIRST_TOUCH = MetricSpec("first_touch", "seconds", "First touch")
THROUGHPUT = MetricSpec("throughput_qps", "per_second", "Throughput", "higher", section=BATCHES)

_STAGE = "Stage by stage: mean time · share of the true neighbours still there"
_COLD = "Cold, after a restart of the server"

ROUTE_RECALL = MetricSpec("route_recall", "ratio", "Recall after routing", "higher", section="", share=True)
SCAN_RECALL = MetricSpec("scan_recall", "ratio", "Recall after the scan", "higher", section="", share=True)
ROUTE_SECONDS = MetricSpec("route_seconds", "seconds", "Routing", section=_STAGE, beside="route_recall")
SCAN_SECONDS = MetricSpec("scan_seconds", "seconds", "Scan", section=_STAGE, beside="scan_recall")
RERANK_SECONDS = MetricSpec("rerank_seconds", "seconds", "Rerank", section=_STAGE, beside="recall_at_100")
STAGES = (ROUTE_SECONDS, SCAN_SECONDS, RERANK_SECONDS, ROUTE_RECALL, SCAN_RECALL)
COLD_START_FIRST = MetricSpec("cold_start_first", "seconds", "First query", section=_COLD)
COLD_START_P50 = MetricSpec("cold_start_p50", "seconds", "P50 of the first queries", section=_COLD)

BUILD_SECONDS = MetricSpec("build_seconds", "seconds", "Build")
BUILD_PEAK_RSS = MetricSpec("build_peak_rss_bytes", "bytes", "Peak memory of the build")
LOAD_SECONDS = MetricSpec("load_seconds", "seconds", "Load")
ROWS_PER_SECOND = MetricSpec("rows_per_second", "per_second", "Rows loaded", "higher")
INDEX_BYTES = MetricSpec("index_bytes", "bytes", "Index size", short="Index")
PEAK_RSS = MetricSpec("peak_rss_bytes", "bytes", "Peak memory")

_QUERIES = (
    *RECALL.values(),
    *RECALL_BY_HARDNESS.values(),
    RECALL_WORST,
    *LATENCY.values(),
    QPS,
    *AT_FULL_SPEED.values(),
    FAST_SHARE,
)
UNDER_LOAD = (*OPEN_LOOP_LATENCY.values(), THROUGHPUT)
IN_PROCESS = (*_QUERIES, *STAGES, *UNDER_LOAD, BUILD_SECONDS, BUILD_PEAK_RSS, INDEX_BYTES, PEAK_RSS, FIRST_TOUCH)
"""Of an index in this process, in the order in which they are read."""
OF_A_STORE = (
    *_QUERIES,
    *UNDER_LOAD,
    COLD_START_FIRST,
    COLD_START_P50,
    BUILD_SECONDS,
    LOAD_SECONDS,
    ROWS_PER_SECOND,
    INDEX_BYTES,
    FIRST_TOUCH,
)
"""Of a server."""
HEADLINES = ("latency_p50", "latency_p95", "throughput_qps", "build_seconds", "index_bytes")
"""What one wants to know first, after recall at k."""
