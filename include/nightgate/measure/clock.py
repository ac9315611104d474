"""Time calls one by one."""

from __future__ import annotations

from collections.abc import Callable
from time import perf_counter_ns
from typing import TYPE_CHECKING, TypeVar

from nightgate.measure.inputs import Inputs

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

Input = TypeVar("Input")
Answer = TypeVar("Answer")


def time_calls(
    call: Callable[[Input], Answer], inputs: Inputs[Input], *, passes: int, warmup: Inputs[Input] = ()
) -> tuple[npt.NDArray[np.int64], list[Answer]]:
    """Call ``call(x)`` for each input, one at a time, ``passes`` times over.

    ``warmup`` inputs are called first and not kept; they should differ from ``inputs``. Nothing else runs between
    two clock readings, and an error ends the measurement: nothing is retried inside the timer.

    Returns:
        durations: int64 nanoseconds, shape (passes, len(inputs)).
        answers: what the first pass returned, in the order of ``inputs``.
    """
    import numpy as np

    for x in warmup:
        call(x)
    durations = np.empty((passes, len(inputs)), dtype=np.int64)
    answers: list[Answer] = []
    for row in range(passes):
        for column, x in enumerate(inputs):
            start = perf_counter_ns()
            answer = call(x)
            durations[row, column] = perf_counter_ns() - start
            if row == 0:
                answers.append(answer)
    return durations, answers
