"""The metrics of a vector search, whichever index or server answers."""

from __future__ import annotations

from nightgate.metrics import BATCHES, ONE_BY_ONE, OPEN_LOOP, MetricSpec, Quantile

_RECALL = "Recall"
DEEPEST = 100
"""The largest k at which recall can be measured: the exact neighbours are kept to this depth."""

RECALL = {
    k: MetricSpec(
        f"recall_at_{k}", "ratio", f"Recall@{k}", "higher", section=_RECALL, share=True, gauge="nightgate_recall_ratio",
        labels=(("at", str(k)),), help="Mean share of the true nearest neighbours found.",
    )
    for k in range(1, DEEPEST + 1)
}  # fmt: skip
"""Recall by its depth k."""
RECALL_WORST = MetricSpec(
    "recall_p5", "ratio", "Recall, worst 5 %", "higher", section=_RECALL, share=True,
    gauge="nightgate_recall_worst_ratio", help="The 5th percentile of recall over the queries.",
)  # fmt: skip
RECALL_BY_HARDNESS = {
    bucket: MetricSpec(f"recall_{bucket}", "ratio", f"Recall, {bucket} queries", "higher", section=_RECALL, share=True)
    for bucket in ("easy", "middle", "hard")
}
"""Recall of each third of the queries by how hard they are, see `hardness.buckets`."""


def _latency(percentile: int) -> MetricSpec:
    return MetricSpec(
        f"latency_p{percentile}", "seconds", f"P{percentile} latency", section=ONE_BY_ONE, gauge="nightgate_latency_seconds",
        labels=(("percentile", str(percentile)),), help="Time of one query at a quantile.",
        samples=Quantile("durations_ns", percentile / 100),
    )  # fmt: skip


LATENCY = {percentile: _latency(percentile) for percentile in (50, 95, 99)}
"""The time of one query at a time, by percentile."""
QPS = MetricSpec(
    "qps", "per_second", "Queries", "higher", section=ONE_BY_ONE, gauge="nightgate_queries_per_second",
    help="Queries per second of one client that asks the next when the last is answered.",
)  # fmt: skip
OPEN_LOOP_LATENCY = {
    percentile: MetricSpec(f"open_loop_p{percentile}", "seconds", f"P{percentile}, open loop", section=OPEN_LOOP)
    for percentile in (50, 95, 99)
}
"""The time from a query's scheduled moment to its answer, by percentile."""
THROUGHPUT = MetricSpec("throughput_qps", "per_second", "Throughput", "higher", section=BATCHES)
BUILD_SECONDS = MetricSpec("build_seconds", "seconds", "Build")
INDEX_BYTES = MetricSpec("index_bytes", "bytes", "Index size", short="Index")
PEAK_RSS = MetricSpec("peak_rss_bytes", "bytes", "Peak memory")
