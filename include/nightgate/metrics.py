"""What is measured: one `MetricSpec` per metric, declared in the room that measures it.

Suite, judge, report, terminal, statsd, ``/metrics`` and comparison read the declaration; none of them knows a metric by
its name.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal

from nightgate.errors import InputError

Unit = Literal["seconds", "bytes", "ratio", "per_second", "count"]
Better = Literal["lower", "higher"]

# the headings under which a report shows the figures of one query, of load and of cost, in whichever benchmark they stand
ONE_BY_ONE = "One query at a time"
OPEN_LOOP = "Open loop"
BATCHES = "Batches"
COST = "Cost"

NAME = re.compile(r"[a-z][a-z0-9_]*")
"""Of a metric or a benchmark, in records, suites and gauges."""


@dataclass(frozen=True)
class Repeats:
    """The metric once per repeat: float64, (repeats,), among the raw samples as ``array``. Two are compared by their
    means; ``inverted`` says that the metric is one over what is kept."""

    array: str
    inverted: bool = False


@dataclass(frozen=True)
class Quantile:
    """The quantile ``q`` of durations: int64 nanoseconds, (passes, inputs), among the raw samples as ``array``."""

    array: str
    q: float


@dataclass(frozen=True)
class ErrorRate:
    """Errors per unit, counted input by input: int64, (inputs,), among the raw samples as ``errors`` and ``sizes``. Two
    on the same inputs are compared in pairs; those are what the record's facts hold the digest of under ``over``."""

    errors: str
    sizes: str
    over: str


@dataclass(frozen=True)
class MetricSpec:
    """The declaration of one metric.

    Args:
        name: what records and suites call it: lower case, digits and underscores.
        unit: a base unit.
        title: for people.
        better: which side is good; None for what is only told, and can be no objective.
        short: the title where there is little room; empty takes ``title``.
        section: the heading under which the report shows it.
        beside: a metric that shares its row in the report.
        share: it lies between 0 and 1.
        may_be_zero: a perfect measurement may have 0, and so two of it are compared by their difference, not their ratio.
        gauge: its name in Prometheus, unit included; empty derives ``nightgate_<name>_<unit>``.
        labels: what tells it from its siblings under the same gauge.
        help: the gauge's text.
        samples: which raw samples it is computed from, where they are kept.
        watched: the watch follows it from night to night; of a benchmark without one it follows the headlines.
        alike: the metric that is the same of what was measured while the host was in one and the same state: what two runs differ by,
            and it does not, may be the host.
        rounds: the metric once per round in which the variants of a run took turns: two of one run are compared in pairs.

    Raises:
        InputError: the name is none, or shares are asked for in another unit than ratio.
    """

    name: str
    unit: Unit
    title: str
    better: Better | None = "lower"
    short: str = ""
    section: str = COST
    beside: str = ""
    share: bool = False
    may_be_zero: bool = False
    gauge: str = ""
    labels: tuple[tuple[str, str], ...] = ()
    help: str = ""
    samples: Repeats | Quantile | ErrorRate | None = None
    rounds: Repeats | None = None
    alike: str = ""
    watched: bool = False

    def __post_init__(self) -> None:
        for name in (self.name, self.gauge or self.name):
            if not NAME.fullmatch(name):
                raise InputError(f"{name!r} is no name for a metric", "write lower case, digits and underscores")
        if self.share and self.unit != "ratio":
            raise InputError(
                f"the metric {self.name} is a share and has the unit {self.unit}", "give it the unit ratio"
            )

    @property
    def short_title(self) -> str:
        return self.short or self.title

    @property
    def higher_is_better(self) -> bool:
        return self.better == "higher"

    @property
    def of_speed(self) -> bool:
        """Whether it is another on another host, or on one that is disturbed: whatever has to do with time."""
        return not self.zero_is_possible and self.unit not in ("bytes", "count")

    @property
    def logarithmic(self) -> bool:
        """Whether what disturbs it multiplies it, so that two are compared by their ratio; else by their difference."""
        return not self.zero_is_possible

    @property
    def zero_is_possible(self) -> bool:
        return self.share or self.may_be_zero

    @property
    def gauge_name(self) -> str:
        """Of https://prometheus.io/docs/practices/naming/: a prefix of the application, and the base unit at the end."""
        return self.gauge or gauge_name(self.name, self.unit)


PREPARE_SECONDS = MetricSpec(
    "prepare_seconds",
    "seconds",
    "Preparing, all variants",
    gauge="nightgate_stage_duration_seconds",
    labels=(("stage", "prepare"),),
    help="How long a stage of the newest measurement took, for all its variants together.",
)
MEASURE_SECONDS = MetricSpec(
    "measure_seconds",
    "seconds",
    "Measuring, all variants",
    gauge="nightgate_stage_duration_seconds",
    labels=(("stage", "measure"),),
    help="How long a stage of the newest measurement took, for all its variants together.",
)
STAGES = (PREPARE_SECONDS, MEASURE_SECONDS)
"""The metrics of every benchmark: they are taken around it."""
PEAK_DEVICE = MetricSpec(
    "peak_device_bytes",
    "bytes",
    "Peak device memory",
    help="The most memory of the GPU that a process took, by the driver.",
)
"""Of what runs on a GPU, in whichever benchmark."""


def gauge_name(name: str, unit: str) -> str:
    return f"nightgate_{name}" if name.endswith(unit) else f"nightgate_{name}_{unit}"


def unknown(name: str, unit: str) -> MetricSpec:
    """What can be said of a metric of a record whose benchmark is not here any more, or no longer measures it."""
    known: dict[str, Unit] = {"seconds": "seconds", "bytes": "bytes", "per_second": "per_second", "ratio": "ratio"}
    return MetricSpec(
        name, known.get(unit, "count"), name.replace("_", " "), "higher" if unit == "per_second" else "lower"
    )
