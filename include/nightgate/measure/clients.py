"""Many clients at once, each a process with its own connection, so that no client waits for another's interpreter."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from multiprocessing.connection import Connection
from multiprocessing.synchronize import Barrier
from threading import BrokenBarrierError
from time import perf_counter_ns
from typing import TYPE_CHECKING, NamedTuple, TypeVar

from nightgate.errors import ChildError, NightgateError
from nightgate.measure import estimates
from nightgate.measure.inputs import Inputs

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

_SECOND = 1_000_000_000
_READY = 60.0  # seconds in which every client must have connected and warmed up
_WINDOWS = 10  # the rate is estimated from this many equal stretches of time

Input = TypeVar("Input")
Connect = Callable[[], AbstractContextManager[Callable[[Input], object]]]
"""Gives the call for as long as its context lasts."""


@dataclass(frozen=True)
class Crowd:
    """What ``clients`` clients saw together: ``latencies_ns``, int64, one per call, and ``ends_ns``, int64, when each
    call was answered, from the common start, both ascending by ``ends_ns``; ``seconds`` is how long they called."""

    clients: int
    latencies_ns: npt.NDArray[np.int64]
    ends_ns: npt.NDArray[np.int64]
    seconds: float

    def per_second(self) -> estimates.Estimate:
        """Calls answered per second by all together, with an interval over ten equal stretches of the time."""
        import numpy as np

        width = self.seconds / _WINDOWS
        counts, _ = np.histogram(self.ends_ns / _SECOND, bins=_WINDOWS, range=(0, self.seconds))
        return estimates.mean(counts / width)


class _Answer(NamedTuple):
    """What one client saw: int64 nanoseconds, ``latencies_ns`` and ``ends_ns`` one per call."""

    start: int
    latencies_ns: npt.NDArray[np.int64]
    ends_ns: npt.NDArray[np.int64]


def closed_loop_clients(
    connect: Connect[Input],
    inputs: Inputs[Input],
    clients: int,
    seconds: float,
    *,
    warmup: Inputs[Input] = (),
) -> Crowd:
    """``clients`` processes each send the next of ``inputs`` when the last is answered, for ``seconds``.

    Each begins at another place of ``inputs``. The caller must have no other threads: the processes are forked.

    Args:
        connect: called in each client.
        warmup: called by each client before the common start.

    Raises:
        ChildError: a client died, or was not ready within a minute. NightgateError: the one that a client raised.
    """
    import numpy as np

    context = multiprocessing.get_context("fork")
    barrier = context.Barrier(clients)
    pipes, processes = [], []
    for number in range(clients):
        ours, theirs = context.Pipe(duplex=False)
        first = number * len(inputs) // clients
        turned = [inputs[(first + place) % len(inputs)] for place in range(len(inputs))]
        process = context.Process(target=_client, args=(connect, turned, warmup, seconds, barrier, theirs), daemon=True)
        process.start()
        theirs.close()
        pipes.append(ours)
        processes.append(process)
    try:
        answers = _answers(pipes, seconds, barrier)
    finally:
        for process in processes:
            process.kill()
            process.join()
    start = max(answer.start for answer in answers)  # the last to leave the barrier
    latencies = np.concatenate([answer.latencies_ns for answer in answers])
    ends = np.concatenate([answer.ends_ns for answer in answers]) - start
    inside = (ends >= 0) & (ends <= seconds * _SECOND)
    order = np.argsort(ends[inside])
    return Crowd(clients, latencies[inside][order], ends[inside][order], seconds)


def _answers(pipes: Sequence[Connection], seconds: float, barrier: Barrier) -> list[_Answer]:
    """What every client saw. When one fails, the others only leave the barrier, so its error is the one to raise."""
    answers, failed = [], []
    for pipe in pipes:
        try:
            answers.append(_answer(pipe, seconds))
        except NightgateError as error:
            failed.append(error)
            barrier.abort()  # nobody shall wait there for one that has died
    if failed:
        raise next((error for error in failed if not isinstance(error, ChildError)), failed[0])
    return answers


def _answer(pipe: Connection, seconds: float) -> _Answer:
    if not pipe.poll(_READY + 2 * seconds + _READY):
        raise ChildError("a client did not answer in time", "see the log of the server")
    try:
        answer: _Answer | NightgateError = pipe.recv()
    except EOFError:
        raise ChildError("a client died", "see the log for its last words") from None
    if isinstance(answer, NightgateError):
        raise answer
    return answer


def _client(
    connect: Connect[Input],
    inputs: Sequence[Input],
    warmup: Inputs[Input],
    seconds: float,
    barrier: Barrier,
    pipe: Connection,
) -> None:
    import numpy as np

    try:
        with connect() as call:
            for x in warmup:
                call(x)
            barrier.wait(_READY)
            start = now = perf_counter_ns()
            latencies: list[int] = []
            ends: list[int] = []
            while now - start < seconds * _SECOND:
                before = now
                call(inputs[len(ends) % len(inputs)])
                now = perf_counter_ns()
                latencies.append(now - before)
                ends.append(now)
            pipe.send(_Answer(start, np.array(latencies, np.int64), np.array(ends, np.int64)))
    except BrokenBarrierError:
        return  # another client failed, and says why
    except NightgateError as error:
        barrier.abort()
        pipe.send(error)
