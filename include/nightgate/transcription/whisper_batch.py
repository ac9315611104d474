"""How many clips go through an engine at once, per device."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TypeVar

Item = TypeVar("Item")


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
