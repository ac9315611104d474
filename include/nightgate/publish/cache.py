"""The artefact caches as Prometheus sees them, from what their processes have counted."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from nightgate.artifacts.counted import Counted
from nightgate.artifacts.events import REASONS, RESULTS, WAIT_BUCKETS, WAITS

if TYPE_CHECKING:
    from prometheus_client import Metric


class CacheCollector:
    """For a registry of prometheus_client, with the label ``host``. What was never counted is shown as 0: a missing series
    alerts nobody."""

    def __init__(self, caches: Sequence[Counted]) -> None:
        self._caches = caches

    def collect(self) -> Iterator[Metric]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

        size = GaugeMetricFamily("nightgate_cache_bytes", "Size of all artefacts in the cache.", labels=["host"])
        entries = GaugeMetricFamily("nightgate_cache_entries", "Artefacts in the cache.", labels=["host"])
        limit = GaugeMetricFamily("nightgate_cache_limit_bytes", "What the cache may hold.", labels=["host"])
        text = "Builders that wait for room right now."
        waiters = GaugeMetricFamily("nightgate_cache_waiters", text, labels=["host"])
        text = "Artefacts asked for, by result."
        requests = CounterMetricFamily("nightgate_cache_requests", text, labels=["host", "result"])
        evictions = CounterMetricFamily(
            "nightgate_cache_evictions", "Artefacts removed, by reason.", labels=["host", "reason"]
        )
        text = "Building that hits and fetches stood for."
        saved = CounterMetricFamily("nightgate_cache_saved_seconds", text, labels=["host"])
        waits = HistogramMetricFamily(
            "nightgate_cache_wait_seconds", "Time that requests waited.", labels=["host", "for"]
        )
        for one in self._caches:
            host, counts = [one.host], one.counts
            size.add_metric(host, one.bytes)
            entries.add_metric(host, one.entries)
            if one.limit is not None:
                limit.add_metric(host, one.limit)
            waiters.add_metric(host, one.waiters)
            for result in RESULTS:
                requests.add_metric([*host, result], counts.get(f"requests.{result}", 0))
            for reason in REASONS:
                evictions.add_metric([*host, reason], counts.get(f"evictions.{reason}", 0))
            saved.add_metric(host, counts.get("build_seconds_saved", 0))
            for what in WAITS:
                buckets = [(f"{bound:g}", counts.get(f"wait_bucket.{what}.{bound:g}", 0)) for bound in WAIT_BUCKETS]
                count = counts.get(f"waits.{what}", 0)
                waits.add_metric([*host, what], [*buckets, ("+Inf", count)], counts.get(f"wait_seconds.{what}", 0))
        yield from (size, entries, limit, waiters, requests, evictions, saved, waits)
