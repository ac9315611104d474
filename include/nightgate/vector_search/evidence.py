"""What is gathered of one variant on the way, and the record that comes of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from itertools import pairwise
from typing import TYPE_CHECKING

from nightgate.facts import Batch, Provenance, Tuning
from nightgate.measure import estimates
from nightgate.measure.attempts import Attempts
from nightgate.measure.device_memory import DeviceMemory, add_peak
from nightgate.metrics import MetricSpec
from nightgate.record import Record, utc_now
from nightgate.vector_search.latency import add_latencies, add_open_loop, rate, share
from nightgate.vector_search.metrics import (
    COLD_START_FIRST,
    COLD_START_P50,
    FIRST_TOUCH,
    PEAK_RSS,
    RECALL,
    RECALL_BY_HARDNESS,
    RECALL_WORST,
    STAGES,
    THROUGHPUT,
)
from nightgate.vector_search.session import Facts, Setting
from nightgate.vector_search.states import add_states, pool
from nightgate.vectors.hardness import BUCKETS, buckets

if TYPE_CHECKING:
    import numpy as np

    from nightgate.vector_search.batches import BatchRate
    from nightgate.vector_search.stages import Stages
    from nightgate.vector_search.timed import Level, OpenLoopAnswer, Timed
    from nightgate.vector_search.tuning import Tuned
    from nightgate.vectors.places import Places

_STAGES = {"scan_recall": "the candidates", "route_recall": "the lists to scan"}
_SAME_RECALL = 0.002  # the stages are asked once more, and on a GPU sums may come out otherwise


class Evidence(Attempts):
    """One variant's record and raw samples. What an objective judges comes first: when that `attempt` fails, the
    record says so and no other step is made. When a step after it fails, what was measured before stays (`beside`).

    ``costs`` are the metrics of what was built for it; they stand in the record when it is measured. ``known`` is what was
    tuned before, where it was not looked for now. ``missed`` says what else was not measured, a sentence each. ``precision``
    is what the passes were repeated for, 0 where their number was given.
    """

    def __init__(self, record: Record, recall_target: float) -> None:
        super().__init__(record)
        self.recall_target = recall_target
        self.costs: dict[MetricSpec, float] = {}
        self.known: Tuned | None = None
        self.missed: list[str] = []
        self.precision = 0.0
        self._processes: dict[int, Timed] = {}
        self._stages: Stages | None = None
        self._raw: dict[str, np.ndarray] = {}
        self._peak_rss = 0
        self._device_memory: list[DeviceMemory | None] = []

    @property
    def gated(self) -> bool:
        return self.record.gated

    @property
    def setting(self) -> Setting | None:
        """The one that is measured; None until it is found."""
        return self.timed.setting if self._processes else None

    @property
    def timed(self) -> Timed:
        """What the first process answered."""
        assert self._processes, "the queries come first"
        return next(iter(self._processes.values()))

    @property
    def readings(self) -> np.ndarray | None:
        """The readings of the kernel beside every call, int64 ns, (passes, queries); None where none was timed."""
        return pool(self._processes).beside if self._processes else None

    def passes(self, process: int) -> np.ndarray:
        """What was timed in that process, int64 ns, (passes, queries); no passes where it failed."""
        import numpy as np

        known = self._processes.get(process)
        return np.empty((0, 0), np.int64) if known is None else known.durations

    def miss(self, what: str, reason: str) -> None:
        super().miss(what, reason)
        self.missed.append(f"{what} was not measured: {reason}")

    def add_timed(
        self,
        timed: Timed,
        peak_rss_bytes: int | None = None,
        device_memory: DeviceMemory | None = None,
        *,
        process: int | None = None,
    ) -> None:
        """What was answered is the first process's, the times are those of all; this is the next, or the ``process``-th. What
        it took of the memories is None where that says nothing of what was measured."""
        self._processes[len(self._processes) if process is None else process] = timed
        self._peak_rss = max(self._peak_rss, peak_rss_bytes or 0)
        self._device_memory.append(device_memory)

    def add_rounds(self, p50: np.ndarray) -> None:
        """The P50 of each pass that was made in turns with others, seconds, float64 (rounds,): in each round all ask the same
        queries, so that two are compared pair by pair."""
        self._raw["round_p50"] = p50

    def add_stages(self, found: Stages) -> None:
        self._stages = found

    def add_open_loop(self, answer: OpenLoopAnswer) -> None:
        self._raw["open_loop_ns"] = answer.latencies
        self.record.facts.open_loop = answer.facts
        add_open_loop(self.record, answer.facts, answer.latencies)

    def add_throughput(self, per_second: np.ndarray, *, threads: int, batch: int) -> None:
        """Args: per_second: of each pass, float64 (passes,)."""
        value, n, ci95 = rate(per_second)
        self.record.add(THROUGHPUT, value, n, ci95)
        made = Batch(size=batch, threads=threads, queries_per_second=value, ci95=ci95)
        self.record.facts.batches = [made, *self.record.facts.batches]

    def add_batches(self, rates: Sequence[BatchRate], *, threads: int) -> None:
        """What each size of batch gives, after the throughput."""
        self.record.facts.batches += [
            Batch(size=one.batch, threads=threads, queries_per_second=one.per_second, ci95=one.ci95, recall=one.recall)
            for one in rates
        ]

    def add_clients(self, sweep: Sequence[Level]) -> None:
        """The throughput is that of the best number of clients."""
        best = max(sweep, key=lambda level: level.crowd.queries_per_second)
        self.record.add(THROUGHPUT, best.crowd.queries_per_second, best.n, best.crowd.ci95)
        self.record.facts.crowds = [level.crowd for level in sweep]

    def add_cold_start(self, durations_ns: np.ndarray) -> None:
        """Args: durations_ns: int64, of the first queries that a server answered after its start, in their order."""
        seconds = durations_ns / 1e9
        self.record.add(COLD_START_FIRST, float(seconds[0]))
        self.record.add(COLD_START_P50, *estimates.quantile(seconds, 0.5))

    def finish(self, hardness: np.ndarray, places: Places | None, pace: Sequence[float]) -> dict[str, np.ndarray]:
        """Fill the record; returns the raw samples by name, none of a variant that has failed.

        Args:
            hardness: of each measured query, float64 (queries,).
            places: where the queries stand in the user's files, if they do, so that the answers can be checked.
            pace: see `add_states`; needed where it was measured.
        """
        record = self.record
        record.finished_at = utc_now()
        if record.status == "measured" and (wrong := self._contradiction()):
            self.fail(wrong)
        if record.status != "measured":
            record.metrics, record.samples = {}, None
            return {}
        self._add_metrics(hardness, pace)
        timed, shortfall, times = self.timed, None, pool(self._processes)
        if tuned := timed.tuned or self.known:
            record.facts.tuning = Tuning(
                target=self.recall_target, setting=timed.setting, reached=tuned.reached, curve=tuned.curve
            )
            shortfall = tuned.shortfall(self.recall_target)
        record.reason = "; ".join([*([shortfall] if shortfall else []), *self.missed]) or None
        record.facts.provenance = Provenance(versions=dict(timed.proof.versions))
        record.detail |= {**timed.proof.facts, **timed.warmed}
        raw = {
            "durations_ns": times.durations,
            "beside_ns": times.beside,
            "processes": times.processes,
            "recall": self._recall(),
            "ids": timed.ids,
            **self._raw,
        }
        return raw | ({"query_rows": places.queries, "held_out": places.held_out} if places else {})

    def tell(self, facts: Facts) -> None:
        """What else is to be told, in the record's detail."""
        self.record.detail |= facts

    def _add_metrics(self, hardness: np.ndarray, pace: Sequence[float]) -> None:
        record, timed, recall, times = self.record, self.timed, self._recall(), pool(self._processes)
        for depth, found in timed.recalls.items():
            record.add(RECALL[depth], *share(found))
        record.add(RECALL_WORST, *estimates.quantile(recall, 0.05))
        bucket = buckets(hardness)
        for number, name in enumerate(BUCKETS):
            record.add(RECALL_BY_HARDNESS[name], *share(recall[bucket == number]))
        add_latencies(record, times.durations, times.processes.tolist())
        add_states(record, times, pace, self.precision)
        record.add(FIRST_TOUCH, timed.first_touch_ns / 1e9)
        if self._stages:
            for spec in STAGES:
                record.add(spec, getattr(self._stages, spec.name), n=len(recall))
        if self._peak_rss:
            record.add(PEAK_RSS, self._peak_rss)
        add_peak(record, self._device_memory)
        for spec, value in self.costs.items():
            record.add(spec, value)

    def _recall(self) -> np.ndarray:
        """At the deepest depth, float64 (queries,)."""
        return self.timed.recalls[max(self.timed.recalls)]

    def _contradiction(self) -> str | None:
        """Why the recalls of the stages cannot all be true, or None: none finds what an earlier one has lost."""
        stages: dict[str, float] = asdict(self._stages) if self._stages else {}
        found = [("the answers", float(self._recall().mean()))]
        found += [(what, stages[name]) for name, what in _STAGES.items() if name in stages]
        for (later, more), (earlier, less) in pairwise(found):
            if more > less + _SAME_RECALL:
                return (
                    f"{later} hold {more:.4f} of the true neighbours and {earlier}, from which they come, {less:.4f}: "
                    "both cannot be true, so neither is believed"
                )
        return None


def keep_rounds(compared: Sequence[Evidence], processes: int) -> None:
    """Keep the P50 of every pass that all of those that took turns in each of the ``processes`` have made."""
    import numpy as np

    if len(compared) < 2:
        return
    shared = [min(len(one.passes(process)) for one in compared) for process in range(processes)]
    for one in compared:
        rounds = [one.passes(process)[:count] for process, count in enumerate(shared) if count]
        if rounds:
            one.add_rounds(np.quantile(np.concatenate(rounds) / 1e9, 0.5, axis=1, method="higher"))
