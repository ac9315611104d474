"""Two environments measure the same work in turns, round by round, on a host that is held and watched for it."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from nightgate import paths, registry
from nightgate.artifacts import Cache
from nightgate.benchmark import Context
from nightgate.duet import side
from nightgate.errors import NightgateError, NotMeasured
from nightgate.facts import Noise
from nightgate.measure import host
from nightgate.measure.child import Interpreter
from nightgate.measure.turns import Ask, run_in_turns
from nightgate.record import Device

log = logging.getLogger(__name__)

_KEEP = ("NIGHTGATE_*", "PG*")
_SECONDS = 3600.0


@dataclass(frozen=True)
class Task:
    """What both sides measure: ``settings`` of a benchmark as a record has them, of its ``variants``; ``metrics`` are wanted.
    ``looked`` is what was found before the run, ``services`` are the addresses of servers."""

    benchmark: str
    device: Device
    settings: Mapping[str, Any]
    metrics: tuple[str, ...]
    looked: Mapping[str, Any] = field(default_factory=dict)
    services: Mapping[str, str] = field(default_factory=dict)


Figures = Mapping[str, Mapping[str, float]]
"""Variant → metric → value."""


@dataclass(frozen=True)
class Round:
    """What both sides measured in one round, in turns. ``disturbed``: why its speeds count for nothing."""

    first: Figures
    second: Figures
    same_builds: Mapping[str, bool]
    disturbed: str | None = None


@dataclass(frozen=True)
class Duet:
    """The ``rounds`` of a duet."""

    rounds: list[Round]

    def of(self, variant: str, metric: str) -> tuple[list[float], list[float]]:
        """What both sides measured of it, in the rounds that count and have it on both."""
        found = [
            (one.first[variant][metric], one.second[variant][metric])
            for one in self.rounds
            if not one.disturbed and metric in one.first.get(variant, {}) and metric in one.second.get(variant, {})
        ]
        return [first for first, _ in found], [second for _, second in found]

    def same_builds(self, variant: str) -> bool:
        return all(one.same_builds.get(variant, True) for one in self.rounds)

    @property
    def disturbed(self) -> list[str]:
        return [one.disturbed for one in self.rounds if one.disturbed]


def duet(
    first: Interpreter | None, second: Interpreter | None, task: Task, rounds: int, *, seconds: float = _SECONDS
) -> Duet:
    """Measure ``task`` in two environments, None for that of this process, in turns.

    Both prepare first; then each round starts two processes, one of which works at any time: they change whenever what is
    timed rests. Every other round the second begins. A round that something disturbed, or in which a side did not get a metric (none of its calls was made at the host's
    full speed), is made again, at most as often as there are rounds.

    Args:
        seconds: of one process, at most.

    Raises:
        NightgateError: a side could not measure it; the sentence says which.
    """
    try:
        return _duet(first, second, task, rounds, seconds)
    finally:
        _tidy(task)


def _tidy(task: Task) -> None:
    """Remove what both sides used. A setting that this version does not know is one that a side has refused."""
    known = registry.named(task.benchmark)
    settings = {name: value for name, value in task.settings.items() if name in known.settings.model_fields}
    looked = known.looked.model_validate(task.looked)
    where = Context(task.device, Cache(paths.cache_dir()), looked, services=task.services)
    known.tidy(known.settings.model_validate(settings), where)


def _duet(first: Interpreter | None, second: Interpreter | None, task: Task, rounds: int, seconds: float) -> Duet:
    known = registry.named(task.benchmark)
    programs = [service.program for service in known.services]
    cores, found = host.usable_cores(), list[Round]()
    with TemporaryDirectory(prefix="nightgate-duet-", dir=paths.home()) as folder:
        sides = [
            (first, _request(task, Path(folder, "first.npz"))),
            (second, _request(task, Path(folder, "second.npz"))),
        ]
        with host.alone():
            for interpreter, request in sides:
                (made,) = _ask(side.prepared, [(interpreter, request)], task.device, cores, seconds)
                request["prepared"] = made
        for number in range(2 * rounds):
            if sum(_counts(one, task.metrics) for one in found) >= rounds:
                break
            log.info("%s on %s, round %d of %d", task.benchmark, task.device, number + 1, rounds)
            order = sides if number % 2 == 0 else sides[::-1]
            with host.quiet(paths.home(), programs) as noise:
                answers = _ask(side.measured, order, task.device, cores, seconds)
            one, two = answers if number % 2 == 0 else answers[::-1]
            found.append(_round(one, two, noise))
    return Duet(found)


def _counts(one: Round, metrics: Sequence[str]) -> bool:
    """Whether both sides have all of ``metrics`` of all variants, undisturbed."""
    sides = [(one.first[variant], one.second.get(variant, {})) for variant in one.first]
    return not one.disturbed and all(name in first and name in second for first, second in sides for name in metrics)


def _ask(
    function: Any,
    sides: Sequence[tuple[Interpreter | None, dict[str, Any]]],
    device: Device,
    cores: int,
    seconds: float,
) -> list[dict[str, Any]]:
    answers = run_in_turns(
        [Ask(function, request, interpreter) for interpreter, request in sides],
        threads=cores,
        device=device,
        timeout=seconds,
        keep=_KEEP,
    )
    for (interpreter, _), answer in zip(sides, answers, strict=True):
        if isinstance(answer, NightgateError):
            where = str(interpreter.path[0]) if interpreter else "this environment"
            raise NotMeasured(f"the side of {where} failed: {answer}")
    return [answer.value for answer in answers if not isinstance(answer, NightgateError)]


def _request(task: Task, samples: Path) -> dict[str, Any]:
    return {
        "benchmark": task.benchmark,
        "device": task.device,
        "settings": dict(task.settings),
        "metrics": list(task.metrics),
        "looked": dict(task.looked),
        "services": dict(task.services),
        "cache": str(paths.cache_dir()),
        "samples": str(samples),
    }


def _round(first: dict[str, Any], second: dict[str, Any], noise: Noise) -> Round:
    for answer in (first, second):
        if answer["failed"] and not answer["metrics"]:
            raise NotMeasured("; ".join(f"{variant}: {why}" for variant, why in answer["failed"].items()))
    builds = {variant: first["builds"].get(variant) == second["builds"].get(variant) for variant in first["metrics"]}
    return Round(first["metrics"], second["metrics"], builds, noise.disturbed)
