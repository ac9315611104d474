"""What a benchmark is: its settings, its metrics, what it needs, and the two steps that the platform calls.

A benchmark is declared once, in a package of its own, and found by the entry-point group ``nightgate.benchmarks``. What
is declared is light; heavy libraries are imported inside `prepare` and `measure`, or in the child processes these start.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Generic, TypeVar

from pydantic import BaseModel, ConfigDict

from nightgate.artifacts import Cache
from nightgate.errors import InputError, choices, nearest
from nightgate.measure import host
from nightgate.metrics import NAME, STAGES, MetricSpec
from nightgate.objectives import Limit
from nightgate.record import Device, Record, utc_now
from nightgate.suite import DEVICES, BenchmarkSettings, Needs, Takes


class Prepared(BaseModel):
    """What `Benchmark.prepare` hands to `Benchmark.measure`; it travels as JSON, perhaps to another process of the host."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Looked(BaseModel):
    """What the paths and names in the settings hold, looked at once, before the run; it travels as JSON with the plan.

    ``warnings``: what can be measured so, and somebody should know of beforehand.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    warnings: tuple[str, ...] = ()


Settings = TypeVar("Settings", bound=BenchmarkSettings)
Made = TypeVar("Made", bound=Prepared)


@dataclass(frozen=True)
class Service:
    """A server that a benchmark needs. Its address is the value of ``variable`` in the environment, or else that of the
    Airflow connection ``connection``. Where the embedded stack brings one along, it stands in ``embedded``. ``program`` is
    what its processes are called: what they do while it is asked is no other program's load."""

    name: str
    variable: str
    connection: str
    embedded: str = ""
    program: str = ""


@dataclass(frozen=True)
class Context:
    """Where a benchmark works: on which device, with which cache, and the addresses of its services by name.

    ``looked`` is what `Benchmark.look` has found before the run; ``samples`` is the ``.npz`` that raw samples go to.
    ``fresh`` is 0, but when a verdict is to be confirmed: then whatever is built and decides speed or recall, such as an
    index, is built anew for each number, and is not kept. ``in_turns``: another environment measures the same meanwhile
    (`nightgate.duet`) and works whenever this one rests, so what is timed is timed in short turns, also where one variant is alone.
    """

    device: Device
    cache: Cache
    looked: Looked = field(default_factory=Looked)
    samples: Path = Path("samples.npz")
    services: Mapping[str, str] = field(default_factory=dict)
    fresh: int = 0
    in_turns: bool = False


@dataclass(frozen=True)
class Gauge:
    """A gauge of ``/metrics`` besides those of the metrics: its whole name, its labels, and its text."""

    name: str
    help: str
    labels: Mapping[str, str]
    value: float


class Benchmark(ABC, Generic[Settings, Made]):
    """One benchmark. Subclass it, declare an instance, and name that in the group ``nightgate.benchmarks``.

    Attributes:
        name: lower case, digits and underscores: what suites, records and the command line call it.
        title: for people.
        devices: where it can be measured.
        settings: the model of its section in a suite; pure, it looks at no file.
        looked: what `look` returns.
        prepared: what `prepare` returns.
        metrics: every metric a record of it may have, in the order they are read.
        headlines: the names of those that one wants to know first.
        tools: names of those inputs (`facts.Facts.inputs`) that are no data but what works on it, such as the weights of a
            model: another one annotates a series, and begins none.
        services: the servers it needs.
    """

    name: str
    title: str
    devices: ClassVar[tuple[Device, ...]] = ("cpu", "gpu")
    settings: type[Settings]
    looked: type[Looked] = Looked
    prepared: type[Made]
    metrics: ClassVar[tuple[MetricSpec, ...]]
    headlines: tuple[str, ...] = ()
    tools: tuple[str, ...] = ()
    services: tuple[Service, ...] = ()

    @abstractmethod
    def prepare(self, settings: Settings, context: Context) -> Made:
        """Build or find everything that a measurement needs.

        Raises:
            Unavailable: this host cannot measure it, which skips it with the reason.
            NightgateError: it failed, and the sentence is what people read.
        """

    @abstractmethod
    def measure(self, settings: Settings, prepared: Made, context: Context) -> list[Record]:
        """One record per variant, while this process has the host to itself."""

    def new_record(self, settings: Settings, variant: str, context: Context) -> Record:
        """The record of a ``variant`` that is about to be measured: without numbers so far."""
        return Record(
            benchmark=self.name,
            variant=variant,
            device=context.device,
            status="measured",
            gated=variant in settings.variants,
            settings=settings.model_dump(mode="json"),
            samples=context.samples.name,
            host=host.describe(),
            started_at=utc_now(),
        )

    def to_confirm(self, settings: Settings, metrics: Sequence[str]) -> Settings:
        """The settings of a run that takes ``metrics`` of the gated variants once more, and nothing else that can be left out."""
        return settings.model_copy(update={"controls": ()})

    def tidy(self, settings: Settings, context: Context) -> None:
        """Remove what a run that ended between `prepare` and `measure` left outside the cache."""

    def look(self, settings: Settings, services: Mapping[str, str]) -> Looked:
        """Look at what the settings name (files, folders, addresses), once, before the run.

        Raises:
            InputError: it cannot work so.
        """
        return self.looked()

    def needs(self, settings: Settings, looked: Looked) -> Needs:
        """Disk and memory of a cold run, from above."""
        return Needs(disk=2**29, memory=2**30)

    def takes(self, settings: Settings, looked: Looked) -> Takes:
        """Seconds of a cold run, coarsely and from above; the history of the host corrects it."""
        return Takes(prepare=60, measure=60, lower="scale")

    def begun(self, settings: Settings, variant: str, device: Device) -> Record:
        """The record of a measurement that begins now, without numbers so far."""
        return Record(
            benchmark=self.name,
            variant=variant,
            device=device,
            status="measured",
            gated=variant in settings.gated(device),
            settings=settings.model_dump(mode="json"),
            host=host.describe(),
            started_at=utc_now(),
        )

    def measures(self, settings: Settings) -> tuple[str, ...]:
        """The names of the metrics that can be an objective at these settings."""
        return tuple(spec.name for spec in self.all_metrics)

    def may_gate(self, settings: Settings) -> tuple[str, ...]:
        """The variants that objectives can be judged on at these settings, on one device or another; also those that stand
        in for one that cannot be had."""
        return tuple(dict.fromkeys(name for device in self.devices for name in settings.gated(device)))

    def applicable(
        self, settings: Settings, looked: Looked, limits: Mapping[str, Mapping[str, Limit]]
    ) -> dict[str, dict[str, Limit]]:
        """The suite's objectives (metric → device or variant → limit) as they are judged at these settings."""
        return {metric: dict(of) for metric, of in limits.items()}

    def headline(self, records: Sequence[Record]) -> tuple[str, ...]:
        """Those of `headlines` that these records have, as the settings choose them."""
        return tuple(name for name in self.headlines if any(name in record.metrics for record in records))

    def gauges(self, records: Iterable[Record]) -> Iterator[Gauge]:
        """Gauges over several records of the newest run on a device, besides one for each metric."""
        yield from ()

    def findings(self, services: Mapping[str, str]) -> Iterator[tuple[bool, str]]:
        """Whether this host can measure it, for ``nightgate doctor``: is it fine, and what was found."""
        yield from ()

    @property
    def all_metrics(self) -> tuple[MetricSpec, ...]:
        return (*self.metrics, *STAGES)

    def check_declaration(self) -> None:
        """Look through what is declared, once, when it is loaded.

        Raises:
            InputError: something is missing or contradicts the rest.
        """
        wanted: dict[str, type] = {"settings": BenchmarkSettings, "prepared": Prepared, "looked": Looked}
        for attribute, base in wanted.items():
            found = getattr(self, attribute, None)
            if not (isinstance(found, type) and issubclass(found, base)):
                raise InputError(f"{attribute} is {found!r} and no model", f"name a subclass of {base.__name__}")
        for attribute in ("name", "title"):
            if not isinstance(getattr(self, attribute, None), str):
                raise InputError(f"it has no {attribute}", f"give it a {attribute}")
        if not NAME.fullmatch(self.name):
            raise InputError(f"{self.name!r} is no name", "write lower case, digits and underscores")
        if not self.settings.known_variants:
            raise InputError(f"{self.settings.__name__}.known_variants names nothing", "name what can be measured")
        if not self.devices or not set(self.devices) <= set(DEVICES):
            raise InputError(f"devices is {self.devices!r}", choices(DEVICES))
        if alike := set(DEVICES) & set(self.settings.known_variants):
            raise InputError(f"the variant {min(alike)} is called as a device is", "give it another name")
        names = [spec.name for spec in self.all_metrics]
        if twice := {name for name in names if names.count(name) > 1}:
            raise InputError(
                f"the metric {min(twice)} is declared twice", "declare it once; the stages are everybody's"
            )
        if unknown := [name for name in self.headlines if name not in names]:
            raise InputError(
                f"the headline {unknown[0]!r} is no metric of it{nearest(unknown[0], names)}", choices(names)
            )
