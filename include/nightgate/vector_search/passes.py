"""The measured queries, pass after pass and block by block, until they tell enough or have been asked often enough."""

from __future__ import annotations

from collections.abc import Callable, Generator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nightgate.measure import blocks
from nightgate.measure.clock import time_calls
from nightgate.measure.precision import half_width
from nightgate.vector_search.session import Encoded, Ids

if TYPE_CHECKING:
    import numpy as np


@dataclass(frozen=True)
class Passes:
    """How often all queries are asked: ``least`` times, and then until P50 and P95 are known to ``precision`` (relative half
    width, see `half_width`), at most ``most`` times. With 0 it is ``most`` times in any case.

    ``a_turn`` queries are asked in one turn, all of them where it is 0. Each turn begins with ``warm_again`` of the queries to
    warm up with, which are not kept: while others had their turn, the caches came to hold what those work on. ``fastest_ns``
    is the kernel's time at the host's full speed, as far as earlier measurements know it.
    """

    least: int
    most: int
    precision: float = 0.0
    a_turn: int = 0
    warm_again: int = 0
    fastest_ns: float | None = None


@dataclass(frozen=True)
class Asked:
    """``durations``, int64 ns, and ``beside``, int64 ns, the slower of the two readings of the kernel around each call's
    block, both (passes, queries); ``answers`` of the first pass."""

    durations: np.ndarray
    beside: np.ndarray
    answers: list[Ids]


def time_passes(
    search: Callable[[Any], Ids], queries: Encoded, warmup: Encoded, asked: Passes
) -> Generator[bool, Any, Asked]:
    """Ask ``warmup``, and then ``queries`` as `Passes` says. The first turn ends after the warm-up.

    Yields whether the passes tell enough by now; where it is answered with True after a whole pass, that was the last.
    """
    import numpy as np

    size = blocks.size_for(time_calls(search, warmup, passes=1)[0])
    a_turn = asked.a_turn or len(queries)
    durations: list[np.ndarray] = []
    beside: list[np.ndarray] = []
    answers: list[Ids] = []
    enough = False
    yield enough
    while True:
        parts = []
        for start in range(0, len(queries), a_turn):
            if start:
                yield enough
            for query in warmup[: asked.warm_again]:
                search(query)
            parts.append(blocks.time_blocks(search, queries[start : start + a_turn], size))
        durations.append(np.concatenate([part.durations for part in parts]))
        beside.append(np.concatenate([part.beside for part in parts]))
        answers = answers or [answer for part in parts for answer in part.answers]
        if len(durations) >= asked.most:
            break
        enough = enough or _enough(np.stack(durations), np.stack(beside), asked)
        if (yield enough):
            break
    return Asked(np.stack(durations), np.stack(beside), answers)


def _enough(durations: np.ndarray, beside: np.ndarray, asked: Passes) -> bool:
    """Whether calls made at the host's full speed tell enough; those in another state say nothing of how exact these are."""
    if len(durations) < asked.least or asked.precision <= 0:
        return False
    fastest = blocks.fastest(beside)
    if asked.fastest_ns is not None:
        fastest = min(fastest, asked.fastest_ns)
    reached = half_width(blocks.alike(durations, blocks.fast(beside, fastest)))
    return reached is not None and reached <= asked.precision
