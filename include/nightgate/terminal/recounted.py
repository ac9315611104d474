"""What `results recount` found, as a table and as JSON."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import asdict

from rich import box
from rich.table import Table
from rich.text import Text

from nightgate import registry
from nightgate.results.recount import MOST, Recounted


def table(found: Iterable[Recounted]) -> Table:
    """A row per variant and metric: as recorded, as found now, and the difference."""
    shown = Table(header_style="bold", box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    for name in ("benchmark", "variant", "metric"):
        shown.add_column(name, overflow="fold")
    for name in ("recorded", "recounted", "difference"):
        shown.add_column(name, justify="right", no_wrap=True)
    for one in found:
        difference = Text(f"{one.difference:+.5f}".replace("-", "−"), style="" if one.agrees else "bold red")
        shown.add_row(
            registry.title(one.benchmark),
            f"{one.variant} on {one.device}",
            registry.spec(one.benchmark, one.metric).title,
            f"{one.recorded:.5f}",
            f"{one.recounted:.5f}",
            difference,
        )
    return shown


def as_json(found: Iterable[Recounted]) -> str:
    """An array with an object per row of `table`; ``agrees`` says whether the difference is small enough."""
    return json.dumps([asdict(one) | {"difference": one.difference, "agrees": one.agrees} for one in found], indent=1)


def sentence(found: list[Recounted]) -> str:
    wrong = [one for one in found if not one.agrees]
    if not wrong:
        return f"every recall is what its answers give, within {MOST}"
    return f"{len(wrong)} of {len(found)} recalls are not what their answers give: they differ by more than {MOST}"
