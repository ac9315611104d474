"""The strategies' queries timed: in each process all in turns, or one after the other where they do not fit beside each other."""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial

from nightgate import paths
from nightgate.hybrid_ann.settings import Settings
from nightgate.measure import attempts, host, pace
from nightgate.measure.turns import run_in_turns
from nightgate.record import Device
from nightgate.vector_search.asking import Asking
from nightgate.vector_search.evidence import Evidence, keep_rounds
from nightgate.vector_search.passes import Passes
from nightgate.vector_search.settings import Shape
from nightgate.vector_search.tuning import Tuning
from nightgate.vectors.dataset import MOST_TUNING

log = logging.getLogger(__name__)

_WHOLE_CURVE_TO = 0.995
_TUNING_WARMUP = 50
_A_TURN = 100  # queries: some tens of milliseconds, so that all see the same seconds of the host
_WARM_AGAIN = 10  # queries


def time_all(
    ready: Sequence[Evidence],
    asking: Mapping[str, Asking],
    settings: Settings,
    shape: Shape,
    device: Device,
    *,
    beside: bool = False,
) -> None:
    """Time what is ``ready``, each in ``settings.processes`` fresh processes; ``asking`` by variant.

    All take turns within each process, so that a host that changes its speed changes it for all of them. On a GPU, or where
    the memory does not hold all at once, they take turns by the process, in the opposite order every other time.

    Args:
        beside: another environment measures meanwhile, so that also one alone takes turns.
    """
    passes = Passes(
        settings.passes,
        max(settings.passes, settings.most_passes),
        settings.precision * math.sqrt(settings.processes),  # of one process, so that all together reach it
        fastest_ns=min(pace.known(paths.home()), default=None),
    )
    for one in ready:
        one.precision = settings.precision
    if ready and (len(ready) > 1 or beside):
        apart = _apart(settings, shape, device)
        for one in ready:
            others = ", ".join(other.variant for other in ready if other is not one)
            one.record.facts.turns = apart or f"every {_A_TURN} queries, with {others or 'another environment'}"
        if not apart:
            _in_turns(ready, asking, settings, passes)
            return
    for process, one in attempts.turns(ready, settings.processes):
        log.info("%s: process %d of %d", one.variant, process + 1, settings.processes)
        step = partial(asking[one.variant].queries, tuning=_tuning(settings), passes=passes)
        _take(one, process, settings, step)


def _in_turns(ready: Sequence[Evidence], asking: Mapping[str, Asking], settings: Settings, passes: Passes) -> None:
    passes = replace(passes, a_turn=_A_TURN, warm_again=_WARM_AGAIN)
    tuning, device = _tuning(settings), next(iter(asking.values())).device
    for process in range(settings.processes):
        working = [one for one in ready if one.record.status == "measured"]
        log.info("%s: process %d of %d", ", ".join(one.variant for one in working), process + 1, settings.processes)
        asks = [asking[one.variant].to_time(one, tuning, passes) for one in working]
        for one, found in zip(working, run_in_turns(asks, threads=1, device=device), strict=True):
            _take(one, process, settings, partial(asking[one.variant].timed, found=found, process=process))
    keep_rounds([one for one in ready if one.record.status == "measured"], settings.processes)


def _take(one: Evidence, process: int, settings: Settings, step: Callable[[Evidence], None]) -> None:
    """What the verdicts hang on is measured in the first process; a later one that fails takes only its own times."""
    if process == 0:
        one.attempt(step)
    else:
        one.beside(f"process {process + 1} of {settings.processes}", step)


def _apart(settings: Settings, shape: Shape, device: Device) -> str | None:
    """Why the strategies cannot be open at the same time, or None where they can."""
    if device == "gpu":
        return "process by process: the memory of the GPU is told of each alone"
    needed, there = settings.together_for(shape), host.describe().memory_bytes
    if needed <= there:
        return None
    return (
        f"process by process: all at once would need {needed / 2**30:.1f} GiB of memory and the host has "
        f"{there / 2**30:.1f} GiB"
    )


def _tuning(settings: Settings) -> Tuning:
    return Tuning(
        settings.recall_target, settings.recall_margin, MOST_TUNING, _TUNING_WARMUP, whole_curve_to=_WHOLE_CURVE_TO
    )
