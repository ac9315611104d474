"""What the command line calls a side of a duet, and how it is started."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

from nightgate import paths
from nightgate.artifacts import Cache
from nightgate.environments import build, code
from nightgate.environments.lock import CODE, Lock, here
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


def mixed(start: Interpreter, good: Lock, bad: Lock, names: tuple[str, ...]) -> Interpreter:
    """The environment of ``good`` with some ``names`` as ``bad`` has them."""
    cache, home = Cache(paths.cache_dir()), paths.home()
    versions = {name: bad.packages[name] for name in names if name in bad.packages}
    made = build.with_packages(start, cache, versions)
    return build.with_code(made, home, bad.code) if CODE in names else made


def bisect_file(key: str) -> Path:
    """Where a search is kept."""
    return paths.home() / "bisects" / f"{key}.json"
