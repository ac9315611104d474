"""The street: preflight → prepare → measure → record → gate → report → upload.

The DAG and the terminal call these same functions. Each takes a plan (a JSON-able dict, so that it can travel
between tasks), leaves its result in the run's folder, and can be called again with the same effect.
"""

from __future__ import annotations

import logging
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict

from nightgate import paths, registry
from nightgate.artifacts import Cache
from nightgate.benchmark import Context
from nightgate.errors import ArtifactError, InputError, NotMeasured, ObjectiveBreached, Unavailable
from nightgate.judge import judge, night, unmet
from nightgate.measure import durations, host
from nightgate.measure.child import ends_within
from nightgate.metrics import MEASURE_SECONDS, PREPARE_SECONDS
from nightgate.publish import figures, grafana, statsd
from nightgate.publish.report import render_report
from nightgate.record import BY_HAND, Device, Host, Record, Standing, Summary, counting, standing, utc_now
from nightgate.results import files, history
from nightgate.results.store import Store
from nightgate.suite import DEVICES, BenchmarkSettings, Limit, Objectives, Suite, load_suite

log = logging.getLogger(__name__)

__all__ = [
    "BY_HAND", "Plan", "gate", "measure", "new_run_id", "preflight", "prepare", "record", "rehearse_upload", "report", "upload",
]  # fmt: skip

_CATCH_UP = timedelta(days=14)
_PREPARE_SECONDS = "prepare_seconds"


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
    objectives: Objectives
    require_gpu: bool
    canary: dict[str, float]
    estimate_seconds: dict[str, dict[str, durations.Steps]] = {}
    """Benchmark → device → what its steps will take."""
    timeout_seconds: dict[str, dict[str, durations.Steps]] = {}
    """Benchmark → device → after which its steps are ended."""

    def timeout_of(self, benchmark: str, device: Device, step: durations.Step) -> float:
        steps = self.timeout_seconds.get(benchmark, {}).get(device)
        return steps.of(step) if steps else durations.STEP_SECONDS

    scheduled: bool = False
    overrides: dict[str, Any] = {}

    @property
    def standing(self) -> Standing:
        return standing(self.dag_id, self.scheduled, self.overrides)

    def settings_of(self, benchmark: str) -> BenchmarkSettings:
        return registry.named(benchmark).settings.model_validate(self.settings[benchmark])


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
) -> Plan:
    """Decide the plan and refuse, within seconds, what cannot work.

    Args:
        scheduled: whether the schedule asked for the run, and not a person.

    Raises:
        InputError: an unknown name, a value out of bounds, too little disk or memory.
    """
    paths.check_environment()
    known = registry.installed()
    _known("benchmark", only, tuple(known))
    _known("device", devices, DEVICES)
    paths.run_dir(run_id)
    suite = load_suite(paths.suite_file(), known, scale, overrides)
    chosen = [name for name in (suite.settings if only else suite.nightly) if not only or name in only]
    if missing := [name for name in only or () if name not in suite.settings]:
        raise InputError(
            f"the suite says nothing of {', '.join(missing)}, whose settings have no defaults", "add a section to it"
        )
    all_work = [(name, device) for name in chosen for device in known[name].devices]
    work = [(name, device) for name, device in all_work if name in chosen and (not devices or device in devices)]
    if not work:
        raise InputError(f"{', '.join(chosen)} does not run on {', '.join(devices or [])}", "choose another device")
    changed = _changed(load_suite(paths.suite_file(), known, scale), suite, chosen)
    if set(chosen) != set(suite.nightly):
        changed["benchmarks"] = chosen
    if len(work) < len(all_work):
        changed["devices"] = [device for device in DEVICES if device in (devices or ())]
    if require_gpu:
        changed["require_gpu"] = True
    _check_room({name: suite.settings[name] for name in chosen})
    facts, canary = host.describe(), host.canary()
    log.info("host %s: %s, %d cores, GPU: %s", facts.fingerprint, facts.cpu, facts.cores, facts.gpu or "none")
    log.info("canary %.1f ms, spread %.0f %%", canary["seconds"] * 1e3, canary["spread"] * 100)
    estimates = _estimates({name: suite.settings[name] for name in chosen}, work, facts, dag_id != BY_HAND)
    return Plan(
        run_id=run_id, dag_id=dag_id, scale=scale, started_at=utc_now(), work=work,
        objectives={
            name: known[name].applicable(suite.settings[name], limits)
            for name, limits in suite.objectives.items() if name in suite.settings
        },
        settings={name: suite.settings[name].model_dump(mode="json") for name in chosen}, require_gpu=require_gpu,
        canary=canary, scheduled=scheduled, overrides=changed, **estimates,
    )  # fmt: skip


def prepare(plan: Plan, benchmark: str, device: Device) -> dict[str, Any]:
    """Build or find everything the measurement needs.

    Raises:
        Unavailable: this host cannot measure it; a skipped record with the reason is left behind.
        NightgateError: it failed; a failed record with the reason is left behind.
    """
    settings = plan.settings_of(benchmark)
    start = time.monotonic()
    try:
        cache = Cache(paths.cache_dir())
        with ends_within(plan.timeout_of(benchmark, device, "prepare")):
            made = registry.named(benchmark).prepare(settings, Context(device, cache))
            prepared = made.model_dump(mode="json")
        with _tidied(benchmark, settings, device):  # the measurement may run in another process, and later
            cache.reserve(prepared, _owner(plan, benchmark, device))
        return {**prepared, _PREPARE_SECONDS: time.monotonic() - start}
    except Unavailable as error:
        if device == "gpu" and plan.require_gpu:
            _leave(plan, benchmark, device, "failed", f"a GPU is required: {error}")
            raise NotMeasured(f"a GPU is required: {error.what}", error.next_step) from error
        _leave(plan, benchmark, device, "skipped", str(error))
        raise
    except Exception as error:
        _leave(plan, benchmark, device, "failed", f"prepare failed: {error}")
        raise


def measure(plan: Plan, benchmark: str, device: Device, prepared: dict[str, Any]) -> Path:
    """Measure every variant alone on this host and leave the records, not yet judged; returns their file.

    Raises:
        NotMeasured: a gated variant could not be measured. Its record, and those of the others, are kept.
    """
    settings = plan.settings_of(benchmark)
    samples = files.samples_path(plan.run_id, benchmark, device)
    known, cache = registry.named(benchmark), Cache(paths.cache_dir())
    made = known.prepared.model_validate({key: value for key, value in prepared.items() if key != _PREPARE_SECONDS})
    try:
        with (
            _tidied(benchmark, settings, device),
            cache.using(prepared, _owner(plan, benchmark, device)),
            host.quiet(paths.home()) as noise,
            ends_within(plan.timeout_of(benchmark, device, "measure")),
        ):
            start = time.monotonic()
            records = known.measure(settings, made, Context(device, cache, samples))
            seconds = time.monotonic() - start
    except Exception as error:
        _leave(plan, benchmark, device, "failed", f"measure failed: {error}")
        raise
    for record in records:
        record.detail["noise"] = noise
        if record.status == "measured":
            record.add(PREPARE_SECONDS, prepared[_PREPARE_SECONDS])
            record.add(MEASURE_SECONDS, seconds)
    file = files.write_records(plan.run_id, benchmark, device, records)
    missing = [r for r in records if r.status != "measured" and r.gated]
    if missing:
        raise NotMeasured("; ".join(f"{r.variant} was not measured: {r.reason}" for r in missing))
    return file


def record(plan: Plan, benchmark: str, device: Device, store_url: str | None) -> None:
    """Put the records of one measurement into the store and, where the run counts, send them to statsd."""
    records = _records(plan, benchmark, device)
    if store_url:
        store = Store(store_url)
        store.migrate()
        _save(store, plan, records)
        counts = plan.standing == store.counting()
    else:
        log.warning(
            "no store: there is no Airflow connection nightgate_results, the results stay in %s", paths.runs_dir()
        )
        counts = plan.standing != "ad-hoc"
    if counts:
        statsd.send(records)
    for each in records:
        log.info(figures.headline(each))


def gate(plan: Plan, benchmark: str, device: Device, store_url: str | None) -> None:
    """Judge the records, keep the verdicts, and only then fail.

    Raises:
        ObjectiveBreached: an objective does not hold.
        NotMeasured: an objective could not be decided.
    """
    records = _judge(plan, _records(plan, benchmark, device))
    files.write_records(plan.run_id, benchmark, device, records)
    if store_url:
        _save(Store(store_url), plan, records)
    state = night(records)
    if state == "breach":
        raise ObjectiveBreached("; ".join(unmet(records)))
    if state != "pass":
        raise NotMeasured("; ".join(unmet(records)) or f"{benchmark} on {device} was not measured")


def report(plan: Plan, store_url: str | None) -> Summary:
    """Close the run: what left no record is recorded as failed, then summary, store and ``report.html`` are written."""
    paths.run_dir(plan.run_id).mkdir(parents=True, exist_ok=True)
    records = {(r.benchmark, r.device, r.variant): r for r in files.read_records(plan.run_id)}
    for benchmark, device in plan.work:
        if not any(key[:2] == (benchmark, device) for key in records):
            _tidy(benchmark, plan.settings_of(benchmark), device)
            reason = "it left no result: its task was killed, timed out, or never ran"
            for record in _leave(plan, benchmark, device, "failed", reason):
                records[(benchmark, device, record.variant)] = record
    judged = sorted(_judge(plan, list(records.values())), key=lambda record: _place(plan, record))
    for benchmark, device in plan.work:
        own = [r for r in judged if (r.benchmark, r.device) == (benchmark, device)]
        files.write_records(plan.run_id, benchmark, device, own)
    summary = Summary(
        run_id=plan.run_id, dag_id=plan.dag_id, scale=plan.scale, state=night(judged), started_at=plan.started_at,
        finished_at=utc_now(), host=host.describe(), scheduled=plan.scheduled, overrides=plan.overrides, results=judged,
    )  # fmt: skip
    files.write_summary(summary)
    if store_url:
        store = Store(store_url)
        store.migrate()
        store.save_summary(summary)
    files.write_report(plan.run_id, render_report(summary, paths.run_dir(plan.run_id)))
    return summary


def upload(run_id: str) -> list[str]:
    """Publish to Grafana: every dashboard, and the breaches of this run and of earlier ones that missed it.

    Returns what was done, a line each.

    Raises:
        Unavailable: ``GRAFANA_URL`` or ``GRAFANA_TOKEN`` is not set.
        GrafanaError: something could not be published; the next upload catches up.
    """
    url, token = _grafana()
    with grafana.Client(url, token) as client:
        return grafana.publish(
            client, _dashboards(), _recent_nights(), folder=_grafana_folder(), message=f"run {run_id}"
        )


def rehearse_upload() -> list[tuple[bool, str]]:
    """What `upload` would do now, found out by reading only: whether each finding is fine, and its sentence.

    Raises:
        Unavailable: ``GRAFANA_URL`` or ``GRAFANA_TOKEN`` is not set. GrafanaError: Grafana cannot be read.
    """
    url, token = _grafana()
    with grafana.Client(url, token) as client:
        return list(grafana.dry_run(client, _dashboards(), folder=_grafana_folder()))


def new_run_id(prefix: str) -> str:
    """A run id that sorts by time: ``smoke-20261122T021500.123Z``."""
    now = datetime.now(UTC)
    return f"{prefix}-{now:%Y%m%dT%H%M%S}.{now.microsecond // 1000:03d}Z"


def _grafana() -> tuple[str, str]:
    missing = [name for name in ("GRAFANA_URL", "GRAFANA_TOKEN") if not os.environ.get(name)]
    if missing:
        raise Unavailable(f"{' and '.join(missing)} not set, so no dashboard is uploaded")
    return os.environ["GRAFANA_URL"], os.environ["GRAFANA_TOKEN"]


def _grafana_folder() -> str:
    return os.environ.get("GRAFANA_FOLDER") or "Nightgate"


def _dashboards() -> list[Path]:
    return sorted(paths.dashboards_dir().glob("*.json"))


def _recent_nights() -> list[Summary]:
    """The runs whose breaches belong on the dashboard: those of the last weeks that count, oldest first."""
    since = datetime.now(UTC) - _CATCH_UP
    found = []
    for run_id in files.newest_runs(None, since):
        try:
            summary = files.read_summary(run_id)
        except (ArtifactError, InputError):
            continue  # still running, ended early, or torn: `results show` says which
        if datetime.fromisoformat(summary.finished_at) >= since:
            found.append(summary)
    return sorted(counting(found), key=lambda summary: summary.finished_at)


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


def _save(store: Store, plan: Plan, records: list[Record]) -> None:
    store.save_records(plan.run_id, plan.dag_id, plan.scale, records, standing=plan.standing, overrides=plan.overrides)


def _records(plan: Plan, benchmark: str, device: Device) -> list[Record]:
    return [r for r in files.read_records(plan.run_id) if (r.benchmark, r.device) == (benchmark, device)]


def _judge(plan: Plan, records: list[Record]) -> list[Record]:
    measured = {(r.benchmark, r.device) for r in records if r.status == "measured"}
    for record in records:
        expected = (record.benchmark, record.device) in measured
        limits = {} if _never_there(plan, record) else plan.objectives.get(record.benchmark, {})
        record.objectives = judge(record, limits, gated=record.gated, expected=expected)
    return records


def _never_there(plan: Plan, record: Record) -> bool:
    """Whether it failed, or was ended, before anybody could find out that this host has no such device.

    Then there is no verdict about the device; the run is invalid all the same, see `night`.
    """
    without = record.host is not None and record.host.gpu is None
    return record.status == "failed" and record.device == "gpu" and without and not plan.require_gpu


def _place(plan: Plan, record: Record) -> tuple[int, int]:
    """Where a record stands in the summary: in the plan's order, gated variants before controls."""
    settings = plan.settings_of(record.benchmark)
    variants = [*settings.variants, *settings.controls, record.variant]  # it may stand in for one of them
    return plan.work.index((record.benchmark, record.device)), variants.index(record.variant)


def _leave(plan: Plan, benchmark: str, device: Device, status: Any, reason: str) -> list[Record]:
    """Write a record without numbers for every variant, so that no benchmark of the plan goes missing."""
    settings = plan.settings_of(benchmark)
    now = utc_now()
    records = [
        Record(
            benchmark=benchmark, variant=variant, device=device, status=status, reason=reason, host=host.describe(),
            settings=plan.settings[benchmark], started_at=now, finished_at=now,
        )
        for variant in (*settings.variants, *settings.controls)
    ]  # fmt: skip
    files.write_records(plan.run_id, benchmark, device, records)
    return records


@contextmanager
def _tidied(benchmark: str, settings: BenchmarkSettings, device: Device) -> Iterator[None]:
    """What was prepared outside the cache does not outlast a run that ends in here."""
    try:
        yield
    except BaseException:
        _tidy(benchmark, settings, device)
        raise


def _tidy(benchmark: str, settings: BenchmarkSettings, device: Device) -> None:
    registry.named(benchmark).tidy(settings, Context(device, Cache(paths.cache_dir())))


def _owner(plan: Plan, benchmark: str, device: Device) -> str:
    """Whose reservation it is that keeps what was prepared until it is measured."""
    return f"{plan.run_id}-{benchmark}-{device}"


def _known(kind: str, names: list[str] | None, valid: tuple[str, ...]) -> None:
    for name in names or ():
        if name not in valid:
            raise InputError(f"there is no {kind} {name!r}", f"use one of {', '.join(valid)}")


def _estimates(
    settings: dict[str, BenchmarkSettings], work: list[tuple[str, Device]], facts: Host, nightly: bool
) -> dict[str, dict[str, dict[str, durations.Steps]]]:
    """What the plan says of time; InputError when a step cannot end within its time-out."""
    takes = {name: registry.named(name).takes(model) for name, model in settings.items()}
    found = history.estimates(settings, takes, work, facts.fingerprint)
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


def _check_room(settings: dict[str, BenchmarkSettings]) -> None:
    """Refuse a scale that this host cannot hold: disk for everything together, memory for the largest alone."""
    needs = {name: registry.named(name).needs(model) for name, model in settings.items()}
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
                f"lower {registry.named(name).takes(settings[name]).lower} of {name}, or use a larger host",
            )
