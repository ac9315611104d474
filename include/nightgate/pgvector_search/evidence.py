"""What is gathered of one variant on the way, and the record that comes of it."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from importlib.metadata import version
from typing import TYPE_CHECKING, Any

from nightgate.errors import NightgateError
from nightgate.measure import estimates
from nightgate.measure.attempts import Attempts
from nightgate.pgvector_search.metrics import COLD_START_FIRST, COLD_START_P50, LOAD_SECONDS, ROWS_PER_SECOND
from nightgate.record import Record, utc_now
from nightgate.vectors.latency import add_latencies, add_open_loop, share
from nightgate.vectors.metrics import BUILD_SECONDS, INDEX_BYTES, QPS, RECALL, RECALL_WORST, THROUGHPUT

if TYPE_CHECKING:
    import numpy as np

log = logging.getLogger(__name__)

_BUILD = (LOAD_SECONDS, ROWS_PER_SECOND, BUILD_SECONDS, INDEX_BYTES)


class Evidence(Attempts):
    """One variant's record and raw samples. What an objective judges comes first: when that fails, the record says so and
    no other step is made. When a step after it fails, what was measured before stays (`aside`)."""

    def __init__(self, record: Record) -> None:
        super().__init__(record)
        self.samples: dict[str, np.ndarray] = {}
        self.build: dict[str, Any] = {}

    @property
    def gated(self) -> bool:
        return self.record.gated

    def aside(self, what: str, step: Callable[[], None]) -> None:
        """Make a step that no number measured before hangs on. When it fails, ``detail["not_measured"]`` says so."""
        if self.record.status != "measured":
            return
        try:
            step()
        except NightgateError as error:
            self.note(what, str(error))
        except Exception as error:  # also of psycopg or the file system; what was measured is not lost for it
            self.note(what, f"{type(error).__name__}: {' '.join(str(error).split())}")

    def note(self, what: str, reason: str) -> None:
        """Say in the record why ``what`` was not measured."""
        log.warning("%s: %s was not measured: %s", self.variant, what, reason)
        self.record.detail.setdefault("not_measured", {})[what] = reason

    def fail(self, reason: str) -> None:
        super().fail(reason)
        self.record.metrics, self.record.samples, self.samples = {}, None, {}

    def add_one_by_one(
        self, answer: dict[str, Any], durations: np.ndarray, recall: np.ndarray, ids: np.ndarray
    ) -> None:
        """Args: answer: of `timed.search`. durations: int64 ns, (passes, queries). recall: float64, (queries,).
        ids: int64, (queries, 5)."""
        record = self.record
        record.add(RECALL[5], *share(recall))
        record.add(RECALL_WORST, *estimates.quantile(recall, 0.05))
        add_latencies(record, durations)
        # closed loop, one connection: the next query starts when the last one is answered
        mean, _, bounds = estimates.mean(durations.mean(axis=0) / 1e9)
        record.add(QPS, 1 / mean, durations.size, (1 / bounds[1], 1 / bounds[0]) if bounds and bounds[0] > 0 else None)
        for spec in _BUILD:
            record.add(spec, self.build[spec.name])
        if self.build.get("reused"):
            record.facts.earlier = {spec.name: self.build["built_at"] for spec in _BUILD}
        tuned = answer.pop("tuned") or {key: self.build["tuning"][key] for key in ("reached", "curve")}
        answer["versions"] |= {"pgvector-python": version("pgvector"), "psycopg": version("psycopg")}
        record.detail |= answer | {"tuning_reached_target": tuned["reached"], "curve": tuned["curve"]}
        self.samples |= {"durations_ns": durations, "recall": recall, "ids": ids}

    def add_open_loop(self, answer: dict[str, Any], latencies: np.ndarray, *, rate: float, seconds: float) -> None:
        self.samples["open_loop_ns"] = latencies
        add_open_loop(self.record, answer, latencies, rate=rate, seconds=seconds)

    def add_clients(self, sweep: list[dict[str, Any]]) -> None:
        """The closed loop of several clients, see `timed.many_clients`."""
        best = max(sweep, key=lambda level: level["queries_per_second"])
        self.record.add(THROUGHPUT, best["queries_per_second"], best["n"], best["ci95"])
        self.record.detail["throughput"] = {"clients": best["clients"]}
        self.record.detail["clients"] = [{key: level[key] for key in level if key != "n"} for level in sweep]

    def add_cold_start(self, durations_ns: Sequence[int]) -> None:
        import numpy as np

        seconds = np.array(durations_ns) / 1e9
        self.record.add(COLD_START_FIRST, float(seconds[0]))
        self.record.add(COLD_START_P50, *estimates.quantile(seconds, 0.5))

    def finish(self) -> None:
        self.record.finished_at = utc_now()


def shortfall(record: Record, beside: Sequence[Record]) -> str | None:
    """Why the objectives cannot hold together at this number of lists, with what comes closest, or None.

    Args:
        beside: the other records of the run, among which an index with more lists may hold both.
    """
    settings, curve = record.settings, record.detail.get("curve") or []
    if not curve or "latency_p95" not in record.metrics:
        return None
    wanted, limit = settings["recall_target"], settings["latency_target"]
    where = f"at lists={record.detail['build']['lists']}" if "probes" in curve[0]["setting"] else ""
    if not record.detail["tuning_reached_target"]:
        best = max(curve, key=lambda point: point["recall"])
        what = f"recall {wanted:g} with its margin is out of reach {where}".rstrip() + f": {_said(best)} comes closest"
    elif record.metrics["latency_p95"].value >= limit:
        chosen = _chosen(record)
        nearest = [p for p in curve if p["latency_p95"] < limit and p is not chosen]
        less = f", {_said(max(nearest, key=lambda p: p['recall']))}" if nearest else ""
        both = f"recall {wanted:g} and P95 {limit * 1e3:g} ms do not hold together {where}".rstrip()
        what = f"{both}: {_said(chosen)}{less}"
    else:
        return None
    return f"{what}; {_better(record, beside)}"


def _better(record: Record, beside: Sequence[Record]) -> str:
    """Another index that was measured in this run and holds both, or pgvector's own advice."""
    for other in beside:
        if other.status == "measured" and other.variant != record.variant and other.detail["tuning_reached_target"]:
            chosen = _chosen(other)
            if chosen["latency_p95"] < record.settings["latency_target"]:
                return f"{other.variant} holds both: {_said(chosen)}"
    rows = record.settings["rows"]
    advised = max(1, round(rows / 1000) if rows <= 1_000_000 else round(rows**0.5))
    return f"pgvector advises lists={advised} for {rows:,} rows"


def _chosen(record: Record) -> dict[str, Any]:
    return next(point for point in record.detail["curve"] if point["setting"] == record.detail["setting"])


def _said(point: dict[str, Any]) -> str:
    ((name, value),) = point["setting"].items()
    return f"{name}={value} gives recall {point['recall']:.3f} in P95 {point['latency_p95'] * 1e3:.1f} ms"
