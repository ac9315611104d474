"""Time calls in short blocks, with a reference computation before and after each.

Virtual hosts change their speed within a second or a few, by a factor of one and a half and more. The reference
computation, the kernel, tells how fast the host was beside each block, so that times taken in like states can be compared
with each other.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter_ns
from typing import TYPE_CHECKING, Generic, TypeVar

from nightgate.measure.clock import time_calls
from nightgate.measure.inputs import Inputs

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

WITHIN = 1.25
"""A block is fast when the kernel took at most so many times its fastest on both of its sides."""

_ROUNDS = 4_000  # of the kernel: 0.1 to 0.3 ms
_BLOCK_NS = 1_500_000  # of calls between two readings: long beside the kernel, short beside the host's changes
_MOST = 20  # calls in a block
_LOW = 0.01  # the quantile of the readings that stands for the fastest: one that was misread decides nothing

Input = TypeVar("Input")
Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Timings(Generic[Answer]):
    """``durations``: int64 ns, one per call. ``beside``: int64 ns, one per call, the slower of the two readings of the kernel
    before and after the call's block. ``answers``: what the calls returned."""

    durations: npt.NDArray[np.int64]
    beside: npt.NDArray[np.int64]
    answers: list[Answer]


def kernel() -> int:
    """Nanoseconds that a fixed computation takes now: integers in the interpreter, nothing that memory could slow down."""
    start = perf_counter_ns()
    total = 0
    for number in range(_ROUNDS):
        total += number * number
    return perf_counter_ns() - start


def size_for(durations: npt.NDArray[np.int64]) -> int:
    """How many calls make a block, from 1 to 20, by the median of ``durations``, int64 ns of any shape."""
    import numpy as np

    usual = float(np.median(durations)) if durations.size else 0.0
    return max(1, min(_MOST, round(_BLOCK_NS / usual))) if usual > 0 else _MOST


def time_blocks(call: Callable[[Input], Answer], inputs: Inputs[Input], size: int) -> Timings[Answer]:
    """Call ``call(x)`` once for each input, one at a time, in blocks of ``size`` with the kernel on either side of each.

    Nothing but the call runs between its two clock readings; see `time_calls`.
    """
    import numpy as np

    durations, beside = np.empty(len(inputs), np.int64), np.empty(len(inputs), np.int64)
    answers: list[Answer] = []
    before = kernel()
    for start in range(0, len(inputs), size):
        block = slice(start, min(start + size, len(inputs)))
        spent, found = time_calls(call, [inputs[place] for place in range(block.start, block.stop)], passes=1)
        after = kernel()
        durations[block], beside[block] = spent[0], max(before, after)
        answers += found
        before = after
    return Timings(durations, beside, answers)


def fastest(beside: npt.NDArray[np.int64]) -> float:
    """The kernel's time at the fastest the host was, ns: the first percentile of the readings, int64 of any shape."""
    import numpy as np

    return float(np.quantile(beside, _LOW, method="higher"))


def fast(beside: npt.NDArray[np.int64], fastest_ns: float) -> npt.NDArray[np.bool_]:
    """Which calls were made while the host was as fast as it gets, in the shape of ``beside``."""
    return beside <= WITHIN * fastest_ns


def alike(durations: npt.NDArray[np.int64], chosen: npt.NDArray[np.bool_]) -> npt.NDArray[np.int64]:
    """Whole passes put together from the ``chosen`` calls alone: each input's first, each input's second, and so on.

    So every input weighs the same whatever state the host was in when its turn came.

    Args:
        durations: int64 ns, (passes, inputs).
        chosen: of the same shape.

    Returns:
        int64 ns, (as many as the input with the fewest chosen calls has, inputs).
    """
    import numpy as np

    whole = int(chosen.sum(axis=0).min(initial=len(durations))) if durations.size else 0
    order = np.argsort(~chosen, axis=0, kind="stable")[:whole]
    return np.take_along_axis(durations, order, axis=0)
