"""The watch over a night: its candidates, measured again in turns with a frozen control, and what that says."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from nightgate import paths, registry
from nightgate.artifacts import Cache
from nightgate.duet.measuring import Task, duet
from nightgate.environments import lock as locks
from nightgate.environments.build import interpreter
from nightgate.environments.lock import Lock
from nightgate.errors import InputError, NightgateError, ServiceUnavailable, Unavailable
from nightgate.judge.past import Night, Past
from nightgate.measure import host
from nightgate.measure.child import Interpreter
from nightgate.planning import services_here
from nightgate.record import Device, Record
from nightgate.regression.power import Power, power
from nightgate.regression.replay import Followed, Found, Replayed, kind_of, replay, value_of
from nightgate.results import beside
from nightgate.results.beside import Measured, SeriesKey
from nightgate.results.past import key_of, night_of, pasts_of
from nightgate.results.store import Run, Store
from nightgate.suite import Watch

log = logging.getLogger(__name__)

NIGHTS = 400
"""Of each series, that are replayed."""


@dataclass(frozen=True)
class Looked:
    """A night as the watch sees it: its ``run``, the ``records`` with what is known of their series, and what the replay found."""

    run: Run
    records: Sequence[Record]
    pasts: Mapping[tuple[str, str, str], Past]
    followed: Mapping[SeriesKey, Followed]
    replayed: Replayed
    measured: Mapping[tuple[str, SeriesKey], Measured]

    def first_of(self, record: Record) -> Night | None:
        """The oldest night of a series whose environment is known: what came with an accepted baseline, or was there first."""
        return next((night for night in self.pasts[key_of(record)].nights if night.environment), None)


def look(store: Store, run_id: str, watch: Watch) -> Looked:
    """Replay the series of the night ``run_id`` up to it.

    Raises:
        InputError: the store has no such run. Unavailable: it is no night, so no series goes through it.
    """
    with store.together():
        run = store.run(run_id)
        summary = store.summary(run_id)
        if run is None or summary is None:
            raise InputError(f"the store has no judged run {run_id!r}", "see `nightgate results list`")
        if run.standing == "ad-hoc":
            raise Unavailable(f"{run_id} is an ad-hoc run: no series goes through it")
        records = [one for one in summary.results if one.status == "measured" and one.gated and one.host]
        pasts = pasts_of(records, run.scale, run_id=run_id, standing=run.standing, store=store, most=NIGHTS)
        followed = {
            SeriesKey(record.benchmark, record.variant, record.device, spec.name): Followed(
                spec, [*pasts.get(key_of(record), Past()).nights, night_of(run_id, record)]
            )
            for record in records
            for spec in registry.watched(record)
        }
        runs = sorted({night.run_id for one in followed.values() for night in one.nights})
        measured = beside.of_runs(store, runs)
    return Looked(run, records, pasts, followed, replay(followed, measured, watch.alerts_a_year), measured)


def candidates(looked: Looked) -> list[Found]:
    """What of tonight is to be measured beside the control, and was not yet."""
    known = looked.measured
    return [one for one in looked.replayed.tonight if not known.get((looked.run.run_id, one.key), Measured()).tonight]


def powers(looked: Looked, rounds: int) -> dict[SeriesKey, Power]:
    """What each series of speeds would show, by its own nights; those of which nobody can say yet are left out."""
    found, spreads = {}, looked.replayed.suite.spreads()
    for key, one in looked.followed.items():
        if not one.spec.of_speed:
            continue
        kind, course = kind_of(one.spec), looked.replayed.suite.course(key)
        values = [value for night in one.nights if (value := value_of(night, one.spec)) is not None]
        limits = looked.replayed.suite.limits[kind]
        if shown := power(values, limits, spreads.get(kind), rounds, course.least_sd):
            found[key] = shown
    return found


def confirm(store: Store, run_id: str, watch: Watch, benchmark: str, device: Device) -> int:
    """Measure the candidates of one benchmark and device in turns with their control, and keep what that found.

    Returns:
        how many series were measured.

    Raises:
        Unavailable: there are none.
        ServiceUnavailable: another kind of host measured the night.
    """
    looked = look(store, run_id, watch)
    asked = [one for one in candidates(looked) if (one.key.benchmark, one.key.device) == (benchmark, device)]
    if not asked:
        raise Unavailable(f"nothing of {benchmark} on {device} lies far from what is usual")
    records = {key_of(record): record for record in looked.records}
    found: dict[SeriesKey, Measured] = {}
    for variant in dict.fromkeys(one.key.variant for one in asked):
        record = records[benchmark, variant, device]
        _require_its_host(record)
        of_variant = [one.key for one in asked if one.key.variant == variant]
        try:
            found |= _beside_control(store, looked, record, of_variant, watch.rounds)
        except ServiceUnavailable:
            raise
        except NightgateError as error:
            log.warning("%s, %s on %s cannot be measured beside its control: %s", benchmark, variant, device, error)
            found |= {key: Measured(why_not=str(error)) for key in of_variant}
    beside.put(store, run_id, found)
    return len(found)


def _require_its_host(record: Record) -> None:
    if record.host and record.host.fingerprint != host.describe().fingerprint:
        raise ServiceUnavailable(
            f"the night was measured on another kind of machine ({record.host.fingerprint}) than this ({host.describe().fingerprint})",
            "none; it is tried again until a machine like it takes it",
        )


def _beside_control(
    store: Store, looked: Looked, record: Record, keys: Sequence[SeriesKey], rounds: int
) -> dict[SeriesKey, Measured]:
    first = looked.first_of(record)
    if first is None or first.environment is None:
        raise Unavailable("no earlier night of it says what was installed, so there is no control")
    tonight = record.facts.provenance.environment
    known = store.environments([first.environment, *([tonight] if tonight else [])])
    if first.environment not in known:
        raise Unavailable(f"what was installed in {first.run_id} is not in the store")
    cache = Cache(paths.cache_dir())
    control = interpreter(cache, paths.home(), known[first.environment])
    log.info(
        "%s, %s on %s beside its control, the environment %s of %s",
        record.benchmark,
        record.variant,
        record.device,
        first.environment,
        first.run_id,
    )
    task = task_of(record, tuple(key.metric for key in keys))
    made = duet(control, interpreter_of(cache, known.get(tonight or "")), task, rounds)
    if not any(made.of(record.variant, key.metric)[0] for key in keys):
        raise Unavailable(
            f"the host was not quiet: {made.disturbed[0]}" if made.disturbed else "there is no round that counts"
        )
    found = {}
    for key in keys:
        theirs, ours = made.of(record.variant, key.metric)
        found[key] = Measured(
            tonight=tuple(ours),
            control=tuple(theirs),
            same_build=made.same_builds(record.variant),
            control_environment=first.environment,
            control_run=first.run_id,
        )
    return found


def interpreter_of(cache: Cache, lock: Lock | None) -> Interpreter | None:
    """How to start a child in an environment; None where it is that of this process."""
    return None if lock is None or lock.digest == locks.here().digest else interpreter(cache, paths.home(), lock)


def task_of(record: Record, metrics: tuple[str, ...]) -> Task:
    """What a duet measures to say something of a record: its variant alone."""
    known = registry.named(record.benchmark)
    settings: dict[str, Any] = {**record.settings, **known.settings.only(record.variant)}
    services = services_here()
    looked = known.look(known.settings.model_validate(settings), services)
    return Task(record.benchmark, record.device, settings, metrics, looked.model_dump(mode="json"), services)
