"""What is known of a series when one more of its measurements is judged."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from nightgate.record import Metric, Objective


@dataclass(frozen=True)
class Measured:
    """One measurement of a night: its ``metrics``, with the intervals of that run alone, as they were before it was judged.
    ``disturbed``: why its speeds count for nothing; None where nothing disturbed it."""

    metrics: Mapping[str, Metric]
    disturbed: str | None = None


@dataclass(frozen=True)
class Night:
    """An earlier night of the series: its ``measured``, the record's own first and the confirming ones after it, and the
    ``verdicts`` by metric. ``versions`` are those of the libraries and servers that were measured, by name, ``builds`` the ids
    of the indexes that answered, ``environment`` is the digest of all that was installed."""

    run_id: str
    at: str
    measured: tuple[Measured, ...]
    verdicts: Mapping[str, Objective] = field(default_factory=dict)
    versions: Mapping[str, str] = field(default_factory=dict)
    builds: Mapping[str, str] = field(default_factory=dict)
    environment: str | None = None


@dataclass(frozen=True)
class Past:
    """The ``nights`` of one series before the one that is judged, oldest first, without those that were excluded or came
    before an accepted new baseline.

    A series is what `nightgate.series.Series` says. What is judged depends on these nights and on nothing that comes later.
    """

    nights: tuple[Night, ...] = ()
