"""What the steps share: where a measurement works, and what does not outlast it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

from nightgate import paths, registry
from nightgate.artifacts import Cache
from nightgate.benchmark import Context
from nightgate.planning import Plan
from nightgate.record import Device
from nightgate.results import files


def owner(plan: Plan, benchmark: str, device: Device) -> str:
    """Whose reservation it is that keeps what was prepared until it is measured."""
    return f"{plan.run_id}-{benchmark}-{device}"


def context_of(plan: Plan, benchmark: str, device: Device, look: int = 0) -> Context:
    """Where the first measurement of a run works, or the ``look``-th that confirms it."""
    samples = files.samples_path(plan.run_id, benchmark, device, look)
    return replace(plan.context(benchmark, device, Cache(paths.cache_dir()), samples), fresh=look)


@contextmanager
def tidied(plan: Plan, benchmark: str, device: Device, look: int = 0) -> Iterator[None]:
    """What was prepared outside the cache does not outlast a run that ends in here."""
    try:
        yield
    except BaseException:
        tidy(plan, benchmark, device, look)
        raise


def tidy(plan: Plan, benchmark: str, device: Device, look: int = 0) -> None:
    """Remove what a run that ended between preparing and measuring left outside the cache."""
    registry.named(benchmark).tidy(plan.settings_of(benchmark), context_of(plan, benchmark, device, look))
