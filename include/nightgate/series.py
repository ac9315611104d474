"""What makes measurements of different runs one series, and what only annotates a point of it.

Part of the identity is whatever makes the work or the machine another one. Versions of libraries, the project's revision,
the kernel, the driver, the build of an index and the weights of a model are not: a series exists to show what they change.

A setting that shapes no figure (`nightgate.suite.Aside`) is no part of it either, and one that a record lacks, because it
came with a later version, has its default. So no digest of settings is ever stored: it holds for the version that makes it.
"""

from __future__ import annotations

import hashlib
import json
from typing import NamedTuple

from nightgate import registry
from nightgate.record import Record


class Series(NamedTuple):
    """``data`` and ``settings`` are digests: of the inputs that were worked on, and of the values that shape the work."""

    suite: str
    scale: str
    benchmark: str
    variant: str
    device: str
    fingerprint: str
    data: str
    settings: str


def series_of(record: Record, scale: str) -> Series:
    """The series of a record that was measured at ``scale``."""
    settings, data, _ = registry.work(record)
    return Series(
        record.suite,
        scale,
        record.benchmark,
        record.variant,
        record.device,
        record.host.fingerprint if record.host else "",
        _digest(data),
        _digest(settings),
    )


def differing(first: Record, second: Record) -> dict[str, tuple[object, object]]:
    """What makes the work of two records of one benchmark another, by name; empty when they can be compared.

    Of the digests of their data those count that both know: a record of an earlier version has none.
    """
    (asked, data, _), (other_asked, other_data, _) = registry.work(first), registry.work(second)
    pairs = {name: (asked.get(name), other_asked.get(name)) for name in dict.fromkeys([*asked, *other_asked])}
    pairs |= {f"{name} (digest)": (data[name], other_data[name]) for name in data if name in other_data}
    return {name: pair for name, pair in pairs.items() if pair[0] != pair[1]}


def annotations_of(record: Record) -> dict[str, str]:
    """What annotates this point of its series, by name; only what is known."""
    made, host = record.facts.provenance, record.host
    known = {
        **made.versions,
        "nightgate": made.nightgate,
        "revision": made.revision,
        "python": made.python,
        "kernel": made.kernel,
        "microcode": made.microcode,
        "driver": made.driver or (host and host.gpu_facts and host.gpu_facts.driver),
        **registry.work(record)[2],
    }
    return {name: value for name, value in known.items() if value}


def _digest(of: object) -> str:
    return hashlib.sha256(json.dumps(of, sort_keys=True, default=str).encode()).hexdigest()[:12]
