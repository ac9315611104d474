"""The street: preflight → prepare → measure → record → confirm → gate → report → upload.

The DAG and the terminal call these same functions. Each takes a plan (a JSON-able dict, so that it can travel
between tasks), leaves its result in the run's folder, and can be called again with the same effect.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from nightgate import paths, registry
from nightgate.artifacts import Cache
from nightgate.artifacts.counted import counted
from nightgate.confirming import confirm, next_look
from nightgate.environments import kept
from nightgate.errors import NotMeasured, ObjectiveBreached, ServiceUnavailable, Unavailable, Undecided
from nightgate.facts import Noise
from nightgate.following import followed_step
from nightgate.judge import night
from nightgate.judged import judged
from nightgate.ledger import Attempts, Ledger, new_attempt
from nightgate.measure import host, machine, provenance
from nightgate.measure.child import ends_within
from nightgate.metrics import MEASURE_SECONDS, PREPARE_SECONDS
from nightgate.planning import Plan, new_run_id, preflight, without
from nightgate.publish import figures, sentences, statsd
from nightgate.publish.report import render_report
from nightgate.publish.summary import render_summary
from nightgate.record import BY_HAND, Attempt, Device, Record, Summary, utc_now
from nightgate.results import files, took
from nightgate.street import context_of, owner, tidied, tidy
from nightgate.uploading import rehearse_upload, upload

log = logging.getLogger(__name__)

__all__ = [
    "BY_HAND",
    "Plan",
    "confirm",
    "gate",
    "measure",
    "new_run_id",
    "preflight",
    "prepare",
    "record",
    "rehearse_upload",
    "report",
    "upload",
    "without",
]

_PREPARE_SECONDS, _PREPARED_AT = "prepare_seconds", "prepared_at"


def prepare(plan: Plan, benchmark: str, device: Device, store_url: str | None = None) -> dict[str, Any]:
    """Build or find everything the measurement needs.

    Raises:
        Unavailable: this host cannot measure it; a skipped record with the reason is left behind.
        NightgateError: it failed; a failed record with the reason is left behind.
    """
    settings, ledger = plan.settings_of(benchmark), Ledger(plan, store_url)
    start = time.monotonic()
    try:
        cache = Cache(paths.cache_dir())
        with (
            followed_step(ledger, benchmark, device, "prepare"),
            ends_within(plan.timeout_of(benchmark, device, "prepare")),
        ):
            made = registry.named(benchmark).prepare(settings, plan.context(benchmark, device, cache))
            prepared = made.model_dump(mode="json")
        with tidied(plan, benchmark, device):  # the measurement may run in another process, and later
            cache.reserve(prepared, owner(plan, benchmark, device))
        return {**prepared, _PREPARE_SECONDS: time.monotonic() - start, _PREPARED_AT: _place(cache)}
    except Unavailable as error:
        if device == "gpu" and plan.require_gpu:
            _leave(ledger, benchmark, device, "failed", f"a GPU is required: {error}")
            raise NotMeasured(f"a GPU is required: {error.what}", error.next_step) from error
        _leave(ledger, benchmark, device, "skipped", str(error))
        raise
    except Exception as error:
        _leave(ledger, benchmark, device, "failed", f"prepare failed: {error}")
        raise


def measure(
    plan: Plan,
    benchmark: str,
    device: Device,
    prepared: dict[str, Any],
    store_url: str | None = None,
    attempt: Attempt | None = None,
) -> Attempt:
    """Measure every variant alone on this host and leave the records, not yet judged, in the files and the store.

    A store that does not answer loses nothing: `record` brings what lies in the files. What was prepared on another host, or is
    gone from the cache, is prepared here: found in the shared store, or built.

    Args:
        attempt: which try it is, for the steps that follow; None: one of its own.

    Returns:
        the attempt.

    Raises:
        NotMeasured: a gated variant could not be measured. Its record, and those of the others, are kept.
        Unavailable: the GPU of this host can measure none of the gated variants, only controls. The records are kept.
    """
    settings, ledger, attempt = plan.settings_of(benchmark), Ledger(plan, store_url), attempt or new_attempt()
    context = context_of(plan, benchmark, device)
    cache, samples = context.cache, context.samples
    files.forget_looks(plan.run_id, benchmark, device)
    known = registry.named(benchmark)
    made_at = prepared.get(_PREPARED_AT, _place(cache))  # an older Nightgate did not say
    if made_at != _place(cache) or not cache.holds(prepared):
        log.info("%s on %s was prepared at %s; it is prepared here", benchmark, device, made_at)
        again = prepare(plan, benchmark, device, store_url)
        prepared = {**again, _PREPARE_SECONDS: prepared[_PREPARE_SECONDS] + again[_PREPARE_SECONDS]}
    own = (_PREPARE_SECONDS, _PREPARED_AT)
    made = known.prepared.model_validate({key: value for key, value in prepared.items() if key not in own})
    try:
        with (
            followed_step(ledger, benchmark, device, "measure"),
            tidied(plan, benchmark, device),
            cache.using(prepared, owner(plan, benchmark, device)),
            host.quiet(paths.home(), [service.program for service in known.services]) as noise,
            ends_within(plan.timeout_of(benchmark, device, "measure")),
        ):
            start = time.monotonic()
            records = known.measure(settings, made, context)
            seconds = time.monotonic() - start
            _require_whole(records, plan, benchmark, device)
    except Exception as error:
        _leave(ledger, benchmark, device, "failed", f"measure failed: {error}", attempt)
        raise
    environment = kept.keep(paths.home()).digest
    for record in records:
        record.suite, record.attempt = plan.suite, attempt
        record.host, record.finished_at = record.host or host.describe(), record.finished_at or utc_now()
        record.samples = record.samples if samples.exists() else None
        record.facts.noise = Noise.model_validate(noise)
        record.facts.provenance = provenance.describe(record.facts.provenance.versions, environment)
        if record.status == "measured":
            record.add(PREPARE_SECONDS, prepared[_PREPARE_SECONDS])
            record.add(MEASURE_SECONDS, seconds)
    _keep(ledger, benchmark, device, records, files.raw_of(plan.run_id, benchmark, device))
    missing = [r for r in records if r.status != "measured" and r.gated]
    if missing:
        skipped = device == "gpu" and not plan.require_gpu and all(r.status == "skipped" for r in records if r.gated)
        reason = "; ".join(f"{r.variant} was not measured: {r.reason}" for r in missing)
        raise Unavailable(reason) if skipped else NotMeasured(reason)
    return attempt


def record(plan: Plan, benchmark: str, device: Device, store_url: str | None, attempt: Attempt | None = None) -> None:
    """See that the records of one measurement are in the store and, where the run counts, send them to statsd.

    Raises:
        ServiceUnavailable: the store does not answer, or has them not and this host neither.
    """
    ledger = Ledger(plan, store_url)
    records = ledger.read(benchmark, device, attempt)
    if ledger.store:
        known = {one.attempt for one in ledger.store.records(plan.run_id, benchmark, device)}
        if not known.issuperset(one.attempt for one in records):  # it was away when they were measured, on this host
            ledger.write(benchmark, device, records, raw=files.raw_of(plan.run_id, benchmark, device), anew=True)
        counts = plan.standing == ledger.store.counting(plan.suite)
        ledger.store.save_cache(counted(Cache(paths.cache_dir()), machine.name()))
    else:
        log.warning(
            "no store: there is no Airflow connection nightgate_results, the results stay in %s", paths.runs_dir()
        )
        counts = plan.standing != "ad-hoc"
    if counts:
        statsd.send(records)
    for each in records:
        log.info(figures.headline(each))


def gate(plan: Plan, benchmark: str, device: Device, store_url: str | None, attempt: Attempt | None = None) -> None:
    """Judge the records, keep the verdicts, and only then fail.

    Raises:
        ObjectiveBreached: an objective does not hold.
        Undecided: none is known not to hold, and not of each is known that it does.
        NotMeasured: an objective could not be judged.
    """
    ledger = Ledger(plan, store_url)
    records = judged(plan, ledger.read(benchmark, device, attempt), ledger.store)
    ledger.write(benchmark, device, records)
    state = night(records)
    if state == "pass":
        return
    why = "\n".join(sentences.unmet(records)) or f"{benchmark} on {device} was not measured"
    raise {"breach": ObjectiveBreached, "inconclusive": Undecided}.get(state, NotMeasured)(why)


def report(plan: Plan, store_url: str | None, attempts: Attempts | None = None) -> Summary:
    """Close the run: what left no record is recorded as failed, then summary, store and ``report.html`` are written.

    Args:
        attempts: the last try of each measurement, whose records count; None: whatever is there.

    Raises:
        ServiceUnavailable: the store does not answer. Nobody knows then what was measured elsewhere, so nothing is closed.
    """
    ledger = Ledger(plan, store_url)
    paths.run_dir(plan.run_id).mkdir(parents=True, exist_ok=True)
    records: list[Record] = []
    for benchmark, device in plan.work:
        found = ledger.left(benchmark, device, attempts)
        if not found and device in plan.unserved:
            found = _leave(ledger, benchmark, device, "skipped", plan.unserved[device])
        elif not found:
            tidy(plan, benchmark, device)
            reason = "it left no result: its task was killed, timed out, or never ran"
            found = _leave(ledger, benchmark, device, "failed", reason)
        records += found
    ledger.fetch()
    found = sorted(judged(plan, records, ledger.store), key=lambda record: _order(plan, record))
    for benchmark, device in plan.work:
        own = [r for r in found if (r.benchmark, r.device) == (benchmark, device)]
        files.write_records(plan.run_id, benchmark, device, own)
        if any(o.verdict == "invalid" for record in own if record.status == "measured" for o in record.objectives):
            tidy(plan, benchmark, device, next_look(own))  # what it had built, where it was ended while it confirmed
    summary = Summary(
        run_id=plan.run_id,
        dag_id=plan.dag_id,
        suite=plan.suite,
        scale=plan.scale,
        state=night(found),
        started_at=plan.started_at,
        finished_at=utc_now(),
        host=host.describe(),
        scheduled=plan.scheduled,
        overrides=plan.overrides,
        results=found,
    )
    files.write_summary(summary)
    written = [
        files.write_report(plan.run_id, render_report(summary, paths.run_dir(plan.run_id))),
        files.write_note(plan.run_id, render_summary(summary)),
    ]
    took.remember(summary, figures.epoch(summary.finished_at) - figures.epoch(summary.started_at))
    if ledger.store:
        ledger.store.save_summary(summary, written)
    return summary


def _keep(ledger: Ledger, benchmark: str, device: Device, records: list[Record], raw: Sequence[Path] = ()) -> None:
    """Write what a new try came to. It lies in the files in any case."""
    try:
        ledger.write(benchmark, device, records, raw=raw, anew=True)
    except ServiceUnavailable as error:
        log.warning(
            "%s; what was measured is in %s, and the next step stores it", error, paths.run_dir(ledger.plan.run_id)
        )


def _require_whole(records: list[Record], plan: Plan, benchmark: str, device: Device) -> None:
    """NotMeasured: a benchmark returned records of something else, or forgot one that objectives gate."""
    for record in records:
        if (record.benchmark, record.device) != (benchmark, device):
            raise NotMeasured(f"{benchmark} on {device} returned a record of {record.benchmark} on {record.device}")
    there = {name for record in records for name in (record.variant, record.instead_of)}
    if missing := [variant for variant in plan.settings_of(benchmark).variants if variant not in there]:
        raise NotMeasured(f"{benchmark} on {device} returned no record of {', '.join(missing)}")


def _place(cache: Cache) -> str:
    """Where something was prepared: paths mean nothing elsewhere."""
    return f"{machine.name()}:{cache.root}"


def _order(plan: Plan, record: Record) -> tuple[int, int]:
    """Where a record stands in the summary: in the plan's order, gated variants before controls."""
    settings = plan.settings_of(record.benchmark)
    own = (*settings.gated(record.device), *settings.beside(record.device))
    variants = [*own, record.variant]  # it may stand in for one of them
    return plan.work.index((record.benchmark, record.device)), variants.index(record.variant)


def _leave(
    ledger: Ledger, benchmark: str, device: Device, status: Any, reason: str, attempt: Attempt | None = None
) -> list[Record]:
    """Write a record without numbers for every variant, so that no benchmark of the plan goes missing."""
    plan = ledger.plan
    settings = plan.settings_of(benchmark)
    now = utc_now()
    records = [
        Record(
            suite=plan.suite,
            benchmark=benchmark,
            variant=variant,
            device=device,
            status=status,
            reason=reason,
            host=host.describe(),
            settings=plan.settings[benchmark],
            gated=variant in settings.gated(device),
            started_at=now,
            finished_at=now,
            attempt=attempt,
        )
        for variant in (*settings.gated(device), *settings.beside(device))
    ]
    _keep(ledger, benchmark, device, records)
    return records
