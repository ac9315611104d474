"""What other packages bring along, found by entry points: benchmarks, speech engines, vector indexes, vector stores.

An entry point names one object of its group's type. A package that cannot be imported, or brings something else, is
named with its reason and stands in nobody's way. Whatever is declared must be light: a DAG that is parsed loads it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from importlib.metadata import EntryPoint, EntryPoints, entry_points
from time import perf_counter
from typing import Any, TypeVar

log = logging.getLogger(__name__)

BENCHMARKS = "nightgate.benchmarks"
ENGINES = "nightgate.engines"
STRATEGIES = "nightgate.strategies"
VECTOR_STORES = "nightgate.vector_stores"
GROUPS = (BENCHMARKS, ENGINES, STRATEGIES, VECTOR_STORES)

Kind = TypeVar("Kind")


@dataclass(frozen=True)
class Plugin:
    """One entry point. ``value`` is what it names; None where ``error`` says why it could not be had. ``seconds`` is how
    long loading it took."""

    group: str
    name: str
    target: str
    package: str
    version: str
    seconds: float
    value: Any = None
    error: str | None = None


def load(group: str, kind: type[Kind]) -> dict[str, Kind]:
    """Name → object, of every entry point of ``group`` that names a ``kind`` (an instance, or a class of it)."""
    return {name: plugin.value for name, plugin in _usable(group, kind) if plugin.error is None}


def classes(group: str, kind: type[Kind]) -> dict[str, type[Kind]]:
    """As `load`, where it is the classes that are wanted."""
    return {name: one if isinstance(one, type) else type(one) for name, one in load(group, kind).items()}


def listed(kinds: dict[str, type[Any]]) -> Iterator[Plugin]:
    """Every entry point of the groups in ``kinds`` (group → the type its objects must have), the broken ones among them."""
    for group, kind in kinds.items():
        for _, plugin in _usable(group, kind):
            yield plugin


def _usable(group: str, kind: type[Any]) -> list[tuple[str, Plugin]]:
    found: dict[str, Plugin] = {}
    for point in _points(group):
        plugin = _loaded(point, kind)
        if point.name in found and found[point.name].target != plugin.target:
            other = found[point.name]
            log.warning("%s of %s is left out: %s has one of this name", point.name, plugin.package, other.package)
            continue
        if plugin.error:
            log.warning("the plug-in %s of %s is left out: %s", point.name, plugin.package, plugin.error)
        found[point.name] = plugin
    return list(found.items())


@cache
def _points(group: str) -> EntryPoints:
    return entry_points(group=group)


def _loaded(point: EntryPoint, kind: type[Any]) -> Plugin:
    package, version = (point.dist.name, point.dist.version) if point.dist else ("an unknown package", "")
    start = perf_counter()
    value, error = None, None
    try:
        value = point.load()
    except Exception as failed:  # whatever another's package does, it is not ours to fail for it
        error = f"{type(failed).__name__}: {failed}"
    else:
        if not (isinstance(value, kind) or (isinstance(value, type) and issubclass(value, kind))):
            value, error = None, f"{point.value} is a {type(value).__name__} and no {kind.__name__}"
        elif (own := getattr(value, "name", point.name)) != point.name:
            value, error = None, f"{point.value} is called {own!r} and its entry point {point.name!r}"
    return Plugin(point.group, point.name, point.value, package, version, perf_counter() - start, value, error)
