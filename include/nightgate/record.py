"""What a measurement leaves behind: one typed record, versioned. Files and store are both written from it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from types import MappingProxyType
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationInfo, model_validator

from nightgate import facts
from nightgate.facts import Facts
from nightgate.metrics import MetricSpec

SCHEMA_VERSION = 1

Device = Literal["cpu", "gpu"]
Status = Literal["measured", "skipped", "failed"]
Verdict = Literal["pass", "breach", "inconclusive", "invalid"]
Op = Literal["<", "<=", ">", ">="]
Finite = Annotated[float, Field(allow_inf_nan=False)]

Standing = Literal["night", "stand-in", "ad-hoc"]
"""What a run counts for.

    night      the DAG's schedule made it, with the suite's own values: history, gauges, alerts and annotations are of these
    stand-in   the DAG made it by hand, with the suite's own values: it counts for as long as there is no night
    ad-hoc     anything else: other values, fewer benchmarks or devices, or no DAG. It never counts.
"""

STORED = MappingProxyType({"stored": True})
"""The validation context in which records and summaries are read from files or the store."""

SUITE = "nightly"
"""The name of the shipped suite, and of what was measured before suites had names."""

DAG_ID = "nightly_benchmarks"
"""The DAG of the shipped suite, which `nightgate run` triggers."""

BY_HAND = "nightgate measure"
"""The ``dag_id`` of what the terminal measures without Airflow: it is no night."""


class _Model(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Between(_Model):
    """By how much whole runs of a series differ: the standard deviation of the metric (of its logarithm, where
    `MetricSpec.logarithmic`) between single runs.

    It was learned from ``runs`` earlier ones; ``prior``: these are too few, and it is what is assumed until there are more.

    ``sd`` is by what neighbours differ. For the comparison of any two of them: ``apart``, the standard deviation around the mean
    of all, and ``farthest``, how far from their median the farthest was; None where nobody looked.
    """

    sd: Finite = Field(ge=0)
    apart: Finite | None = Field(default=None, ge=0)
    farthest: Finite | None = Field(default=None, ge=0)
    runs: int = Field(ge=0)
    prior: bool


class Metric(_Model):
    """One number: its value in ``unit``, the sample size ``n`` and, where it can be had, a 95 % interval.

    Once it is judged, ``ci95`` also holds what differs ``between`` runs, and ``within95`` is the interval that this run alone
    gives; until then there are neither of the two, and ``ci95`` is of this run alone.

    ``shared`` is the part of the variance of its own interval, from 0 to 1, that every run of the series has in common,
    because it comes from the inputs, which are the same: more runs do not take it away. None: not known.
    """

    value: Finite
    unit: str
    n: int = Field(ge=1)
    ci95: tuple[Finite, Finite] | None = None
    within95: tuple[Finite, Finite] | None = None
    between: Between | None = None
    shared: Finite | None = Field(default=None, ge=0, le=1)


class Objective(_Model):
    """One objective applied to one record: ``metric op limit``, the value it met, and the verdict.

    The value is the mean of ``looks`` measurements (`Look`) of the last ``nights`` nights: of this one, and of those before
    it that could not decide.
    """

    metric: str
    op: Op
    limit: Finite
    value: Finite | None
    verdict: Verdict
    reason: str | None = None
    ci95: tuple[Finite, Finite] | None = None
    looks: int = Field(default=1, ge=1)
    nights: int = Field(default=1, ge=1)


class Look(_Model):
    """What one more measurement of the same night found, to confirm the first: in new processes and, where an index is
    built, on a new one. ``disturbed`` says what else kept the host busy meanwhile; None: nothing."""

    started_at: str
    metrics: dict[str, Metric]
    disturbed: str | None = None


class Gpu(_Model):
    """A GPU as its driver describes it; what the driver does not say is None.

    ``cuda`` is the newest CUDA that the driver runs. The limit and the clocks are of the moment the driver was asked, but
    for the ``max_`` ones. ``source`` is who was asked: "nvml", "nvidia-smi" or "libcuda".
    """

    name: str
    memory_bytes: int
    driver: str | None = None
    cuda: str | None = None
    compute_capability: str | None = None
    power_limit_watts: Finite | None = None
    sm_clock_mhz: int | None = None
    max_sm_clock_mhz: int | None = None
    memory_clock_mhz: int | None = None
    max_memory_clock_mhz: int | None = None
    source: str


class Host(_Model):
    """Who measured. ``fingerprint`` hashes stable facts only, so that it survives a reboot.

    ``gpu`` is the name of the GPU, ``gpu_facts`` what else is known of it, and ``gpu_fault`` why it cannot be used: then
    the two others are None. Records of before they were kept have neither facts nor fault.
    """

    fingerprint: str
    cpu: str
    cores: int
    memory_bytes: int
    gpu: str | None = None
    gpu_facts: Gpu | None = None
    gpu_fault: str | None = None


class Attempt(_Model, frozen=True):
    """Which try of a measurement it was: an ``id`` of its own, the name of the machine that made it, and, where Airflow ran
    it, the ``number`` of the try."""

    id: str
    machine: str
    number: int = Field(default=1, ge=1)


class Record(_Model):
    """One measurement of one variant of one benchmark on one device.

    ``suite`` is the name of the suite it was measured for. ``gated`` says whether objectives judge it; ``instead_of`` names
    the variant that was asked for and could not be had, where this one stands in for it. ``settings`` is what was asked,
    ``facts`` how it was measured, ``detail`` what only its benchmark speaks of. ``samples`` is the name of the ``.npz`` beside
    the record that holds the raw samples. ``attempt`` is None where the measurement never began.
    """

    suite: str = SUITE
    benchmark: str
    variant: str
    device: Device
    status: Status
    reason: str | None = None
    gated: bool = False
    instead_of: str | None = None
    metrics: dict[str, Metric] = Field(default_factory=dict)
    objectives: list[Objective] = Field(default_factory=list)
    settings: dict[str, Any] = Field(default_factory=dict)
    facts: Facts = Field(default_factory=Facts)
    detail: dict[str, Any] = Field(default_factory=dict)
    samples: str | None = None
    looks: list[Look] = Field(default_factory=list)
    """The confirming ones, after the record's own."""
    host: Host | None = None
    attempt: Attempt | None = None
    started_at: str | None = None
    finished_at: str | None = None

    @model_validator(mode="before")
    @classmethod
    def _of_version_1(cls, data: Any, info: ValidationInfo) -> Any:
        """``gated`` follows from the settings where it is not given; of a record that is read (`STORED`) and was written
        before they were kept, the ``facts`` follow from the detail."""
        if not isinstance(data, dict):
            return data
        data = dict(data)
        if "gated" not in data:
            variants = (data.get("settings") or {}).get("variants")
            data["gated"] = bool(data.get("objectives")) if variants is None else data.get("variant") in variants
        if info.context is STORED and isinstance(data.get("detail"), dict) and isinstance(data.get("facts", {}), dict):
            detail = dict(data["detail"])
            moved = facts.of_version_1(detail, data.get("metrics") or {})
            data |= {
                "detail": detail,
                "facts": {**moved, **{key: of for key, of in data.get("facts", {}).items() if _says(of)}},
            }
        return data

    def add(
        self,
        spec: MetricSpec,
        value: float,
        n: int = 1,
        ci95: tuple[float, float] | None = None,
        *,
        shared: float | None = None,
    ) -> None:
        """Put one metric in, under the name and in the unit of its declaration; ``shared`` as in `Metric`."""
        self.metrics[spec.name] = Metric(value=value, unit=spec.unit, n=n, ci95=ci95, shared=shared)


def _says(value: Any) -> bool:
    """Whether there is anything in it, at whatever depth."""
    return any(map(_says, value.values())) if isinstance(value, dict) else value not in (None, [])


class Summary(_Model):
    """One run: ``summary.json``. ``scheduled`` and ``overrides`` are None in one that was written before they were kept."""

    schema_version: Literal[1] = 1
    run_id: str
    dag_id: str
    suite: str = SUITE
    scale: str
    state: Verdict
    started_at: str
    finished_at: str
    host: Host
    scheduled: bool | None = None
    overrides: dict[str, Any] | None = None
    results: list[Record]

    @property
    def standing(self) -> Standing:
        if self.scheduled is None or self.overrides is None:
            return "night" if self.run_id.startswith("scheduled__") else "ad-hoc"  # Airflow's own prefix
        return standing(self.dag_id, self.scheduled, self.overrides)


def standing(dag_id: str, scheduled: bool, overrides: Mapping[str, Any]) -> Standing:
    """What a run counts for. ``overrides``: what it does otherwise than the suite, by path."""
    if dag_id == BY_HAND or overrides:
        return "ad-hoc"
    return "night" if scheduled else "stand-in"


def counting(runs: Iterable[Summary]) -> list[Summary]:
    """The runs that count: of each suite the nights, or the stand-ins where it has no night."""
    found = list(runs)
    with_nights = {run.suite for run in found if run.standing == "night"}
    return [run for run in found if run.standing == ("night" if run.suite in with_nights else "stand-in")]


def utc_now() -> str:
    """The time as the records write it: ISO 8601, UTC, ``Z``, milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
