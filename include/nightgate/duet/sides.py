"""What the command line calls a side of a duet, and how it is started."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from nightgate import paths
from nightgate.artifacts import Cache
from nightgate.environments import build, code
from nightgate.environments.code import Commit
from nightgate.environments.lock import CODE, Lock, differing, here
from nightgate.errors import InputError
from nightgate.measure.child import Interpreter

_PINNED = re.compile(r"([A-Za-z0-9][A-Za-z0-9._-]*)==([A-Za-z0-9][A-Za-z0-9.+!_-]*)")

SAID = """. (what is installed here), package==version[,package==version] (the same with others), rev:REVISION (the same with the \
project's code of a Git revision), or a run (with what was installed then)"""


def side_of(text: str, lock_of_run: Callable[[str], Lock]) -> Interpreter | None:
    """How to start the side that ``text`` names, see `SAID`; None: in this process's environment.

    Raises:
        InputError: it cannot be read, or there is no such run, revision or package.
    """
    cache, home = Cache(paths.cache_dir()), paths.home()
    if text == ".":
        return None
    if "==" in text:
        versions = {}
        for part in text.split(","):
            found = _PINNED.fullmatch(part.strip())
            if not found:
                raise InputError(f"{part.strip()!r} is not package==version", f"write one of {SAID}")
            versions[found[1].lower().replace("_", "-")] = found[2]
        return build.with_packages(build.interpreter(cache, home, here()), cache, versions)
    if text.startswith("rev:"):
        checkout = paths.checkout()
        if checkout is None:
            raise InputError("this Nightgate is no checkout, so it has no revisions", "name a run, or packages")
        kept = code.of_revision(build.code_folder(home), checkout, text.removeprefix("rev:"))
        start = build.interpreter(cache, home, here())
        return Interpreter(start.python, (kept, *start.path[1:]))
    return build.interpreter(cache, home, lock_of_run(text))


@dataclass(frozen=True)
class Between:
    """What was installed in a good and in a bad run, and the commits between their code, where these are known and a line."""

    good: Lock
    bad: Lock
    commits: tuple[Commit, ...] = ()

    @classmethod
    def of(cls, good: Lock, bad: Lock) -> Between:
        checkout = paths.checkout()
        if checkout is None or good.code == bad.code:
            return cls(good, bad)
        ends = ((good.revision, good.code), (bad.revision, bad.code))
        return cls(good, bad, tuple(code.between(build.code_folder(paths.home()), checkout, *ends)))

    @property
    def changes(self) -> dict[str, tuple[str | None, str | None]]:
        """Name → version before and after; of a commit what it says. In the order in which they came or are called."""
        found = differing(self.good, self.bad)
        if self.commits:
            del found[CODE]
            found |= {_name(one): (None, one.subject) for one in self.commits}
        return found

    def sides(self, start: Interpreter, names: tuple[str, ...]) -> tuple[Interpreter, Interpreter]:
        """The good environment, and the same with ``names`` of the changes as in the bad one.

        Args:
            names: of commits those up to one, or one alone: then the first side has the code just before it.
        """
        cache, home = Cache(paths.cache_dir()), paths.home()
        versions = {name: version for name in names if (version := self.bad.packages.get(name))}
        first, second = start, build.with_packages(start, cache, versions)
        if CODE in names:
            second = build.with_code(second, home, self.bad.code)
        if chosen := [place for place, one in enumerate(self.commits) if _name(one) in names]:
            second = self._at(second, chosen[-1])
            if chosen[0]:
                first = self._at(first, chosen[0] - 1)
        return first, second

    def _at(self, start: Interpreter, place: int) -> Interpreter:
        checkout = paths.checkout()
        assert checkout is not None  # where there is none there are no commits
        kept = code.of_revision(build.code_folder(paths.home()), checkout, self.commits[place].id)
        return build.with_code(start, paths.home(), kept.name)


def _name(one: Commit) -> str:
    return f"commit {one.id}"


def bisect_file(key: str) -> Path:
    """Where a search is kept."""
    return paths.home() / "bisects" / f"{key}.json"
