"""Which of several suites, scales and hosts the board shows, by its address."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from urllib.parse import urlencode

from nightgate.results.store import Run
from nightgate.web.board import host_of

Chosen = Mapping[str, str]
"""``suite``, ``scale``, ``host`` and ``dag``; empty is any."""
Chips = list[tuple[str, list[tuple[str, str, bool]]]]
"""A name, and its choices: the text, the address, whether it is the one."""


def holds(run: Run, chosen: Chosen) -> bool:
    """Whether a run is of what was chosen. One that nothing was measured in yet is of every host."""
    return all(not value or _of(run, name) in (value, "") for name, value in chosen.items())


def chips(runs: Sequence[Run], chosen: Chosen) -> Chips:
    """The choices there are: none for what is the same everywhere."""
    found: Chips = []
    for name in ("suite", "scale", "host"):
        values = sorted({value for run in runs if (value := _of(run, name))})
        if len(values) > 1:
            choices = [(f"every {name}", _address(chosen, name, ""), not chosen[name])]
            choices += [(value, _address(chosen, name, value), value == chosen[name]) for value in values]
            found.append((name, choices))
    return found


def _of(run: Run, name: str) -> str:
    return {"suite": run.suite, "scale": run.scale, "host": host_of(run), "dag": run.dag_id}[name]


def _address(chosen: Chosen, name: str, value: str) -> str:
    kept = {key: of for key, of in {**chosen, name: value}.items() if of}
    return f"?{urlencode(kept)}" if kept else "."
