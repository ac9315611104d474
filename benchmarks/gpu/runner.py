"""Parts one after the other, each side of each in a process of its own, within one budget of time."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from gpu.asked import Asked, Limits
from gpu.outcome import Finding, Outcome, concluded
from nightgate.errors import ChildError, NightgateError, NotMeasured, Unavailable
from nightgate.measure.child import ChildResult, run_child
from nightgate.record import Device

log = logging.getLogger(__name__)

Earlier = Mapping[str, Any]
"""What the parts before measured, by their names."""

_CHILD = f"{__name__}:_called"  # what an error of `run_child` calls the part
_SLOWER = 3
_LEAST_SECONDS = 5.0  # that a part is started with


@dataclass(frozen=True)
class Both:
    """What a part measured on the CPU and on the device, and what the parts before it did.

    ``gpu`` is None where the CPU alone was asked for, or where it could not be measured.
    """

    cpu: Any
    gpu: Any
    earlier: Earlier
    limits: Limits | None


@dataclass(frozen=True)
class Part:
    """``measure`` runs in the child; what it returns must be picklable. ``findings`` are made here of what came back.

    ``groups``: the libraries it is about. ``needs``: parts without whose results it cannot be measured. ``seconds``: the
    limit of one side; on a host without a GPU three times that. ``sides``: where it is measured, in this order.
    ``compared``: whether it is measured on all of them, or on the first that is there.
    """

    name: str
    measure: Callable[[Asked, Earlier], Any]
    findings: Callable[[Both], list[Finding]]
    seconds: float
    groups: tuple[str, ...] = ()
    needs: tuple[str, ...] = ()
    sides: tuple[Device, ...] = ("gpu", "cpu")
    compared: bool = True


def chosen(parts: Iterable[Part], groups: Iterable[str]) -> list[Part]:
    """The parts of these groups and what they need, in their order; all where none is named."""
    known = {part.name: part for part in parts}
    wanted = set(groups)
    if not wanted:
        return list(known.values())
    left = [part for part in known.values() if wanted & set(part.groups)]
    names: set[str] = set()
    while left:
        part = left.pop()
        names.add(part.name)
        left += [known[name] for name in part.needs if name not in names]
    return [part for part in known.values() if part.name in names]


def run(
    parts: Iterable[Part], asked: Asked, limits: Limits | None, *, seconds: float, tell: Callable[[Outcome], None]
) -> None:
    """Run what fits into ``seconds``; ``tell`` gets the outcome of each part as soon as there is one."""
    run = _Run(asked, limits, seconds)
    for part in parts:
        tell(run.outcome(part))


class _Run:
    """What the parts of one check share: what is asked, the time that is left, and what was measured."""

    def __init__(self, asked: Asked, limits: Limits | None, seconds: float) -> None:
        self._asked, self._limits, self._budget = asked, limits, seconds
        self._end = time.monotonic() + seconds
        self._earlier: dict[str, Any] = {}

    def outcome(self, part: Part) -> Outcome:
        start = time.monotonic()
        if missing := [name for name in part.needs if name not in self._earlier]:
            return Outcome(part=part.name, status="not measured", reasons=[f"it needs {', '.join(missing)}, see above"])
        found: dict[Device, ChildResult[Any]] = {}
        reasons: list[str] = []
        for side in self._sides(part):
            try:
                found[side] = self._measured(part, side)
            except NightgateError as error:
                reasons.append(f"on the {side}: {str(error).replace(_CHILD, part.name)}")
                break  # without the device's there is nothing to compare the CPU's with
        findings: list[Finding] = []
        if found:
            values = {side: result.value for side, result in found.items()}
            self._earlier[part.name] = next(iter(values.values()))
            try:
                findings = part.findings(Both(values.get("cpu"), values.get("gpu"), self._earlier, self._limits))
            except Exception as error:  # whatever it is, the other parts are measured
                log.exception("%s", part.name)
                reasons.append(f"what it found cannot be judged: {type(error).__name__}: {error}")
        memory = found["gpu"].device_memory if "gpu" in found else None
        return concluded(part.name, findings, reasons, time.monotonic() - start, memory.peak_bytes if memory else None)

    def _sides(self, part: Part) -> list[Device]:
        there = [side for side in part.sides if side == "cpu" or self._asked.device == "gpu"]
        return there if part.compared else there[:1]

    def _measured(self, part: Part, side: Device) -> ChildResult[Any]:
        left = self._end - time.monotonic()
        if left < _LEAST_SECONDS:
            raise NotMeasured(
                f"no time is left of the {self._budget:.0f} s", "give more --seconds, or less with --only"
            )
        limit = part.seconds * (1 if self._asked.device == "gpu" else _SLOWER)
        request = part.measure, replace(self._asked, device=side), {name: self._earlier[name] for name in part.needs}
        log.info("%s on the %s, at most %.0f s", part.name, side, min(left, limit))
        return run_child(_called, request, threads=self._asked.threads, device=side, timeout=min(left, limit))


def _called(request: tuple[Callable[[Asked, Earlier], Any], Asked, Earlier]) -> Any:
    """In the child: a library that is not there ends this part and says which."""
    measure, asked, earlier = request
    try:
        return measure(asked, earlier)
    except NightgateError:
        raise
    except ModuleNotFoundError as error:
        raise Unavailable(f"the package {error.name} is not installed") from None
    except Exception as error:
        log.exception("%s failed", measure)
        raise ChildError(f"{type(error).__name__}: {error}") from error
