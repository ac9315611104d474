"""What changed between two nights of a series, and what of it came with a shift."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from nightgate.environments.lock import CODE, Lock
from nightgate.facts import Noise
from nightgate.record import Record
from nightgate.series import annotations_of

_OTHERS_MORE, _SPEED_LESS = 0.3, 0.2
_FIRST = (
    "measured with it",
    "the project's code",
    "settings",
    "the index",
    "installed",
    "the machine",
    "the host's state",
)
"""Kinds of change, the likeliest cause first where several came in the same night."""

_OF_THE_MACHINE = ("kernel", "microcode", "driver", "python")


@dataclass(frozen=True)
class Change:
    """``name`` went from ``before`` to ``after``; None where one has it not. ``kind`` is one of a few words. ``nights_off``: how many
    nights after the shift it came, below 0 before it; None where nobody knows."""

    name: str
    kind: str
    before: str | None
    after: str | None
    nights_off: int | None

    def __str__(self) -> str:
        when = {None: "", 0: ", in the same night"}.get(self.nights_off, f", {_nights(self.nights_off)}")
        if self.kind == "the index" and self.before and self.after:
            return f"the index {self.name} was built anew{when}"
        return f"{self.name} {self.before or 'not there'} → {self.after or 'not there'} ({self.kind}){when}"


def changes(nights: Sequence[Record], shift: int | None, lock_of: Callable[[str], Lock | None]) -> list[Change]:
    """What differs between the night before a shift and the last one, the likeliest cause first.

    Args:
        nights: records of one series, oldest first.
        shift: the place of the first night after the shift, above 0; None where nobody knows, of two runs that are compared.
        lock_of: the environment of a digest.
    """
    told = [_told(record, lock_of) for record in nights]
    good = 0 if shift is None else shift - 1
    before, after = told[good], told[-1]
    found = []
    for name in sorted({*before, *after}):
        (kind, was), (other_kind, now) = (side.get(name, ("", None)) for side in (before, after))
        if was == now:
            continue
        came = next(
            (place for place in range(len(told)) if all(one.get(name, ("", None))[1] == now for one in told[place:])), 0
        )
        found.append(Change(name, kind or other_kind, was, now, None if shift is None else came - shift))
    found += _states(nights[good], nights[-1], None if shift is None else 0)
    return sorted(found, key=lambda one: (abs(one.nights_off or 0), _FIRST.index(one.kind), one.name))


def _told(record: Record, lock_of: Callable[[str], Lock | None]) -> dict[str, tuple[str, str]]:
    """What is known of a night, by name: the kind of it, and its value."""
    made = record.facts.provenance
    found: dict[str, tuple[str, str]] = {}
    if made.environment and (lock := lock_of(made.environment)):
        found |= {name: ("installed", version) for name, version in lock.packages.items()}
        found[CODE] = ("the project's code", lock.code_told)
    elif made.nightgate:
        found[CODE] = ("the project's code", f"{made.nightgate} ({made.revision or 'no revision'})")
    for name, value in annotations_of(record).items():
        if name in ("nightgate", "revision"):
            continue
        found[name] = ("the machine" if name in _OF_THE_MACHINE else "measured with it", value)
    found |= {f"settings.{name}": ("settings", str(value)) for name, value in record.settings.items()}
    found |= {name: ("the index", build) for name, build in record.facts.builds.items()}
    found |= {f"{name} (digest)": ("measured with it", digest) for name, digest in record.facts.inputs.items()}
    return found


def _states(before: Record, after: Record, off: int | None) -> list[Change]:
    """What the host was like, where that is another story."""
    was, now = before.facts.noise or Noise(), after.facts.noise or Noise()
    found = []
    if was.others is not None and now.others is not None and now.others - was.others > _OTHERS_MORE:
        found.append(
            Change("other programs", "the host's state", f"{was.others:.1f} cores", f"{now.others:.1f} cores", off)
        )
    if (
        was.at_full_speed is not None
        and now.at_full_speed is not None
        and was.at_full_speed - now.at_full_speed > _SPEED_LESS
    ):
        share = [f"{100 * value:.0f} % of the time" for value in (was.at_full_speed, now.at_full_speed)]
        found.append(Change("the host at full speed", "the host's state", share[0], share[1], off))
    return found


def _nights(off: int | None) -> str:
    count = abs(off or 0)
    return f"{count} night{'s' if count > 1 else ''} {'after' if (off or 0) > 0 else 'before'} the shift"
