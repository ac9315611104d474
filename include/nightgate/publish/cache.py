"""The artefact cache as Prometheus sees it, from what its processes have counted."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from nightgate.artifacts import Cache, limit
from nightgate.artifacts.events import REASONS, RESULTS, WAIT_BUCKETS, WAITS

if TYPE_CHECKING:
    from prometheus_client import Metric


class CacheCollector:
    """For a registry of prometheus_client. What was never counted is shown as 0: a missing series alerts nobody."""

    def __init__(self, cache: Cache) -> None:
        self._cache = cache

    def collect(self) -> Iterator[Metric]:
        from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, HistogramMetricFamily

        counts, entries, most = self._cache.events.totals(), limit.entries(self._cache.root), self._cache.settings.limit
        size = sum(entry.size for entry in entries)
        yield GaugeMetricFamily("nightgate_cache_bytes", "Size of all artefacts in the cache.", size)
        yield GaugeMetricFamily("nightgate_cache_entries", "Artefacts in the cache.", len(entries))
        if most is not None:
            yield GaugeMetricFamily("nightgate_cache_limit_bytes", "What the cache may hold.", most)
        waiters = self._cache.waiters()
        yield GaugeMetricFamily("nightgate_cache_waiters", "Builders that wait for room right now.", waiters)
        requests = CounterMetricFamily("nightgate_cache_requests", "Artefacts asked for, by result.", labels=["result"])
        for result in RESULTS:
            requests.add_metric([result], counts.get(f"requests.{result}", 0))
        yield requests
        evictions = CounterMetricFamily("nightgate_cache_evictions", "Artefacts removed, by reason.", labels=["reason"])
        for reason in REASONS:
            evictions.add_metric([reason], counts.get(f"evictions.{reason}", 0))
        yield evictions
        saved = counts.get("build_seconds_saved", 0)
        yield CounterMetricFamily("nightgate_cache_saved_seconds", "Building that hits and fetches stood for.", saved)
        waits = HistogramMetricFamily("nightgate_cache_wait_seconds", "Time that requests waited.", labels=["for"])
        for what in WAITS:
            buckets = [(f"{bound:g}", counts.get(f"wait_bucket.{what}.{bound:g}", 0)) for bound in WAIT_BUCKETS]
            count = counts.get(f"waits.{what}", 0)
            waits.add_metric([what], [*buckets, ("+Inf", count)], counts.get(f"wait_seconds.{what}", 0))
        yield waits
