"""The errors Nightgate raises on purpose, and the exit code each stands for.

    NightgateError
    ├── InputError                exit 2: refused before anything started
    │   └── BusyError             another run holds this NIGHTGATE_HOME
    ├── ObjectiveBreached         exit 1: measured, and an objective does not hold
    ├── Unavailable               no exit code: this host cannot measure it, so it is skipped with the reason
    ├── Undecided                 exit 3: measured, and not known yet whether an objective holds
    └── NotMeasured               exit 3: there is no number to judge
        ├── ArtifactError         a prepared file is missing, torn or foreign
        │   └── CacheFull         the byte limit of the cache is reached and all of it is in use
        ├── ChildError            the timed process crashed or ran out of time
        ├── Disturbed             the host was not quiet; it is measured again later
        ├── DriverError           a GPU's driver is there and does not work
        ├── ServiceUnavailable    a database or another server did not answer
        └── StackError            the embedded stack did not start

Every error carries one sentence that names the cause and one that names the next step.
"""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

EXIT_PASS = 0
EXIT_BREACH = 1
EXIT_INPUT = 2
EXIT_NOT_MEASURED = 3


class NightgateError(Exception):
    """Base of every deliberate error; ``str()`` is what the user reads."""

    exit_code = EXIT_NOT_MEASURED

    def __init__(self, what: str, next_step: str | None = None) -> None:
        super().__init__(what, next_step)
        self.what = what.rstrip()
        self.next_step = next_step

    def __str__(self) -> str:
        if not self.next_step:
            return self.what
        end = "" if self.what.endswith((".", "!", "?")) else "."
        return f"{self.what}{end} Next step: {self.next_step}"


class InputError(NightgateError):
    """Refused before anything started."""

    exit_code = EXIT_INPUT


class BusyError(InputError):
    """Another run holds this NIGHTGATE_HOME."""


class ObjectiveBreached(NightgateError):
    """It was measured, and an objective does not hold."""

    exit_code = EXIT_BREACH


class Unavailable(NightgateError):
    """This host cannot measure it, which skips it with the reason."""


class Undecided(NightgateError):
    """It was measured, and not known yet is whether an objective holds."""

    exit_code = EXIT_NOT_MEASURED


class NotMeasured(NightgateError):
    """There is no number to judge."""

    exit_code = EXIT_NOT_MEASURED


class ArtifactError(NotMeasured):
    """A prepared file is missing, torn or foreign."""


class CacheFull(ArtifactError):
    """The byte limit of the cache is reached, and all of it is in use."""


class ChildError(NotMeasured):
    """The timed process crashed or ran out of time."""


class Disturbed(NotMeasured):
    """The host was not quiet while something was timed, which is measured again later."""


class DriverError(NotMeasured):
    """There is a GPU, and its driver does not work."""


class ServiceUnavailable(NotMeasured):
    """A database or another server did not answer."""


class StackError(NotMeasured):
    """The embedded stack did not start."""


def closest(word: str, valid: Iterable[str], cutoff: float = 0.5) -> str | None:
    """The one of ``valid`` that was probably meant; None when none is as near as ``cutoff`` (1 is equal, 0 takes any)."""
    match = difflib.get_close_matches(word[:80], list(valid), n=1, cutoff=cutoff)
    return match[0] if match else None


def nearest(word: str, valid: Iterable[str], cutoff: float = 0.5) -> str:
    """``; did you mean 'rows'?`` for what was probably meant, empty when nothing is near."""
    match = closest(word, valid, cutoff)
    return f"; did you mean {match!r}?" if match else ""


def choices(valid: Sequence[str]) -> str:
    """The next step of an error about a name: all the valid ones."""
    return "use one of " + ", ".join(valid)
