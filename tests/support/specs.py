"""Declarations by name, for tests that make records by hand."""

from __future__ import annotations

from nightgate import registry
from nightgate.metrics import MetricSpec
from nightgate.record import Record


def all_specs() -> dict[str, MetricSpec]:
    """Every metric that some benchmark declares, by name."""
    return {spec.name: spec for known in registry.installed().values() for spec in known.all_metrics}


def add(record: Record, name: str, *figures, **named) -> None:
    """`Record.add` of the metric that is called so."""
    known = registry.installed().get(record.benchmark)
    own = {spec.name: spec for spec in known.all_metrics} if known else {}
    record.add(own.get(name) or all_specs()[name], *figures, **named)
