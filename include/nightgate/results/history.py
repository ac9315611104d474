"""What earlier runs on this host took, from the records on disk, and so what the next one will take."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
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

Rate = Callable[[str, BenchmarkSettings], Takes]
"""What a benchmark, by its name, says that it takes at some settings. NightgateError or OSError: their files are gone."""


@dataclass(frozen=True)
class Earlier:
    """One earlier measurement: its settings, as they were recorded, and the seconds of its steps."""

    settings: dict[str, Any]
    steps: Steps


def estimates(
    settings: Mapping[str, BenchmarkSettings],
    takes: Mapping[str, Takes],
    work: Iterable[Key],
    fingerprint: str,
    rate: Rate,
) -> dict[Key, Estimate]:
    """What each measurement of ``work`` will take on the host with this fingerprint.

    Args:
        takes: what each of the settings takes, as its benchmark says.
        rate: the same of the settings of earlier runs.
    """
    took = earlier(fingerprint)
    return {
        (name, device): estimate(
            _steps(takes[name]), _past(name, settings[name], takes[name], took.get((name, device), []), rate)
        )
        for name, device in work
    }


def earlier(fingerprint: str) -> dict[Key, list[Earlier]]:
    """The settings and the seconds of the newest runs on a host, per benchmark and device, newest first."""
    runs: dict[Key, list[Earlier]] = {}
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
                runs.setdefault(key, []).append(Earlier(record.settings, steps))
    return runs


def _took(record: Record, fingerprint: str) -> Steps | None:
    if record.host is None or record.host.fingerprint != fingerprint:
        return None
    try:
        return Steps(record.metrics["prepare_seconds"].value, record.metrics["measure_seconds"].value)
    except KeyError:
        return None


def _past(name: str, now: BenchmarkSettings, takes: Takes, took: Iterable[Earlier], rate: Rate) -> list[Past]:
    rated = {now: takes}  # what a user's files are is looked at once for the same settings
    past = []
    for one in took:
        try:
            then = type(now).model_validate(one.settings)
            if then not in rated:
                rated[then] = rate(name, then)
        except (ValidationError, NightgateError, OSError):
            continue  # its files are gone, or its settings are no longer known
        past.append(Past(one.steps, _steps(rated[then]), same=then == now))
    return past


def _steps(takes: Takes) -> Steps:
    return Steps(takes.prepare, takes.measure)
