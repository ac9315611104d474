"""How many queries are answered per second when they come in batches: one at a time, or a thousand."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nightgate.measure import estimates
from nightgate.measure.load import closed_loop

if TYPE_CHECKING:
    import numpy as np

BATCHES = (1, 10, 100, 1000)


@dataclass(frozen=True)
class BatchRate:
    """What one size of batch gives: ``per_second`` queries over ``passes`` passes, with a 95 % interval where these are
    enough to state one, and the ``recall`` of what is answered at that size, in [0, 1]."""

    batch: int
    per_second: float
    passes: int
    ci95: tuple[float, float] | None
    recall: float


def rate(per_second: Sequence[float]) -> estimates.Estimate:
    """The queries per second over passes of so many each.

    Every pass is the same work, so their seconds are averaged: the mean of their rates would make light of slow ones.
    """
    import numpy as np

    seconds, n, bounds = estimates.mean(1 / np.array(per_second))
    return 1 / seconds, n, (1 / bounds[1], 1 / bounds[0]) if bounds and bounds[0] > 0 else None


def sweep(
    ask_many: Callable[[Any], Sequence[np.ndarray]],
    queries: np.ndarray,
    recall_of: Callable[[list[np.ndarray]], float],
    seconds: float,
    *,
    loop: Callable[..., Any] = closed_loop,
) -> list[BatchRate]:
    """Each size in turn, for at least ``seconds`` and one pass, after a pass that warms up and whose answers count.

    Args:
        queries: float32, (n, dim); repeated where a batch holds more.
        recall_of: of the answers to ``queries``, in their order.
    """
    import numpy as np

    found = []
    for size in BATCHES:
        asked = np.resize(queries, (max(len(queries), size), queries.shape[1]))
        batches = [asked[start : start + size] for start in range(0, len(asked), size)]
        answers = [answer for batch in batches for answer in ask_many(batch)]
        load = loop(ask_many, batches, seconds)
        value, passes, interval = rate(load.sizes.sum() / (load.durations_ns.sum(axis=1) / 1e9))
        found.append(BatchRate(size, value, passes, interval, recall_of(answers[: len(queries)])))
    return found
