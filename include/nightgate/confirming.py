"""The step between record and gate: what one run leaves undecided, or finds breached, is measured once more.

Each look is a measurement of its own, in new processes and, where an index is built, on a new one. It is kept as soon as
it is taken, so that a step that is killed goes on from there when it is called again.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterable, Mapping, Sequence
from contextlib import AbstractContextManager
from datetime import datetime

from nightgate import paths, registry
from nightgate.errors import Disturbed, InputError, NotMeasured, ServiceUnavailable, Unavailable
from nightgate.following import followed_step
from nightgate.judge import judge, wanted
from nightgate.judge.past import Past
from nightgate.judged import ONE_MORE, limits_of, pasts
from nightgate.ledger import Ledger
from nightgate.measure import durations, host
from nightgate.measure.child import ends_within
from nightgate.metrics import MEASURE_SECONDS, PREPARE_SECONDS
from nightgate.planning import Plan
from nightgate.record import BY_HAND, Attempt, Device, Look, Record, utc_now
from nightgate.results import files
from nightgate.street import context_of, owner, tidied, tidy
from nightgate.suite import BenchmarkSettings

log = logging.getLogger(__name__)

_PATIENCE = 120.0  # seconds that somebody waits for a quiet host

Asked = Mapping[str, tuple[str, ...]]
"""Variant → the metrics of it that are to be measured once more."""


def confirm(plan: Plan, benchmark: str, device: Device, store_url: str | None, attempt: Attempt | None = None) -> int:
    """Measure once more, up to three times, until every objective is decided. Returns how many looks were taken.

    What a disturbed host has spoilt is measured again later the same night. Where no schedule asked for the run somebody
    waits for it, and so it waits for a quiet host in here, but not for long.

    Raises:
        Unavailable: nothing is to be confirmed.
        Disturbed: the host was not quiet at the first measurement of a night, less than `durations.again_seconds` ago.
        ServiceUnavailable: the store does not answer, or another machine made the first measurement.
        NotMeasured: a look failed. Those before it are kept, and what is undecided is invalid.
    """
    ledger = Ledger(plan, store_url)
    records = ledger.read(benchmark, device, attempt)
    known = pasts(plan, records, ledger.store)
    end = time.monotonic() + (float("inf") if plan.dag_id == BY_HAND else durations.STEP_SECONDS)
    taken = 0
    while asked := _asked(plan, records, known):
        _require_its_host(records)
        with followed_step(ledger, benchmark, device, "confirm"):
            _let_a_while_pass(plan, records, asked)
            _look(ledger, records, asked, end - time.monotonic())
        taken += 1
    if not any(record.looks for record in records):
        raise Unavailable(
            f"nothing is to be confirmed of {benchmark} on {device}: {_why_nothing(plan, records, known)}"
        )
    return taken


def _require_its_host(records: Sequence[Record]) -> None:
    """Another kind of machine would tell of itself, and not of what is to be confirmed."""
    for record in records:
        if record.host and record.host.fingerprint != host.describe().fingerprint:
            made = record.attempt.machine if record.attempt else "another host"
            raise ServiceUnavailable(
                f"it was measured on {made} ({record.host.fingerprint}), and this is another machine ({host.describe().fingerprint})",
                "none; it is tried again until the machine that measured takes it",
            )


def _why_nothing(plan: Plan, records: Sequence[Record], known: Sequence[Past]) -> str:
    verdicts = {
        objective.verdict
        for record, past in zip(records, known, strict=True)
        for objective in judge(record, limits_of(plan, record), gated=record.gated, past=past)
    }
    if "inconclusive" in verdicts:
        return (
            "what is undecided is so by what all runs share, such as their queries, and another run would not tell more"
        )
    return "nothing could be judged" if "invalid" in verdicts else "every objective is decided"


def next_look(records: Sequence[Record]) -> int:
    """The number of the confirming run that comes next, or was ended."""
    return 1 + max((len(record.looks) for record in records), default=0)


def _asked(plan: Plan, records: Sequence[Record], known: Sequence[Past]) -> Asked:
    found = {}
    for record, past in zip(records, known, strict=True):
        if record.gated and len(record.looks) < durations.MOST_LOOKS:
            found[record.variant] = wanted(record, limits_of(plan, record), past)
    return {variant: metrics for variant, metrics in found.items() if metrics}


def _let_a_while_pass(plan: Plan, records: Sequence[Record], asked: Asked) -> None:
    """Wait, or raise Disturbed, where a busy host has spoilt the first measurement of a speed that is asked for."""
    for record in records:
        spoilt = record.facts.noise and record.facts.noise.disturbed
        speeds = any(registry.spec_of(record, name).of_speed for name in asked.get(record.variant, ()))
        if not (spoilt and speeds and not record.looks and record.finished_at):
            continue
        passed = datetime.fromisoformat(utc_now()) - datetime.fromisoformat(record.finished_at)
        if (left := durations.again_seconds() - passed.total_seconds()) <= 0:
            continue
        what = f"{record.benchmark} on {record.device} was measured on a host that was not quiet: {spoilt}"
        if plan.scheduled:
            after = durations.human(durations.again_seconds())
            raise Disturbed(what, f"none; {after} later it is measured once more")
        left = min(left, _PATIENCE)
        log.warning("%s; waiting %s at most for a quiet host", what, durations.human(left))
        host.wait_until_quiet(paths.home(), left)
        return


def _look(ledger: Ledger, records: Sequence[Record], asked: Asked, left: float) -> None:
    """Take one look at what is asked, and keep it. ``left``: the seconds there are for all that is still to be done."""
    benchmark, device = records[0].benchmark, records[0].device
    try:
        found = _measured(ledger.plan, records, asked, left)
    except Exception as error:
        _keep(ledger, records, dict.fromkeys(asked, str(error)))
        if isinstance(error, (InputError, Unavailable)):  # it was fine a moment ago, so this is a failure and no skip
            raise NotMeasured(error.what, error.next_step) from error
        raise
    _keep(ledger, records, found)
    failed = [f"{variant}: {why}" for variant, why in found.items() if isinstance(why, str)]
    if failed:
        raise NotMeasured(f"{benchmark} on {device} could not be measured once more: {'; '.join(failed)}")


def _measured(plan: Plan, records: Sequence[Record], asked: Asked, left: float) -> dict[str, Look | str]:
    """A look at each variant that is asked for, or why there is none of it."""
    if left <= 0:
        raise NotMeasured(f"confirming took longer than {durations.human(durations.STEP_SECONDS)}")
    benchmark, device, number = records[0].benchmark, records[0].device, next_look(records)
    names = tuple(dict.fromkeys(name for metrics in asked.values() for name in metrics))
    log.info("%s on %s once more (%d): %s of %s", benchmark, device, number, ", ".join(names), ", ".join(asked))
    known, context = registry.named(benchmark), context_of(plan, benchmark, device, number)
    programs = [service.program for service in known.services]
    firsts = {record.variant: record for record in records if record.variant in asked}
    settings = known.to_confirm(_alone(plan.settings_of(benchmark), firsts.values()), names)
    whose = f"{owner(plan, benchmark, device)}-{number}"
    end = time.monotonic() + left

    def limited(step: durations.Step) -> AbstractContextManager[None]:
        return ends_within(min(end - time.monotonic(), plan.timeout_of(benchmark, device, step)))

    tidy(plan, benchmark, device, number)  # what this look has left when it was killed
    with tidied(plan, benchmark, device, number):
        start = time.monotonic()
        with limited("prepare"):
            made = known.prepare(settings, context)
        prepared, between = made.model_dump(mode="json"), time.monotonic()
        context.cache.reserve(prepared, whose)
        with context.cache.using(prepared, whose), host.quiet(paths.home(), programs) as noise, limited("measure"):
            begun = time.monotonic()
            again = {record.variant: record for record in known.measure(settings, made, context)}
            took = time.monotonic() - begun
    found: dict[str, Look | str] = {}
    for variant, first in firsts.items():
        if why := _no_look(first, again.get(variant), asked[variant]):
            found[variant] = why
        else:
            second = again[variant]
            second.add(PREPARE_SECONDS, between - start)
            second.add(MEASURE_SECONDS, took)
            at = second.started_at or utc_now()
            found[variant] = Look(started_at=at, metrics=second.metrics, disturbed=noise.disturbed)
    return found


def _alone(settings: BenchmarkSettings, records: Iterable[Record]) -> BenchmarkSettings:
    """Of the gated variants only those that are asked for."""
    asked = {record.instead_of or record.variant for record in records}
    chosen = {
        key: tuple(name for name in getattr(settings, key) if name in asked)
        for key in ("variants", "gpu_variants")
        if hasattr(settings, key)
    }
    return settings.model_copy(update=chosen) if chosen["variants"] else settings


def _no_look(first: Record, second: Record | None, metrics: Iterable[str]) -> str | None:
    """Why ``second`` says nothing of ``first``; None: it does."""
    if second is None:
        return "the benchmark returned no record of it"
    if second.status != "measured":
        return second.reason or "no reason was given"
    if other := [
        name for name, digest in first.facts.inputs.items() if second.facts.inputs.get(name, digest) != digest
    ]:
        return f"its input has changed meanwhile: {', '.join(other)}"
    if missing := [name for name in metrics if name not in second.metrics]:
        return f"that measurement gave no {', '.join(missing)}"
    return None


def _keep(ledger: Ledger, records: Sequence[Record], found: Mapping[str, Look | str]) -> None:
    """Put the looks, or why there is none, into the records, and write these to the files and the store."""
    benchmark, device = records[0].benchmark, records[0].device
    raw = files.raw_of(ledger.plan.run_id, benchmark, device, next_look(records))
    for record in records:
        if isinstance(look := found.get(record.variant), Look):
            record.looks.append(look)
            record.facts.not_measured.pop(ONE_MORE, None)
        elif look is not None:
            record.facts.not_measured[ONE_MORE] = look
    ledger.write(benchmark, device, records, raw=raw)
