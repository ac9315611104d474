"""What an environment is: the interpreter, every package that a measurement may import, and the project's own code.

Airflow is left out: nothing that is timed imports it, and it is most of what is installed.
"""

from __future__ import annotations

import hashlib
import platform
import re
from collections.abc import Iterator
from functools import cache
from importlib.metadata import Distribution, PackageNotFoundError, distribution, entry_points

from packaging.requirements import InvalidRequirement, Requirement
from packaging.utils import canonicalize_name
from pydantic import BaseModel, ConfigDict

from nightgate import __version__, plugins
from nightgate.environments import code
from nightgate.measure.provenance import revision

_NOT_OURS = re.compile(r"apache-airflow.*|pip|setuptools|wheel")
CODE = "nightgate"
"""What the project's own code is called among the packages."""


class Lock(BaseModel):
    """``packages``: canonical name → version. ``code``: the digest of the project's own code, of which ``revision`` is the commit
    where it is known and ``version`` the version."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    python: str
    packages: dict[str, str]
    code: str
    version: str
    revision: str | None = None

    @property
    def code_told(self) -> str:
        """The project's own code for people: two changes may bear one revision while they are not committed."""
        return f"{self.version} ({', '.join(filter(None, (self.revision, f'code {self.code}')))})"

    @property
    def digest(self) -> str:
        """Twelve hex digits: equal of environments in which the same is imported."""
        of = "\n".join([self.python, self.code, *(f"{name}=={self.packages[name]}" for name in sorted(self.packages))])
        return hashlib.sha256(of.encode()).hexdigest()[:12]


@cache
def here() -> Lock:
    """That of this process."""
    return Lock(
        python=platform.python_version(),
        packages={name: one.version for name, one in sorted(closure().items())},
        code=code.digest(),
        version=__version__,
        revision=revision(),
    )


def differing(first: Lock, second: Lock) -> dict[str, tuple[str | None, str | None]]:
    """What two environments differ in, by name: the versions in each, None where one has it not."""
    pairs = {
        name: (first.packages.get(name), second.packages.get(name))
        for name in sorted({*first.packages, *second.packages})
    }
    if first.code != second.code:
        pairs[CODE] = (first.code_told, second.code_told)
    if first.python != second.python:
        pairs["python"] = (first.python, second.python)
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


@cache
def closure() -> dict[str, Distribution]:
    """Every installed distribution that brings something to measure, or that one of these requires; by canonical name."""
    bringing = {point.dist.name for group in plugins.GROUPS for point in entry_points(group=group) if point.dist}
    # of what brings something all extras count that are installed, of what it requires those that are asked for
    waiting: list[tuple[str, frozenset[str] | None]] = [(name, None) for name in {CODE, *bringing}]
    found, seen = dict[str, Distribution](), set[tuple[str, frozenset[str] | None]]()
    while waiting:
        written, extras = waiting.pop()
        name = canonicalize_name(written)
        if (name, extras) in seen or _NOT_OURS.fullmatch(name):
            continue
        seen.add((name, extras))
        try:
            found[name] = distribution(name)
        except PackageNotFoundError:
            continue
        waiting += _required(found[name], extras)
    found.pop(CODE, None)
    return found


def _required(one: Distribution, extras: frozenset[str] | None) -> Iterator[tuple[str, frozenset[str] | None]]:
    """What it requires with these extras (None: with any), and the extras of that."""
    for text in one.requires or ():
        try:
            wanted = Requirement(text)
        except InvalidRequirement:
            continue
        asked = ("", *(one.metadata.get_all("Provides-Extra") or ())) if extras is None else ("", *sorted(extras))
        if wanted.marker is None or any(wanted.marker.evaluate({"extra": extra}) for extra in asked):
            yield wanted.name, frozenset(wanted.extras)
