"""Which versions of the libraries are installed: what one of them made, another may make otherwise."""

from __future__ import annotations

from functools import cache
from importlib.metadata import packages_distributions, version


def installed(*packages: str) -> dict[str, str]:
    """The distributions that provide these import packages ("faiss": "faiss-cpu" or "faiss-gpu"), with their versions.

    One that is not installed is left out. Nothing is imported.
    """
    return {name: version(name) for package in packages for name in sorted(set(_distributions().get(package, ())))}


@cache
def _distributions() -> dict[str, list[str]]:
    return dict(packages_distributions())  # a quarter of a second
