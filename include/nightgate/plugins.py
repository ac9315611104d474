"""What other packages bring along, found by entry points: benchmarks, speech engines, vector indexes, vector stores.

An entry point names one object of its group's type, or a class of it. A package that cannot be imported, brings
something else, or contradicts itself, is named with its reason and stands in nobody's way. Whatever is declared must be
light: a DAG that is parsed loads it.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from importlib.metadata import EntryPoint, entry_points
from time import perf_counter
from typing import Any, Protocol, TypeVar, runtime_checkable

from nightgate.errors import InputError

log = logging.getLogger(__name__)

BENCHMARKS = "nightgate.benchmarks"
ENGINES = "nightgate.engines"
STRATEGIES = "nightgate.strategies"
VECTOR_STORES = "nightgate.vector_stores"
GROUPS = (BENCHMARKS, ENGINES, STRATEGIES, VECTOR_STORES)

_OBJECTS = (BENCHMARKS, VECTOR_STORES)  # of the other groups every user makes an object of its own

Kind = TypeVar("Kind")


@runtime_checkable
class Declared(Protocol):
    """What can be looked through once it is loaded, before anybody uses it."""

    def check_declaration(self) -> None:
        """InputError: it contradicts itself."""


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


_LISTED: dict[tuple[str, type[Any]], tuple[Plugin, ...]] = {}


def load(group: str, kind: type[Kind]) -> dict[str, Kind]:
    """Name → object, of every entry point of ``group`` that names a ``kind`` (an object of it, or a class of it)."""
    return {plugin.name: plugin.value for plugin in listed(group, kind) if plugin.error is None}


def classes(group: str, kind: type[Kind]) -> dict[str, type[Kind]]:
    """As `load`, where it is the classes that are wanted."""
    return {name: one if isinstance(one, type) else type(one) for name, one in load(group, kind).items()}


def listed(group: str, kind: type[Any]) -> tuple[Plugin, ...]:
    """As `load`, every entry point of ``group``, in the order of their names, the broken ones among them."""
    if (group, kind) not in _LISTED:  # each is loaded, and named if it is broken, once
        _LISTED[group, kind] = _listed(group, kind)
    return _LISTED[group, kind]


def _listed(group: str, kind: type[Any]) -> tuple[Plugin, ...]:
    found: list[Plugin] = []
    usable: dict[str, Plugin] = {}
    for point in dict.fromkeys(entry_points(group=group)):
        plugin = _loaded(point, kind)
        if plugin.error is None and (first := usable.setdefault(plugin.name, plugin)) is not plugin:
            plugin = replace(plugin, value=None, error=f"{first.package} has one of this name")
        if plugin.error:
            log.warning("%s %s of %s is left out: %s", group, plugin.name, plugin.package, plugin.error)
        found.append(plugin)
    return tuple(sorted(found, key=lambda plugin: plugin.name))


def _loaded(point: EntryPoint, kind: type[Any]) -> Plugin:
    package, version = (point.dist.name, point.dist.version) if point.dist else ("an unknown package", "")
    start = perf_counter()
    value, error = None, None
    try:
        value = _object(point, kind)
    except InputError as failed:
        error = str(failed)
    except (Exception, SystemExit) as failed:  # whatever another's package does, it is not ours to fail for it
        error = f"{type(failed).__name__}: {failed}"
    return Plugin(point.group, point.name, point.value, package, version, perf_counter() - start, value, error)


def _object(point: EntryPoint, kind: type[Any]) -> Any:
    """What ``point`` names; of a class, where its group has objects, the one object.

    Raises:
        InputError: it is something else, is called otherwise, or contradicts itself.
    """
    value = point.load()
    if not (isinstance(value, kind) or (isinstance(value, type) and issubclass(value, kind))):
        raise InputError(f"{point.value} is a {type(value).__name__} and no {kind.__name__}")
    if isinstance(value, type) and point.group in _OBJECTS:
        value = value()
    if isinstance(value, Declared) and not isinstance(value, type):
        value.check_declaration()
    if (own := getattr(value, "name", point.name)) != point.name:
        raise InputError(f"{point.value} is called {own!r} and its entry point {point.name!r}")
    return value
