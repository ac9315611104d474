"""The templates of the pages: the report's, and those of the board."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nightgate import __version__
from nightgate.publish import certainty, figures

if TYPE_CHECKING:
    from jinja2 import Environment


@cache
def templates(folder: Path) -> Environment:
    """Those of ``folder``, compiled once in a process: to compile the board's takes longer than to fill it in."""
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    environment = Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "clock": figures.clock,
        "human": figures.human,
        "plain": figures.plain,
        "gpu": figures.gpu_text,
        "word": certainty.word,
        "line": figures.headline,
        "interval": figures.with_interval,
    }
    environment.tests["listing"] = _is_listing
    environment.globals |= {
        "version": __version__,
        "certainty": certainty,
        "style": Markup((Path(__file__).parent / "style.css").read_text()),
    }
    return environment


def _is_listing(value: Any) -> bool:
    """Whether a value is a list of mappings with the same keys, such as a tuning curve: a table of its own."""
    items = value if isinstance(value, (list, tuple)) else ()
    return bool(items) and all(isinstance(item, Mapping) and item.keys() == items[0].keys() for item in items)
