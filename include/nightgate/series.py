"""What makes measurements of different runs one series, and what only annotates a point of it.

Part of the identity is whatever makes the work or the machine another one. Versions of libraries, the project's revision,
the kernel, the driver and the build of an index are not: a series exists to show what they change.
"""

from __future__ import annotations

import hashlib
import json
from typing import NamedTuple

from nightgate.record import Record

_CHOICES = ("variants", "gpu_variants", "controls")  # which others are measured changes nothing for this one


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
    settings = {name: value for name, value in record.settings.items() if name not in _CHOICES}
    return Series(
        record.suite, scale, record.benchmark, record.variant, record.device, record.host.fingerprint if record.host else "",
        _digest(record.facts.inputs), _digest(settings),
    )  # fmt: skip


def _digest(of: object) -> str:
    return hashlib.sha256(json.dumps(of, sort_keys=True).encode()).hexdigest()[:12]
