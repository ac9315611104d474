"""What the steps share: the records of one measurement, where they are kept, and what does not outlast them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace

from nightgate import paths, registry
from nightgate.artifacts import Cache
from nightgate.benchmark import Context
from nightgate.planning import Plan
from nightgate.record import Device, Record
from nightgate.results import files
from nightgate.results.store import Store


def records_of(plan: Plan, benchmark: str, device: Device) -> list[Record]:
    """What was measured so far, sorted by variant."""
    return [r for r in files.read_records(plan.run_id) if (r.benchmark, r.device) == (benchmark, device)]


def save(store: Store, plan: Plan, records: Sequence[Record]) -> None:
    """Put records of this run into the store."""
    run = (plan.run_id, plan.dag_id, plan.scale)
    store.save_records(*run, records, suite=plan.suite, standing=plan.standing, overrides=plan.overrides)


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
