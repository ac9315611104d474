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
from typing import TYPE_CHECKING, Any

from nightgate.errors import ChildError, NightgateError
from nightgate.measure import estimates

if TYPE_CHECKING:
    import numpy as np

_SECOND = 1_000_000_000
_READY = 60.0  # seconds in which every client must have connected and warmed up
_WINDOWS = 10  # the rate is estimated from this many equal stretches of time

Call = Callable[[Any], Any]


@dataclass(frozen=True)
class Crowd:
    """What ``clients`` clients saw together: ``latencies_ns``, int64, one per call, and ``ends_ns``, int64, when each
    call was answered, from the common start, both ascending by ``ends_ns``; ``seconds`` is how long they called."""

    clients: int
    latencies_ns: np.ndarray
    ends_ns: np.ndarray
    seconds: float

    def per_second(self) -> estimates.Estimate:
        """Calls answered per second by all together, with an interval over ten equal stretches of the time."""
        import numpy as np

        width = self.seconds / _WINDOWS
        counts, _ = np.histogram(self.ends_ns / _SECOND, bins=_WINDOWS, range=(0, self.seconds))
        return estimates.mean(counts / width)


def closed_loop_clients(
    connect: Callable[[], AbstractContextManager[Call]],
    inputs: Sequence[Any],
    clients: int,
    seconds: float,
    *,
    warmup: Sequence[Any] = (),
) -> Crowd:
    """``clients`` processes each send the next of ``inputs`` when the last is answered, for ``seconds``.

    Each begins at another place of ``inputs``. The caller must have no other threads: the processes are forked.

    Args:
        connect: called in each client; gives the call for as long as its context lasts.
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
        turned = [*inputs[number * len(inputs) // clients :], *inputs[: number * len(inputs) // clients]]
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
    start = max(began for began, _, _ in answers)  # the last to leave the barrier
    latencies = np.concatenate([latencies for _, latencies, _ in answers])
    ends = np.concatenate([ends for _, _, ends in answers]) - start
    inside = (ends >= 0) & (ends <= seconds * _SECOND)
    order = np.argsort(ends[inside])
    return Crowd(clients, latencies[inside][order], ends[inside][order], seconds)


def _answers(pipes: Sequence[Connection], seconds: float, barrier: Barrier) -> list[tuple[int, Any, Any]]:
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


def _answer(pipe: Connection, seconds: float) -> tuple[int, Any, Any]:
    if not pipe.poll(_READY + 2 * seconds + _READY):
        raise ChildError("a client did not answer in time", "see the log of the server")
    try:
        answer = pipe.recv()
    except EOFError:
        raise ChildError("a client died", "see the log for its last words") from None
    if isinstance(answer, NightgateError):
        raise answer
    return answer


def _client(
    connect: Callable[[], AbstractContextManager[Call]],
    inputs: Sequence[Any],
    warmup: Sequence[Any],
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
            latencies, ends = [], []
            while now - start < seconds * _SECOND:
                before = now
                call(inputs[len(ends) % len(inputs)])
                now = perf_counter_ns()
                latencies.append(now - before)
                ends.append(now)
            pipe.send((start, np.array(latencies, np.int64), np.array(ends, np.int64)))
    except BrokenBarrierError:
        return  # another client failed, and says why
    except NightgateError as error:
        barrier.abort()
        pipe.send(error)
