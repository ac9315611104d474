"""What state the host was in while queries were timed, and what can be said of the times taken at its full speed."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nightgate.facts import Pace
from nightgate.measure import blocks
from nightgate.measure.precision import FEWEST, half_width
from nightgate.record import Record
from nightgate.vector_search.latency import add_at_full_speed
from nightgate.vector_search.metrics import FAST_SHARE

if TYPE_CHECKING:
    import numpy as np

    from nightgate.vector_search.timed import Timed


@dataclass(frozen=True)
class Pooled:
    """The times of all processes: ``durations`` and ``beside`` int64 ns, (passes, queries), see `passes.Asked`, and the number
    of the process that each pass was made in, ``processes``, int64, (passes,)."""

    durations: np.ndarray
    beside: np.ndarray
    processes: np.ndarray

    def alike(self, chosen: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Whole passes of the ``chosen`` calls, bool (passes, queries), of each process by itself, see `blocks.alike`; and the
        process of each."""
        import numpy as np

        kept = []
        for process in np.unique(self.processes):
            own = self.processes == process
            passes = blocks.alike(self.durations[own], chosen[own])
            kept.append((passes, np.full(len(passes), process)))
        return np.concatenate([passes for passes, _ in kept]), np.concatenate([number for _, number in kept])


def pool(found: Mapping[int, Timed]) -> Pooled:
    """Args: found: number of the process → what was timed in it; at least one."""
    import numpy as np

    return Pooled(
        np.concatenate([timed.durations for timed in found.values()]),
        np.concatenate([timed.beside for timed in found.values()]),
        np.concatenate([np.full(len(timed.durations), number) for number, timed in found.items()]),
    )


def add_states(record: Record, times: Pooled, pace: Sequence[float], precision: float) -> None:
    """Say how much of the time the host was at its full speed, the latencies then, and how exactly they are known.

    Where every query was hardly ever asked at full speed there are no such latencies, and the record says so.

    Args:
        pace: what this measurement and those before it saw of the kernel at its fastest, ns; at least one.
        precision: what was wanted, a relative half width; 0: the number of passes was given.
    """
    fastest_ns, facts = min(pace), record.facts
    fast = blocks.fast(times.beside, fastest_ns)
    facts.pace = Pace(fastest_seconds=fastest_ns / 1e9, measurements=len(pace), within=blocks.WITHIN)
    record.add(FAST_SHARE, float(fast.mean()))
    alike, processes = times.alike(fast)
    needed = min(FEWEST, len(times.durations))
    told = len(alike) >= needed
    if told:
        add_at_full_speed(record, alike, processes.tolist())
    else:
        facts.not_measured["the latencies at full speed"] = (
            f"the host was at its full speed beside {fast.mean():.0%} of the queries, and each must have been asked then at "
            f"least {needed} times"
        )
    facts.half_width = half_width(alike if told else times.durations)
    if precision:
        exact = told and facts.half_width is not None and facts.half_width <= precision
        facts.stopped = "precision" if exact else "budget"
