"""What is gathered of one strategy on the way, and the record that comes of it."""

from __future__ import annotations

import logging
from typing import Any

from nightgate.measure import estimates
from nightgate.measure.attempts import Attempts
from nightgate.record import Record, utc_now
from nightgate.vectors.hardness import BUCKETS, buckets
from nightgate.vectors.latency import add_latencies, add_open_loop, share

log = logging.getLogger(__name__)


class Evidence(Attempts):
    """One strategy's record and raw samples. When one attempt fails, the record says so and no other is made."""

    def __init__(self, record: Record) -> None:
        super().__init__(record)
        self.setting: dict[str, int] | None = None
        self._answers: list[dict[str, Any]] = []
        self._durations: list[Any] = []
        self._recall: Any = None
        self._raw: dict[str, Any] = {}
        self._peak_rss = 0

    def add_process(self, answer: dict[str, Any], durations: Any, recall: Any, peak_rss_bytes: int) -> None:
        """Args: durations: int64 ns, (passes, queries). recall: float64, (queries,)."""
        self._answers.append(answer)
        self._durations.append(durations)
        self._recall = recall
        self._peak_rss = max(self._peak_rss, peak_rss_bytes)
        self.setting = answer["setting"]

    def add_throughput(self, answer: dict[str, Any], *, threads: int, batch: int) -> None:
        import numpy as np

        # every pass is the same work, so their seconds are averaged: the mean of their rates would make light of slow ones
        seconds, n, bounds = estimates.mean(1 / np.array(answer["per_second"]))
        interval = (1 / bounds[1], 1 / bounds[0]) if bounds and bounds[0] > 0 else None
        self.record.add("throughput_qps", 1 / seconds, n, interval)
        self.record.detail["throughput"] = {"threads": threads, "batch": batch}

    def add_open_loop(self, answer: dict[str, Any], latencies: Any, *, rate: float, seconds: float) -> None:
        """Args: latencies: int64 ns, one per query served. Of a strategy that could not keep up none are reported."""
        self._raw["open_loop_ns"] = latencies
        add_open_loop(self.record, answer, latencies, rate=rate, seconds=seconds)

    def finish(self, hardness: Any) -> dict[str, Any]:
        """Fill the record; returns the raw samples by name. ``hardness``: of each query, float64 (queries,)."""
        import numpy as np

        record = self.record
        record.finished_at = utc_now()
        if record.status != "measured":
            record.samples = None
            return {}
        durations, recall, first = np.concatenate(self._durations), self._recall, self._answers[0]
        record.add("recall_at_100", *share(recall))
        record.add("recall_p5", float(np.quantile(recall, 0.05)), n=len(recall))
        bucket = buckets(hardness)
        for number, name in enumerate(BUCKETS):
            record.add(f"recall_{name}", *share(recall[bucket == number]))
        add_latencies(record, durations)
        record.add("qps", 1e9 / float(durations.mean()), n=durations.size)
        record.add("first_touch", first["first_touch_ns"] / 1e9)
        for name, value in first["stages"].items():
            record.add(name, value, n=len(recall))
        record.add("peak_rss_bytes", self._peak_rss)
        record.reason = first["shortfall"]
        record.detail |= {
            "setting": first["setting"], "tuning_reached_target": first["reached"], "curve": first["curve"],
            "versions": first["versions"],
        }  # fmt: skip
        return {"durations_ns": durations, "recall": recall, **self._raw}
