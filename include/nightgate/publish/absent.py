"""What was asked for and not measured, and why."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from nightgate import registry
from nightgate.record import Device, Record, Status


@dataclass(frozen=True)
class Absent:
    """Variants of one benchmark on one device that were not measured for the same reason. ``status``: skipped or failed."""

    benchmark: str
    device: Device
    status: Status
    reason: str
    variants: list[str]


def skips(records: Iterable[Record]) -> list[str]:
    """What was asked for and skipped, and why: "transcription on gpu, hybrid_ann on gpu: this host has no NVIDIA device"."""
    pairs: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        pairs.setdefault((record.benchmark, record.device), []).append(record)
    reasons: dict[str, list[str]] = {}
    for (benchmark, device), group in pairs.items():
        absent = [record for record in group if record.status == "skipped"]
        for record in absent:
            whole = len(absent) == len(group)
            name = f"{benchmark} on {device}" if whole else f"{record.variant} of {benchmark} on {device}"
            reason = (record.reason or "no reason was given").partition(" Next step:")[0].rstrip(".")
            reasons.setdefault(reason, []).append(name)
    return [f"{', '.join(dict.fromkeys(names))}: {reason}" for reason, names in reasons.items()]


def absent(records: Iterable[Record]) -> list[Absent]:
    """What was skipped or failed; variants that share a reason share a row."""
    groups: dict[tuple[str, Device, Status, str], list[str]] = {}
    for record in records:
        if record.status != "measured":
            key = (record.benchmark, record.device, record.status, record.reason or "no reason was given")
            groups.setdefault(key, []).append(record.variant)
    return [
        Absent(registry.title(benchmark), device, status, reason, variants)
        for (benchmark, device, status, reason), variants in groups.items()
    ]
