"""The parent's side: which children are asked what, for the numbers of one variant."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from nightgate.measure.child import ChildResult, run_child
from nightgate.record import Device
from nightgate.vector_search import batches, stages, timed
from nightgate.vector_search.evidence import Evidence
from nightgate.vector_search.session import Setting
from nightgate.vector_search.settings import VectorSettings
from nightgate.vector_search.timed import Work
from nightgate.vector_search.tuning import Tuning

Request = TypeVar("Request")
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Asking:
    """``work`` as it is measured at ``settings`` in children on ``device``.

    ``keep``: variables of the environment that these need besides the usual ones. ``remote``: what is measured has its
    memory elsewhere, so that of the children says nothing of it.
    """

    work: Work
    settings: VectorSettings
    device: Device = "cpu"
    keep: Sequence[str] = ()
    remote: bool = False

    def queries(
        self, one: Evidence, tuning: Tuning, passes: int, known: Setting | None = None, timeout: float | None = None
    ) -> None:
        """Time every query alone in a fresh process, which also looks for the setting, unless it is ``known``."""
        depths = self.settings.recall_depths
        request = timed.QueriesRequest(self.work, one.setting or known, tuning, passes, depths)
        child = self._child(timed.time_queries, request, timeout=timeout)
        if self.remote:
            one.add_timed(child.value)
        else:
            one.add_timed(child.value, child.peak_rss_bytes, child.device_memory)

    def open_loop(self, one: Evidence, timeout: float | None = None) -> None:
        rate, seconds = self.settings.arrival_rate, self.settings.load_seconds
        request = timed.OpenLoopRequest(self.work, one.timed.setting, rate, seconds)
        one.add_open_loop(self._child(timed.open_loop_latency, request, timeout=timeout).value)

    def clients(self, one: Evidence, clients: tuple[int, ...], timeout: float | None = None) -> None:
        request = timed.ClientsRequest(self.work, one.timed.setting, clients, self.settings.load_seconds)
        answer = self._child(timed.many_clients, request, timeout=timeout).value
        if answer.sweep:
            one.add_clients(answer.sweep)
        if answer.failed:
            one.miss("the clients", answer.failed)

    def throughput(self, one: Evidence, threads: int, batch: int) -> None:
        seconds = self.settings.load_seconds
        request = batches.BatchesRequest(self.work, one.timed.setting, threads, batch, seconds)
        found = self._child(batches.throughput, request, threads=threads).value
        one.add_throughput(found, threads=threads, batch=batch)

    def batches(self, one: Evidence, threads: int) -> None:
        request = batches.SweepRequest(self.work, one.timed.setting, threads, self.settings.load_seconds)
        one.add_batches(self._child(batches.sweep_batches, request, threads=threads).value, threads=threads)

    def stages(self, one: Evidence) -> None:
        request = stages.StagesRequest(self.work, one.timed.setting)
        one.add_stages(self._child(stages.time_stages, request).value)

    def _child(
        self, function: Callable[[Request], Answer], request: Request, *, threads: int = 1, timeout: float | None = None
    ) -> ChildResult[Answer]:
        return run_child(
            function, request, threads=threads, device=self.device, timeout=timeout, keep=self.keep
        )  # fmt: skip
