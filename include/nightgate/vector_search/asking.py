"""The parent's side: which children are asked what, for the numbers of one variant."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeVar

from nightgate.errors import ChildError, NightgateError
from nightgate.measure.child import ChildResult, run_child
from nightgate.measure.turns import Ask
from nightgate.record import Device
from nightgate.vector_search import batches, several, stages, timed
from nightgate.vector_search.evidence import Evidence
from nightgate.vector_search.passes import Passes
from nightgate.vector_search.session import Setting
from nightgate.vector_search.settings import VectorSettings
from nightgate.vector_search.timed import Timed, Work
from nightgate.vector_search.tuning import Tuning

log = logging.getLogger(__name__)

Request = TypeVar("Request")
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Step:
    """``what`` is measured by a child's ``function``; its answer is given to ``take``."""

    what: str
    function: Callable[[Any], Any]
    request: Any
    take: Callable[[Any], None]


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
        self, one: Evidence, tuning: Tuning, passes: Passes, known: Setting | None = None, timeout: float | None = None
    ) -> None:
        """Time every query alone in a fresh process, which also looks for the setting, unless it is ``known``."""
        ask = self.to_time(one, tuning, passes, known)
        self.timed(
            one, run_child(ask.function, ask.request, threads=1, device=self.device, timeout=timeout, keep=self.keep)
        )

    def to_time(self, one: Evidence, tuning: Tuning, passes: Passes, known: Setting | None = None) -> Ask[Timed]:
        """What a process is asked that does so, alone or in turns. Recall is that of the first."""
        depths = () if one.setting else self.settings.recall_depths
        return Ask(timed.time_queries, timed.QueriesRequest(self.work, one.setting or known, tuning, passes, depths))

    def timed(self, one: Evidence, found: ChildResult[Timed] | NightgateError, process: int | None = None) -> None:
        """Take what such a process answered, the ``process``-th. Raises the error that it ended with."""
        if isinstance(found, NightgateError):
            raise found
        if self.remote:
            one.add_timed(found.value, process=process)
        else:
            one.add_timed(found.value, found.peak_rss_bytes, found.device_memory, process=process)

    def open_loop(self, one: Evidence, timeout: float | None = None) -> None:
        log.info("%s: queries that arrive at a rate of their own", one.variant)
        step = self.open_loop_of(one)
        step.take(self._child(step.function, step.request, timeout=timeout).value)

    def clients(self, one: Evidence, clients: tuple[int, ...], timeout: float | None = None) -> None:
        log.info("%s: several clients at once", one.variant)
        request = timed.ClientsRequest(self.work, one.timed.setting, clients, self.settings.load_seconds)
        answer = self._child(timed.many_clients, request, timeout=timeout).value
        if answer.sweep:
            one.add_clients(answer.sweep)
        if answer.failed:
            one.miss("the clients", answer.failed)

    def open_loop_of(self, one: Evidence) -> Step:
        rate, seconds = self.settings.arrival_rate, self.settings.load_seconds
        request = timed.OpenLoopRequest(self.work, one.timed.setting, rate, seconds)
        return Step("the open loop", timed.open_loop_latency, request, one.add_open_loop)

    def stages_of(self, one: Evidence) -> Step:
        request = stages.StagesRequest(self.work, one.timed.setting)
        return Step("the time of each stage", stages.time_stages, request, one.add_stages)

    def throughput_of(self, one: Evidence, threads: int, batch: int) -> Step:
        request = batches.BatchesRequest(self.work, one.timed.setting, threads, batch, self.settings.load_seconds)
        take = partial(one.add_throughput, threads=threads, batch=batch)
        return Step("the throughput", batches.throughput, request, take)

    def batches_of(self, one: Evidence, threads: int) -> Step:
        request = batches.SweepRequest(self.work, one.timed.setting, threads, self.settings.load_seconds)
        return Step("the batches", batches.sweep_batches, request, partial(one.add_batches, threads=threads))

    def together(self, one: Evidence, steps: Sequence[Step], *, threads: int) -> None:
        """Make ``steps`` beside what was timed, in one child; where it crashes each in one of its own, so that the one that
        crashed it takes no other's numbers."""
        if len(steps) > 1:
            try:
                calls = [(step.function, step.request) for step in steps]
                answers = self._child(several.answer, calls, threads=threads).value
            except ChildError as error:
                log.warning("%s: %s; each step is made in a process of its own", one.variant, error)
            else:
                for step, answer in zip(steps, answers, strict=True):
                    one.beside(step.what, partial(_taken, step, answer))
                return
        for step in steps:
            one.beside(step.what, partial(self._alone, step, threads))

    def _alone(self, step: Step, threads: int, one: Evidence) -> None:
        step.take(self._child(step.function, step.request, threads=threads).value)

    def _child(
        self, function: Callable[[Request], Answer], request: Request, *, threads: int = 1, timeout: float | None = None
    ) -> ChildResult[Answer]:
        return run_child(function, request, threads=threads, device=self.device, timeout=timeout, keep=self.keep)


def _taken(step: Step, answer: Any, one: Evidence) -> None:
    if isinstance(answer, NightgateError):
        raise answer
    step.take(answer)
