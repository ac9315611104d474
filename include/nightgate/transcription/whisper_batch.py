"""Clips in batches: how many go in at once on each device, and how a batch is spread over contexts and threads."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from queue import Empty, SimpleQueue
from typing import TypeVar

from nightgate.record import Device

Item = TypeVar("Item")
Result = TypeVar("Result")
Context = TypeVar("Context")

Split = tuple[int, int]
"""Contexts (loaded models that work side by side), and threads of each."""

_MOST_GPU_CONTEXTS = 8


def batch_size_cpu(gpu_batch: int) -> int:
    """A quarter of the GPU batch, and never less than one clip: ``max(1, gpu_batch // 4)``."""
    return max(1, gpu_batch // 4)


def batches(items: Sequence[Item], size: int) -> Iterator[Sequence[Item]]:
    """Cut ``items`` into runs of ``size`` in their order; the last run may be shorter.

    Raises:
        ValueError: ``size`` is below one.
    """
    if size < 1:
        raise ValueError(f"a batch holds at least one item, not {size}")
    for start in range(0, len(items), size):
        yield items[start : start + size]


def splits(cores: int, most: int, device: Device) -> list[Split]:
    """The splits worth trying beside one context with all ``cores``, fewest contexts first.

    On the CPU contexts × threads is all ``cores``; on a GPU the contexts double and share the cores, which do little.

    Args:
        most: contexts allowed: no more than clips in a batch, or than fit into memory.
    """
    if device == "gpu":
        counts = [n for n in (2, 4, _MOST_GPU_CONTEXTS) if n <= most]
    else:
        counts = [n for n in range(2, min(cores, most) + 1) if cores % n == 0]
    return [(contexts, max(1, cores // contexts)) for contexts in counts]


def spread(contexts: Sequence[Context], items: Sequence[Item], work: Callable[[Context, Item], Result]) -> list[Result]:
    """``work(context, item)`` for every item, each context taking the next item as soon as it is free.

    Returns:
        the results in the order of ``items``. The first exception of a context is raised.
    """
    waiting: SimpleQueue[tuple[int, Item]] = SimpleQueue()
    for numbered in enumerate(items):
        waiting.put(numbered)
    results: dict[int, Result] = {}

    def take(context: Context) -> None:
        with suppress(Empty):
            while True:
                place, item = waiting.get_nowait()
                results[place] = work(context, item)

    if len(contexts) == 1:
        take(contexts[0])
    else:
        with ThreadPoolExecutor(len(contexts)) as pool:
            for done in [pool.submit(take, context) for context in contexts]:
                done.result()
    return [results[place] for place in range(len(items))]


def each(contexts: Sequence[Context], work: Callable[[Context], object]) -> None:
    """``work(context)`` once for every context, all side by side. The first exception of a context is raised."""
    with ThreadPoolExecutor(len(contexts)) as pool:
        for done in [pool.submit(work, context) for context in contexts]:
            done.result()
