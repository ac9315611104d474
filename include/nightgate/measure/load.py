"""Drive a call with load: as much as it can take (`closed_loop`), or as much as comes in (`open_loop`).

A closed loop sends the next request when the last one is answered, so a slow answer holds back the requests that would
have waited behind it, and their waiting is never seen ("coordinated omission": Tene, *How NOT to Measure Latency*,
Strange Loop 2015). It states throughput well and the latency under load not at all. In an open loop requests come when
they come, and latency counts from that moment (Schroeder, Wierman & Harchol-Balter, *Open Versus Closed: A Cautionary
Tale*, NSDI 2006).
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sized
from dataclasses import dataclass
from time import perf_counter_ns
from typing import TYPE_CHECKING, TypeVar

from nightgate.measure.inputs import Inputs

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

Input = TypeVar("Input")
Batch = TypeVar("Batch", bound=Sized)

PATIENCE = 3
"""An open loop that is still behind after this many times its planned length is ended."""

_SECOND = 1_000_000_000
_SPIN_NS = 1_000_000  # a sleeping thread wakes about 0.1 ms late, and more on a busy host: spin through the last bit


@dataclass(frozen=True)
class Throughput:
    """``durations_ns``: int64 nanoseconds, (passes, batches). ``sizes``: int64, the calls in each batch, (batches,)."""

    durations_ns: npt.NDArray[np.int64]
    sizes: npt.NDArray[np.int64]

    @property
    def per_second(self) -> float:
        """Calls per second over all passes."""
        return float(self.sizes.sum() * len(self.durations_ns) / self.durations_ns.sum() * _SECOND)


@dataclass(frozen=True)
class Load:
    """What an open loop saw.

    ``latencies_ns``: int64, one per request served, from its scheduled moment to its answer.
    ``service_ns``: int64, one per request served, the call alone.
    ``lateness_ns``: int64, one per request that came while nothing was being served: how long after its scheduled
    moment the loop began it. This is the loop's own error, a floor below which no latency can be told.
    ``arrivals``: the requests that were scheduled. ``elapsed_ns``: from the start to the last answer.
    ``saturated``: requests came faster than they were served, so the latencies grow with the length of the
    measurement and describe no steady state; where the loop was ended, the longest are missing as well.
    """

    latencies_ns: npt.NDArray[np.int64]
    service_ns: npt.NDArray[np.int64]
    lateness_ns: npt.NDArray[np.int64]
    arrivals: int
    elapsed_ns: int
    saturated: bool

    @property
    def utilisation(self) -> float:
        """The share of the time in which a request was being served."""
        return float(self.service_ns.sum() / self.elapsed_ns)


def closed_loop(
    call_batch: Callable[[Batch], object],
    batches: Inputs[Batch],
    seconds: float,
    *,
    clock: Callable[[], int] = perf_counter_ns,
) -> Throughput:
    """Call ``call_batch(batch)`` for one batch after the other, in whole passes, for at least ``seconds`` and one pass.

    Whole passes, so that every batch weighs the same. ``call_batch`` should be warm.

    Args:
        batches: at least one; ``len(batch)`` is the number of calls it stands for.
        clock: nanoseconds.
    """
    import numpy as np

    if not len(batches):
        raise ValueError("a closed loop needs at least one batch")
    durations: list[list[int]] = []
    enough = clock() + seconds * _SECOND
    while not durations or clock() < enough:
        durations.append([])
        for batch in batches:
            start = clock()
            call_batch(batch)
            durations[-1].append(clock() - start)
    return Throughput(np.array(durations), np.array([len(batch) for batch in batches]))


def wait_until(
    moment: int, *, clock: Callable[[], int] = perf_counter_ns, sleep: Callable[[float], None] = time.sleep
) -> None:
    """Return at ``moment`` (nanoseconds of ``clock``), never before: sleep until close to it, then spin."""
    asleep = moment - clock() - _SPIN_NS
    if asleep > 0:
        sleep(asleep / _SECOND)
    while clock() < moment:
        pass


def open_loop(
    call: Callable[[Input], object],
    inputs: Inputs[Input],
    rate: float,
    seconds: float,
    seed: int,
    *,
    clock: Callable[[], int] = perf_counter_ns,
    wait: Callable[[int], None] = wait_until,
) -> Load:
    """Serve requests that arrive as a Poisson process at ``rate`` per second, in order, on this one thread.

    The inputs are taken in turn. A request that arrives during another's service waits, and its latency says so. The
    loop ends by itself when it is still behind after ``PATIENCE`` × ``seconds``. ``call`` should be warm.

    Args:
        rate: requests per second, > 0; ``rate × seconds`` are scheduled, at least one.
        seed: decides the moments of arrival.
        clock: nanoseconds.
        wait: returns when ``clock`` has reached the moment it is given.
    """
    import numpy as np

    if not len(inputs) or not rate > 0 or not seconds > 0:
        raise ValueError("an open loop needs inputs, a rate above 0 and seconds above 0")
    moments = arrivals(rate, seconds, seed).tolist()
    latencies: list[int] = []
    service: list[int] = []
    lateness: list[int] = []
    start = end = clock()
    for number, moment in enumerate(moments):
        if end - start > PATIENCE * seconds * _SECOND:
            break
        request, due = inputs[number % len(inputs)], start + moment
        begin = clock()
        if begin < due:
            wait(due)
            begin = clock()
            lateness.append(begin - due)
        call(request)
        end = clock()
        latencies.append(end - due)
        service.append(end - begin)
    # a queue has a steady state only while less than one second of work arrives per second
    work_per_second = rate * sum(service) / len(service) / _SECOND
    return Load(
        latencies_ns=np.array(latencies, dtype=np.int64),
        service_ns=np.array(service, dtype=np.int64),
        lateness_ns=np.array(lateness, dtype=np.int64),
        arrivals=len(moments),
        elapsed_ns=end - start,
        saturated=len(latencies) < len(moments) or work_per_second >= 1,
    )


def arrivals(rate: float, seconds: float, seed: int) -> npt.NDArray[np.int64]:
    """The moments of a Poisson process at ``rate`` per second: int64 nanoseconds from 0 to ``seconds``, ascending.

    Gaps are exponential, scaled so that exactly ``rate × seconds`` arrivals (rounded, at least one) fall into the
    time: a Poisson process under the condition of its count (Ross, *Stochastic Processes*, 2nd ed. 1996, theorem
    2.3.1). So the asked rate is met in each measurement, not just on average.
    """
    import numpy as np

    count = max(1, round(rate * seconds))
    gaps = np.random.default_rng(seed).exponential(size=count + 1)
    moments: npt.NDArray[np.float64] = gaps.cumsum()[:-1] / gaps.sum() * seconds * _SECOND
    return moments.astype(np.int64)
