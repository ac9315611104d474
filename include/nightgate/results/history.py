"""What earlier runs on this host took, from the records on disk, and so what the next one will take."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import ValidationError

from nightgate.errors import NightgateError
from nightgate.measure.durations import Estimate, Past, Steps, estimate
from nightgate.record import Record
from nightgate.results import files
from nightgate.suite import BenchmarkSettings, Takes

_RUNS = 20

Key = tuple[str, str]
"""Benchmark and device."""


def estimates(
    settings: Mapping[str, BenchmarkSettings], takes: Mapping[str, Takes], work: Iterable[Key], fingerprint: str
) -> dict[Key, Estimate]:
    """What each measurement of ``work`` will take on the host with this fingerprint.

    Args:
        takes: what each of the settings says of itself; a user's files are looked at for it, so it is asked once.
    """
    took = earlier(fingerprint)
    rated = {name: Steps(each.prepare, each.measure) for name, each in takes.items()}
    return {
        (name, device): estimate(rated[name], _past(settings[name], rated[name], took.get((name, device), [])))
        for name, device in work
    }


def earlier(fingerprint: str) -> dict[Key, list[tuple[dict[str, Any], Steps]]]:
    """The settings and the seconds of the newest runs on a host, per benchmark and device, newest first."""
    found: dict[Key, list[tuple[dict[str, Any], Steps]]] = {}
    for run_id in files.newest_runs(_RUNS):
        try:
            records = files.read_records(run_id)
        except NightgateError:
            continue  # torn, or of another version: `results show` says which
        seen: set[Key] = set()
        for record in records:
            key = (record.benchmark, record.device)
            if key not in seen and (steps := _took(record, fingerprint)):
                seen.add(key)
                found.setdefault(key, []).append((record.settings, steps))
    return found


def _took(record: Record, fingerprint: str) -> Steps | None:
    if record.host is None or record.host.fingerprint != fingerprint:
        return None
    try:
        return Steps(record.metrics["prepare_seconds"].value, record.metrics["measure_seconds"].value)
    except KeyError:
        return None


def _past(now: BenchmarkSettings, rated: Steps, took: Iterable[tuple[dict[str, Any], Steps]]) -> list[Past]:
    found = []
    for settings, steps in took:
        try:
            then = type(now).model_validate(settings)
            found.append(Past(steps, rated if then == now else _rated(then), same=then == now))
        except (ValidationError, NightgateError, OSError):
            continue  # its files are gone, or its settings are no longer known
    return found


def _rated(settings: BenchmarkSettings) -> Steps:
    takes = settings.takes()
    return Steps(takes.prepare, takes.measure)
