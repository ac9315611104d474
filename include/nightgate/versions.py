"""Which versions of the libraries are installed: what one of them made, another may make otherwise."""

from __future__ import annotations

import inspect
from functools import cache
from importlib.metadata import Distribution, distributions, version


def installed(*packages: str) -> dict[str, str]:
    """The distributions that provide these import packages ("faiss": "faiss-cpu" or "faiss-gpu"), with their versions.

    One that is not installed is left out. Nothing is imported.
    """
    return {name: version(name) for package in packages for name in sorted({one.name for one in _providing(package)})}


@cache
def _providing(package: str) -> list[Distribution]:
    return [one for one, provided in _provided() if package in provided]


@cache
def _provided() -> list[tuple[Distribution, frozenset[str]]]:
    """Every distribution with the names that can be imported of it, as `importlib.metadata.packages_distributions` finds them,
    which takes ten times as long: it reads all that is told of each."""
    return [(one, frozenset(_declared(one) or _recorded(one))) for one in distributions()]


def _declared(one: Distribution) -> list[str]:
    return (one.read_text("top_level.txt") or "").split()


def _recorded(one: Distribution) -> set[str]:
    """By the files that came with it: modules, and the folders that hold some."""
    files = [line.split(",", 1)[0] for line in (one.read_text("RECORD") or "").splitlines()]
    names = {file.split("/", 1)[0] if "/" in file else inspect.getmodulename(file) for file in files if _is_code(file)}
    return {name for name in names if name and name.isidentifier()}


def _is_code(file: str) -> bool:
    return inspect.getmodulename(file) is not None
