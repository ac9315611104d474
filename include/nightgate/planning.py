"""What a run will do, decided once and refused within seconds where it cannot work."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from nightgate import paths, registry
from nightgate.artifacts import Cache
from nightgate.benchmark import Context, Looked
from nightgate.errors import InputError
from nightgate.measure import durations, host
from nightgate.publish import figures
from nightgate.record import BY_HAND, SUITE, Device, Host, Standing, standing, utc_now
from nightgate.results import history
from nightgate.suite import DEVICES, BenchmarkSettings, Limit, Objectives, Suite, Takes, Watch, load_suite

log = logging.getLogger(__name__)

_LOOK = 0.3  # seconds that the canary takes


class Plan(BaseModel):
    """What one run will do, decided once: the resolved suite and the (benchmark, device) pairs to measure.

    ``overrides`` is what it does otherwise than the suite: values by their path, and ``benchmarks``, ``devices`` or
    ``require_gpu`` where not all are measured as the suite has them.
    """

    model_config = ConfigDict(extra="forbid")
    run_id: str
    dag_id: str
    scale: str
    started_at: str
    work: list[tuple[str, Device]]
    settings: dict[str, dict[str, Any]]
    looked: dict[str, dict[str, Any]] = {}
    """Benchmark → what `Benchmark.look` has found."""
    objectives: Objectives
    strict: bool = False
    """Whether an objective that is inconclusive fails the run."""
    require_gpu: bool
    estimate_seconds: dict[str, dict[str, durations.Steps]] = {}
    """Benchmark → device → what its steps will take."""
    timeout_seconds: dict[str, dict[str, durations.Steps]] = {}
    """Benchmark → device → after which its steps are ended."""

    unserved: dict[Device, str] = {}
    """Device → why no worker takes its tasks: they are skipped, and wait in no queue."""
    scheduled: bool = False
    overrides: dict[str, Any] = {}
    suite: str = SUITE
    confirm: bool = True
    """Whether what one run leaves undecided is measured once more."""
    watch: Watch = Watch()
    """What is wanted of the watch over history."""

    @property
    def standing(self) -> Standing:
        return standing(self.dag_id, self.scheduled, self.overrides)

    def timeout_of(self, benchmark: str, device: Device, step: durations.Step) -> float:
        steps = self.timeout_seconds.get(benchmark, {}).get(device)
        return steps.of(step) if steps else durations.STEP_SECONDS

    def settings_of(self, benchmark: str) -> BenchmarkSettings:
        model: type[BenchmarkSettings] = registry.named(benchmark).settings
        return model.model_validate(self.settings[benchmark])

    def context(self, benchmark: str, device: Device, cache: Cache, samples: Path = Path("samples.npz")) -> Context:
        """Where a benchmark works in this process."""
        looked = registry.named(benchmark).looked.model_validate(self.looked.get(benchmark, {}))
        return Context(device, cache, looked, samples, services_here())


def without(plan: Plan, devices: Mapping[Device, str]) -> Plan:
    """The same plan where no worker takes the tasks of ``devices``: device → the queue that nobody serves.

    Raises:
        InputError: then it could not do what it must: the CPU is among them, a GPU is required, or nothing else is left.
    """
    reasons = dict[Device, str]()
    for device, queue in devices.items():
        what, step = f"no worker serves the queue {queue}", f"start one: `airflow celery worker -q {queue}`"
        if device == "cpu" or plan.require_gpu or {of for _, of in plan.work} <= set(devices):
            raise InputError(what, step)
        reasons[device] = f"{what}. Next step: {step}"
    return plan.model_copy(update={"unserved": reasons})


def preflight(
    run_id: str,
    *,
    dag_id: str,
    scale: str,
    only: list[str] | None = None,
    devices: list[str] | None = None,
    overrides: dict[str, Any] | None = None,
    require_gpu: bool = False,
    scheduled: bool = False,
    suite_file: Path | None = None,
    confirm: bool = True,
) -> Plan:
    """Decide the plan and refuse, within seconds, what cannot work.

    Args:
        suite_file: of another suite than `paths.suite_file` names.
        scheduled: whether the schedule asked for the run, and not a person.
        confirm: whether what one run leaves undecided is measured once more.

    Raises:
        InputError: an unknown name, a value out of bounds, too little disk or memory.
    """
    paths.check_environment()
    durations.again_seconds()  # what cannot be read is refused now, and not when something is to be confirmed
    known = registry.installed()
    _known("benchmark", only, tuple(known))
    _known("device", devices, DEVICES)
    paths.run_dir(run_id)
    file = suite_file or paths.suite_file()
    suite = load_suite(file, known, scale, overrides)
    chosen, work, narrowed = _work(suite, only, devices)
    changed = _changed(load_suite(file, known, scale), suite, chosen) | narrowed
    if require_gpu:
        changed["require_gpu"] = True
    services = services_here()
    looked = {name: known[name].look(suite.settings[name], services) for name in chosen}
    for name, found in looked.items():
        for warning in found.warnings:
            log.warning("%s: %s", name, warning)
    planned = {name: (suite.settings[name], looked[name]) for name in chosen}
    _check_room(planned)
    estimates = _estimates(planned, work, _host(), dag_id != BY_HAND)
    return Plan(
        run_id=run_id,
        dag_id=dag_id,
        scale=scale,
        started_at=utc_now(),
        work=work,
        objectives={
            name: known[name].applicable(suite.settings[name], looked[name], limits)
            for name, limits in suite.objectives.items()
            if name in looked
        },
        settings={name: suite.settings[name].model_dump(mode="json") for name in chosen},
        looked={name: found.model_dump(mode="json") for name, found in looked.items()},
        require_gpu=require_gpu,
        scheduled=scheduled,
        overrides=changed,
        suite=suite.name,
        strict=suite.strict,
        confirm=confirm,
        watch=suite.watch,
        **estimates,
    )


def new_run_id(prefix: str) -> str:
    """A run id that sorts by time: ``smoke-20261122T021500.123Z``."""
    now = datetime.now(UTC)
    return f"{prefix}-{now:%Y%m%dT%H%M%S}.{now.microsecond // 1000:03d}Z"


def services_here() -> dict[str, str]:
    """The addresses of the servers that benchmarks need, by name, as far as the environment has them."""
    found = {}
    for service in (service for known in registry.installed().values() for service in known.services):
        if url := os.environ.get(service.variable, "").strip() or os.environ.get(service.embedded, "").strip():
            found[service.name] = url
    return found


def _changed(own: Suite, suite: Suite, chosen: list[str]) -> dict[str, Any]:
    """What differs between two readings of a suite for the chosen benchmarks, by path; a value given again does not."""
    found: dict[str, Any] = {}
    for name in chosen:
        before, after = (each.settings[name].model_dump(mode="json") for each in (own, suite))
        found |= {f"{name}.{key}": value for key, value in after.items() if before[key] != value}
        old, new = (_flat(each.objectives.get(name, {})) for each in (own, suite))
        found |= {
            f"objectives.{name}.{path}": new.get(path) for path in {**old, **new} if old.get(path) != new.get(path)
        }
    return found


def _flat(limits: dict[str, dict[str, Limit]]) -> dict[str, str]:
    return {f"{metric}.{device}": str(limit) for metric, of in limits.items() for device, limit in of.items()}


def _work(
    suite: Suite, only: list[str] | None, devices: list[str] | None
) -> tuple[list[str], list[tuple[str, Device]], dict[str, Any]]:
    """The benchmarks, each with its devices, and what of it is less or other than the suite's night."""
    if missing := [name for name in only or () if name not in suite.settings]:
        raise InputError(
            f"the suite says nothing of {', '.join(missing)}, whose settings have no defaults", "add a section to it"
        )
    chosen = [name for name in suite.settings if name in only] if only else list(suite.nightly)
    of_all = [(name, device) for name in chosen for device in registry.named(name).devices]
    work = [(name, device) for name, device in of_all if not devices or device in devices]
    if not work:
        raise InputError(f"{', '.join(chosen)} does not run on {', '.join(devices or [])}", "choose another device")
    narrowed: dict[str, Any] = {"benchmarks": chosen} if set(chosen) != set(suite.nightly) else {}
    if len(work) < len(of_all):
        narrowed["devices"] = [device for device in DEVICES if device in (devices or ())]
    return chosen, work, narrowed


def _host() -> Host:
    """This host, and in the log whether it is quiet."""
    facts, now = host.describe(), host.look(paths.home(), _LOOK)
    log.info("host %s: %s, %d cores, GPU: %s", facts.fingerprint, facts.cpu, facts.cores, figures.gpu_text(facts))
    log.info("%s", host.told(now))
    if now.disturbed:
        log.warning("the host is not quiet: %s", now.disturbed)
    return facts


def _known(kind: str, names: list[str] | None, valid: tuple[str, ...]) -> None:
    for name in names or ():
        if name not in valid:
            raise InputError(f"there is no {kind} {name!r}", f"use one of {', '.join(valid)}")


def _estimates(
    settings: dict[str, tuple[BenchmarkSettings, Looked]], work: list[tuple[str, Device]], facts: Host, nightly: bool
) -> dict[str, dict[str, dict[str, durations.Steps]]]:
    """What the plan says of time; InputError when a step cannot end within its time-out."""
    takes = {name: registry.named(name).takes(*of) for name, of in settings.items()}
    now = {name: model for name, (model, _) in settings.items()}
    found = history.estimates(now, takes, work, facts.fingerprint, _rate)
    ceiling = durations.STEP_SECONDS if nightly else None
    seconds: dict[str, dict[str, durations.Steps]] = {}
    timeouts: dict[str, dict[str, durations.Steps]] = {}
    for (name, device), one in found.items():
        seconds.setdefault(name, {})[device] = one.seconds
        limits = durations.Steps(one.timeout("prepare", ceiling), one.timeout("measure", ceiling))
        timeouts.setdefault(name, {})[device] = limits
        prepared, measured = (durations.human(one.seconds.of(step)) for step in durations.STEPS)
        source = "earlier runs" if one.known else "the settings"
        log.info("%s on %s: about %s to prepare, %s to measure, by %s", name, device, prepared, measured, source)
    here = {key: one for key, one in found.items() if facts.gpu or key[1] != "gpu"}  # the others are skipped
    for warning in durations.check(here, {name: each.lower for name, each in takes.items()}, nightly=nightly):
        log.warning("%s", warning)
    return {"estimate_seconds": seconds, "timeout_seconds": timeouts}


def _rate(name: str, settings: BenchmarkSettings) -> Takes:
    known = registry.named(name)
    return known.takes(settings, known.look(settings, services_here()))


def _check_room(settings: dict[str, tuple[BenchmarkSettings, Looked]]) -> None:
    """Refuse a scale that this host cannot hold: disk for everything together, memory for the largest alone."""
    needs = {name: registry.named(name).needs(*of) for name, of in settings.items()}
    home = paths.home()
    cached = sum(artifact.size for artifact in Cache(paths.cache_dir()).entries())
    disk, free = sum(need.disk for need in needs.values()), shutil.disk_usage(home).free
    if free + cached < disk:
        raise InputError(
            f"NIGHTGATE_HOME={home} has {free / 1e9:.1f} GB free and this scale needs {disk / 1e9:.1f} GB",
            "free some space, move NIGHTGATE_HOME, or lower the scale",
        )
    memory = host.describe().memory_bytes
    for name, need in needs.items():
        if need.memory > memory:
            raise InputError(
                f"{name} needs {need.memory / 2**30:.1f} GiB of memory at this scale and the host has {memory / 2**30:.1f} GiB",
                f"lower {registry.named(name).takes(*settings[name]).lower} of {name}, or use a larger host",
            )
