"""What is gathered of one strategy on the way, and the record that comes of it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Self

from nightgate.errors import NightgateError
from nightgate.hybrid_ann.batches import BatchRate, rate
from nightgate.hybrid_ann.metrics import (
    FIRST_TOUCH,
    RERANK_SECONDS,
    ROUTE_RECALL,
    ROUTE_SECONDS,
    SCAN_RECALL,
    SCAN_SECONDS,
)
from nightgate.measure.attempts import Attempts
from nightgate.measure.device_memory import DeviceMemory, add_peak
from nightgate.record import Record, utc_now
from nightgate.vectors.hardness import BUCKETS, buckets
from nightgate.vectors.latency import add_latencies, add_open_loop, share
from nightgate.vectors.metrics import PEAK_RSS, QPS, RECALL, RECALL_BY_HARDNESS, RECALL_WORST, THROUGHPUT

if TYPE_CHECKING:
    from nightgate.vectors.places import Places

log = logging.getLogger(__name__)

_STAGES = {"scan_recall": "the candidates", "route_recall": "the lists to scan"}
_STAGE_METRICS = (ROUTE_SECONDS, SCAN_SECONDS, RERANK_SECONDS, ROUTE_RECALL, SCAN_RECALL)
_SAME_RECALL = 0.002  # the stages are asked once more, and on a GPU sums may come out otherwise


class Evidence(Attempts):
    """One strategy's record and raw samples. When an `attempt` fails, the record says so and no other is made."""

    def __init__(self, record: Record) -> None:
        super().__init__(record)
        self.setting: dict[str, int] | None = None
        self.staged = False
        self._first: dict[str, Any] = {}
        self._durations: list[Any] = []
        self._recalls: dict[int, Any] = {}
        self._stages: dict[str, float] = {}
        self._raw: dict[str, Any] = {}
        self._missed: list[str] = []
        self._peak_rss = 0
        self._device_memory: list[DeviceMemory | None] = []

    def attempt_beside(self, what: str, step: Callable[[Self], None]) -> None:
        """A step whose numbers are not those that are judged first: when it fails, what is measured stays, and the
        record says that ``what`` is missing and why."""
        if self.record.status != "measured":
            return
        try:
            step(self)
        except Exception as error:  # whatever it is, it must not take the others' numbers with it
            log.warning("%s: %s was not measured", self.variant, what, exc_info=not isinstance(error, NightgateError))
            self.record.detail.setdefault("not_measured", {})[what] = str(error) or type(error).__name__
            self._missed.append(f"{what} was not measured: {str(error) or type(error).__name__}")

    def add_process(
        self, answer: dict[str, Any], durations: Any, recalls: dict[int, Any], ids: Any, peak_rss_bytes: int
    ) -> None:
        """Args: answer: of `timed.time_strategy`. durations: int64 ns, (passes, queries). recalls: depth → float64,
        (queries,). ids: int64, (queries, k). What was answered is the first process's, the times are those of all."""
        if not self._first:
            self._first, self._recalls, self._raw["ids"] = answer, recalls, ids
            self.setting, self.staged = answer["setting"], answer["staged"]
        self._durations.append(durations)
        self._peak_rss = max(self._peak_rss, peak_rss_bytes)

    def add_device_memory(self, found: DeviceMemory | None) -> None:
        """What the process just added took on the GPU."""
        self._device_memory.append(found)

    def add_stages(self, answer: dict[str, float]) -> None:
        """Args: answer: of `timed.time_stages`."""
        self._stages = answer

    def add_places(self, places: Places | None) -> None:
        """Keep where the queries stand in the user's files, if they do, so that the answers can be checked."""
        if places and self.record.status == "measured":
            self._raw |= {"query_rows": places.queries, "held_out": places.held_out}

    def add_throughput(self, answer: dict[str, Any], *, threads: int, batch: int) -> None:
        self.record.add(THROUGHPUT, *rate(answer["per_second"]))
        self.record.detail["throughput"] = {"threads": threads, "batch": batch}

    def add_batches(self, rates: Sequence[BatchRate], *, threads: int) -> None:
        """Args: rates: of `timed.batches`."""
        self.record.detail["batches"] = {"threads": threads, "rates": [asdict(each) for each in rates]}

    def add_open_loop(self, answer: dict[str, Any], latencies: Any, *, rate: float, seconds: float) -> None:
        """Args: latencies: int64 ns, one per query served. Of a strategy that could not keep up none are reported."""
        self._raw["open_loop_ns"] = latencies
        add_open_loop(self.record, answer, latencies, rate=rate, seconds=seconds)

    def finish(self, hardness: Any) -> dict[str, Any]:
        """Fill the record; returns the raw samples by name. ``hardness``: of each query, float64 (queries,)."""
        import numpy as np

        record, first = self.record, self._first
        record.finished_at = utc_now()
        if record.status == "measured" and (wrong := self._contradiction()):
            self.fail(wrong)
        if record.status != "measured":
            record.samples = None
            return {}
        durations, recall = np.concatenate(self._durations), self._recalls[max(self._recalls)]
        for depth, found in self._recalls.items():
            record.add(RECALL[depth], *share(found))
        record.add(RECALL_WORST, float(np.quantile(recall, 0.05)), n=len(recall))
        bucket = buckets(hardness)
        for number, name in enumerate(BUCKETS):
            record.add(RECALL_BY_HARDNESS[name], *share(recall[bucket == number]))
        add_latencies(record, durations)
        record.add(QPS, 1e9 / float(durations.mean()), n=durations.size)
        record.add(FIRST_TOUCH, first["first_touch_ns"] / 1e9)
        for spec in _STAGE_METRICS:
            if spec.name in self._stages:
                record.add(spec, self._stages[spec.name], n=len(recall))
        record.add(PEAK_RSS, self._peak_rss)
        add_peak(record, self._device_memory)
        record.reason = "; ".join([*([first["shortfall"]] if first["shortfall"] else []), *self._missed]) or None
        record.detail |= {
            "setting": first["setting"], "tuning_reached_target": first["reached"], "curve": first["curve"],
            "versions": first["versions"],
        }  # fmt: skip
        return {"durations_ns": durations, "recall": recall, **self._raw}

    def _contradiction(self) -> str | None:
        """Why the recalls of the stages cannot all be true, or None: none finds what an earlier one has lost."""
        found = [("the answers", float(self._recalls[max(self._recalls)].mean()))]
        found += [(what, self._stages[name]) for name, what in _STAGES.items() if name in self._stages]
        for (later, more), (earlier, less) in pairwise(found):
            if more > less + _SAME_RECALL:
                return (
                    f"{later} hold {more:.4f} of the true neighbours and {earlier}, from which they come, {less:.4f}: "
                    "both cannot be true, so neither is believed"
                )
        return None
