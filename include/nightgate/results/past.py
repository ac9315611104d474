"""What is known of a series before the night that is judged: from the store, or without one from the files of earlier runs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from typing import TYPE_CHECKING, Any

from nightgate.errors import NightgateError
from nightgate.judge.past import Measured, Night, Past
from nightgate.record import STORED, Look, Metric, Objective, Record, Standing, Summary
from nightgate.results import files, queries
from nightgate.series import Series, series_of

if TYPE_CHECKING:
    from nightgate.results.store import Store

NIGHTS = 36
"""Of a series, at most: the scatter between runs is learned from the last 30 that count, and a few do not."""

_RUNS = 60  # on disk, the newest, that are looked through without a store

Key = tuple[str, str, str]
"""Benchmark, variant and device."""


def past_of(record: Record, scale: str, *, run_id: str, standing: Standing, store: Store | None) -> Past:
    """As `pasts_of`, of one record."""
    return pasts_of([record], scale, run_id=run_id, standing=standing, store=store).get(key_of(record), Past())


def pasts_of(
    records: Iterable[Record], scale: str, *, run_id: str, standing: Standing, store: Store | None, most: int = NIGHTS
) -> dict[Key, Past]:
    """Key → the past of each of ``records`` (of one run, measured at ``scale``) that was measured.

    Of a night these are earlier nights of its series; of any other run the earlier runs of its series that are no nights.
    Only what had ended when the record's own measurement began is looked at, so that whatever comes later changes nothing.
    What was excluded, or came before an accepted baseline, is left out; without a store nobody can say so.

    Args:
        most: of the newest nights of each.

    Raises:
        ServiceUnavailable: the store does not answer.
    """
    measured = {key_of(record): record for record in records if record.status == "measured" and record.host}
    if not measured:
        return {}
    wanted = {key: series_of(record, scale) for key, record in measured.items()}
    befores = {key: _began(record) for key, record in measured.items()}
    night = standing == "night"
    if store:
        return _stored(store, wanted, befores, run_id, night, most)
    return _on_disk(wanted, befores, run_id, night)


def _stored(
    store: Store,
    wanted: Mapping[Key, Series],
    befores: Mapping[Key, datetime],
    run_id: str,
    night: bool,
    most: int,
) -> dict[Key, Past]:
    keys = list(wanted)
    rows = [
        {"place": place, "run_id": run_id, "night": night, "before": befores[key].isoformat()}
        | {name: getattr(wanted[key], name) for name in _COLUMNS}
        for place, key in enumerate(keys)
    ]
    with store.together():
        works = works_of(store, rows, wanted)
        found = store.rows(queries.NIGHTS_BEFORE, {"wanted": json.dumps(works), "most": most}) if works else []
    nights: dict[Key, list[Night]] = {key: [] for key in keys}
    for place, *columns in reversed(found):
        nights[keys[place]].append(_night(*columns))
    return {key: Past(tuple(of)) for key, of in nights.items()}


def works_of(store: Store, rows: list[dict[str, Any]], wanted: Mapping[Key, Series]) -> list[dict[str, Any]]:
    """Those of ``rows`` of whose series the store has something, each with its ``works``: settings and inputs, to the letter,
    that make that series."""
    keys, known = list(wanted), dict[tuple[str, str], Series]()
    found: dict[int, list[str]] = {}
    for place, work, one in store.rows(queries.WORKS, {"wanted": json.dumps(rows)}):
        series = wanted[keys[place]]
        if (series.benchmark, work) not in known:  # variants share theirs
            known[series.benchmark, work] = series_of(Record.model_validate(one, context=STORED), series.scale)
        its = known[series.benchmark, work]
        if (its.data, its.settings) == (series.data, series.settings):
            found.setdefault(place, []).append(work)
    return [rows[place] | {"works": works} for place, works in found.items()]


_COLUMNS = ("suite", "scale", "benchmark", "variant", "device", "fingerprint")


def _night(
    run_id: str,
    at: str,
    metrics: str,
    looks: str | None,
    objectives: str | None,
    disturbed: str | None,
    versions: str | None,
    builds: str | None,
    environment: str | None,
) -> Night:
    """From the columns of `queries.NIGHTS_BEFORE`; what is JSON is read here, where it needs no detour."""
    of_metrics, of_looks, of_objectives = _readers()
    measured = [Measured(of_metrics.validate_json(metrics), disturbed)]
    if looks:
        measured += [Measured(look.metrics, look.disturbed) for look in of_looks.validate_json(looks)]
    verdicts = {one.metric: one for one in of_objectives.validate_json(objectives)} if objectives else {}
    of_versions, of_builds = (json.loads(text) if text else {} for text in (versions, builds))
    return Night(run_id, at, tuple(measured), verdicts, of_versions, of_builds, environment)


@cache
def _readers() -> tuple[Any, Any, Any]:
    from pydantic import TypeAdapter

    return TypeAdapter(dict[str, Metric]), TypeAdapter(list[Look]), TypeAdapter(list[Objective])


def _on_disk(
    wanted: Mapping[Key, Series], befores: Mapping[Key, datetime], run_id: str, night: bool
) -> dict[Key, Past]:
    nights: dict[Key, list[tuple[datetime, Night]]] = {key: [] for key in wanted}
    for summary in _summaries(night):
        if summary.run_id == run_id:
            continue
        for record in summary.results:
            key, ended = key_of(record), _ended(record)
            if record.status != "measured" or key not in wanted or ended >= befores[key]:
                continue
            if series_of(record, summary.scale) == wanted[key]:
                nights[key].append((ended, _of_record(summary.run_id, ended, record)))
    return {key: _newest(of) for key, of in nights.items()}


def _summaries(night: bool) -> Iterable[Summary]:
    for run_id in files.newest_runs(_RUNS):
        try:
            summary = files.read_summary(run_id)
        except NightgateError:
            continue  # under way, torn, or of another version: `results show` says which
        if (summary.standing == "night") == night:
            yield summary


def night_of(run_id: str, record: Record) -> Night:
    """A measured record as a night of its series."""
    return _of_record(run_id, _ended(record), record)


def _of_record(run_id: str, ended: datetime, record: Record) -> Night:
    noise = record.facts.noise
    metrics = {name: _as_measured(metric) for name, metric in record.metrics.items()}
    own = Measured(metrics, noise.disturbed if noise else None)
    confirming = (Measured(look.metrics, look.disturbed) for look in record.looks)
    verdicts = {one.metric: one for one in record.objectives}
    made = record.facts.provenance
    return Night(
        run_id, _written(ended), (own, *confirming), verdicts, made.versions, record.facts.builds, made.environment
    )


def _as_measured(metric: Metric) -> Metric:
    """With the interval of its run alone, as it was before it was judged."""
    if metric.between is None:
        return metric
    return metric.model_copy(update={"ci95": metric.within95, "within95": None, "between": None})


def _newest(nights: Sequence[tuple[datetime, Night]]) -> Past:
    ordered = sorted(nights, key=lambda one: (one[0], one[1].run_id))
    return Past(tuple(night for _, night in ordered[-NIGHTS:]))


def key_of(record: Record) -> Key:
    """Benchmark, variant and device of a record."""
    return record.benchmark, record.variant, record.device


def time_of(record: Record) -> str:
    """When a record ended, as the store has it."""
    return _ended(record).isoformat()


def _began(record: Record) -> datetime:
    return _time(record.started_at or record.finished_at)


def _ended(record: Record) -> datetime:
    return _time(record.finished_at or record.started_at)


def _time(text: str | None) -> datetime:
    """The time that a record names; one that names none is of now."""
    return datetime.fromisoformat(text).astimezone(UTC) if text else datetime.now(UTC)


def _written(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
