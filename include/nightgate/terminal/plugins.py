"""What `nightgate plugins` prints, and what `nightgate doctor` says of it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from nightgate import plugins
from nightgate.benchmark import Benchmark
from nightgate.plugins import Plugin
from nightgate.publish.figures import human
from nightgate.transcription.engines.interface import Engine
from nightgate.vector_search.store import VectorStore
from nightgate.vector_search.strategy import Strategy

KINDS: Mapping[str, type[Any]] = MappingProxyType(
    {
        plugins.BENCHMARKS: Benchmark,
        plugins.ENGINES: Engine,
        plugins.STRATEGIES: Strategy,
        plugins.VECTOR_STORES: VectorStore,
    }
)
"""Group of entry points → the type of what they name."""


def found() -> list[Plugin]:
    """Everything that is installed, group by group, what cannot be used among it."""
    return [plugin for group, kind in KINDS.items() for plugin in plugins.listed(group, kind)]


def table(installed: Iterable[Plugin]) -> Table:
    """A row for each: group, name, package with its version, and how long loading it took."""
    shown = Table(header_style="bold", box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    for name in ("group", "name", "package", "loaded in"):
        shown.add_column(name, overflow="fold", no_wrap=name == "name")
    for plugin in installed:
        loaded = Text("not usable", style="red") if plugin.error else Text(human(plugin.seconds, "seconds"))
        shown.add_row(plugin.group, plugin.name, f"{plugin.package} {plugin.version}", loaded)
    return shown


def faults(installed: Iterable[Plugin]) -> list[str]:
    """A sentence for each that cannot be used: whose it is, and why."""
    return [
        f"{plugin.name} of {plugin.package} {plugin.version} ({plugin.group}) is left out: {plugin.error}"
        for plugin in installed
        if plugin.error
    ]


def as_json(installed: Iterable[Plugin]) -> str:
    """An array with an object per row of `table`; ``error`` is null for what can be used."""
    return json.dumps(
        [
            {
                "group": plugin.group,
                "name": plugin.name,
                "target": plugin.target,
                "package": plugin.package,
                "version": plugin.version,
                "seconds": plugin.seconds,
                "error": plugin.error,
            }
            for plugin in installed
        ],
        indent=1,
    )
