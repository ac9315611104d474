"""The suite: which benchmarks run with which parameters at which scale, and what must hold.

A suite is one YAML file. `load_suite` reads it, lays the values of the chosen scale over the general ones, then the
user's overrides over both, and checks everything before anything runs. It knows the settings only as the models it
is given, so that it does not depend on any benchmark.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal, Protocol, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from nightgate.document import Path_, Where, check_keys, loads, read
from nightgate.errors import InputError, choices, nearest
from nightgate.metrics import MetricSpec
from nightgate.objectives import (
    Limit,
    Measurable,
    Objectives,
    must_be_measured,
    must_gate,
    override_limits,
    read_objectives,
)
from nightgate.record import Device

__all__ = [
    "DEVICES",
    "SCALES",
    "Aside",
    "BenchmarkSettings",
    "Limit",
    "Needs",
    "Objectives",
    "Suite",
    "Takes",
    "Watch",
    "load_suite",
    "parse_overrides",
]

DEVICES = ("cpu", "gpu")
SCALES = ("smoke", "full")
_TOP_LEVEL = ("schema_version", "name", "strict", "hosts", "watch", "objectives", "scales")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")
_HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_MESSAGES = {"tuple_type": "it must be a list, such as [a, b]"}
"""What pydantic says in words of Python, said in words of the suite."""


_Value = TypeVar("_Value")
_ASIDE = "aside of the work"
Aside = Annotated[_Value, _ASIDE]
"""The type of a setting that does not shape the figure of a variant, such as ``passes: Aside[int] = 3``: which others are
measured, how often and how long it is measured, where the inputs lie whose digest is known, what becomes of things after.

Records that differ in nothing else are points of one series (`nightgate.series`).
"""


class Needs(BaseModel):
    """Bytes of disk and of memory, estimated from above."""

    disk: int
    memory: int


class Takes(BaseModel):
    """Seconds that a cold ``prepare`` and a ``measure`` take on two cores, coarsely and from above.

    ``lower`` names the settings that make them less.
    """

    prepare: float
    measure: float
    lower: str


class BenchmarkSettings(BaseModel):
    """What the settings of every benchmark share: which variants the objectives gate, and which stand beside them."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
    known_variants: ClassVar[tuple[str, ...]] = ()

    variants: Aside[tuple[str, ...]] = Field(
        min_length=1, title="Gated variants", description="Measured, and the objectives must hold for each of them."
    )
    controls: Aside[tuple[str, ...]] = Field(
        default=(), title="Controls", description="Measured beside the gated variants and reported; they do not gate."
    )

    def gated(self, device: str) -> tuple[str, ...]:
        """The variants that the objectives gate on ``device``."""
        return self.variants

    def beside(self, device: str) -> tuple[str, ...]:
        """The controls there: what gates is none."""
        return tuple(name for name in self.controls if name not in self.gated(device))

    @classmethod
    def aside(cls) -> frozenset[str]:
        """The names of the settings that are `Aside`."""
        return frozenset(name for name, field in cls.model_fields.items() if _ASIDE in field.metadata)

    @classmethod
    def only(cls, variant: str) -> dict[str, list[str]]:
        """The values that leave ``variant`` alone, gated on every device."""
        return {"variants": [variant], "controls": []}

    @field_validator("*", mode="before")
    @classmethod
    def _no_truth_for_a_number(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse what pydantic would take for 1 or 0."""
        items = value if isinstance(value, (list, tuple)) else [value]
        truth = any(isinstance(item, bool) for item in items)
        if truth and not _takes_bool(cls.model_fields[str(info.field_name)].annotation):
            raise ValueError("it is neither true nor false")
        return value

    @field_validator("variants", "controls", "gpu_variants", check_fields=False)
    @classmethod
    def _known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if name not in cls.known_variants:
                raise ValueError(f"there is no variant {name!r}{nearest(name, cls.known_variants)}")
        return tuple(dict.fromkeys(names))

    @field_validator("controls")
    @classmethod
    def _gated_already(cls, controls: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        """A control that is chosen as a gated variant for one run is measured once, and gates."""
        return tuple(name for name in controls if name not in info.data.get("variants", ()))


class Declared(Protocol):
    """What a suite must know of a benchmark; see `benchmark.Benchmark`."""

    @property
    def settings(self) -> type[BenchmarkSettings]: ...
    @property
    def devices(self) -> tuple[Device, ...]: ...
    @property
    def all_metrics(self) -> tuple[MetricSpec, ...]: ...
    def measures(self, settings: Any) -> tuple[str, ...]: ...
    def may_gate(self, settings: Any) -> tuple[str, ...]: ...


class Watch(BaseModel):
    """What is wanted of the watch over history: at most so many false ``alerts_a_year`` on average over all series of the suite,
    and so many ``rounds`` in which a candidate and its control are measured in turns."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)
    alerts_a_year: float = Field(default=1.0, gt=0, le=1000)
    rounds: int = Field(default=3, ge=3, le=20)


class Suite(BaseModel):
    """A suite at one scale, checked: settings per benchmark and the objectives.

    ``name`` tells its results from those of other suites. ``strict``: a night with an objective that is inconclusive has
    failed. ``hosts``: which of a cluster measure it, each for itself. ``nightly`` names the benchmarks that the suite speaks of, in its order: those that a night measures. Another one
    that is installed can be asked for by its name.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)
    name: str
    scale: str
    strict: bool = False
    hosts: Literal["any", "all"] | tuple[str, ...] = "any"
    watch: Watch = Watch()
    nightly: tuple[str, ...] = ()
    settings: dict[str, Any]
    objectives: Objectives


def load_suite(
    file: Path, benchmarks: Mapping[str, Declared], scale: str, overrides: Mapping[str, Any] | None = None
) -> Suite:
    """Read ``file`` for ``scale`` with ``overrides`` (path → value, the paths of ``--set``).

    A benchmark that the file does not speak of has the defaults of its settings, or none where these are not enough.

    Raises:
        InputError: an unknown key or a value out of bounds, with the line it stands on and the nearest valid key.
    """
    if scale not in SCALES:
        raise InputError(f"there is no scale {scale!r}{nearest(scale, SCALES)}", f"use one of {', '.join(SCALES)}")
    document, where = read(file)
    check_keys(document, (*_TOP_LEVEL, *benchmarks), (), where)
    if type(document.get("schema_version")) is not int or document["schema_version"] != 1:
        raise InputError(f"{where(('schema_version',))}: schema_version must be 1")
    models = {name: each.settings for name, each in benchmarks.items()}
    _check_sections(document, models, where)
    nightly = _named(document, models)
    own = {  # the other scale is checked too: a typo must not wait for the full night
        name: [
            _validate(models[name], _layers(document, name, other), name, other, where, frozenset()) for other in SCALES
        ]
        for name in nightly
    }

    settings_overrides, limit_overrides = _split(overrides or {}, models)
    settings = {}
    for name in (*nightly, *(name for name in models if name not in nightly)):
        changed = settings_overrides.get(name, {})
        if name in nightly or changed or not _required(models[name]):
            merged = _layers(document, name, scale) | changed
            settings[name] = _validate(models[name], merged, name, scale, where, frozenset(changed))
    known = {
        name: Measurable({spec.name: spec for spec in each.all_metrics}, each.devices, each.settings.known_variants)
        for name, each in benchmarks.items()
    }
    objectives = read_objectives(_mapping(document, "objectives"), known, where)
    override_limits(objectives, limit_overrides, known)
    measured = {name: benchmarks[name].measures(model) for name, model in settings.items()}
    must_be_measured({name: objectives[name] for name in objectives if name in settings}, measured, where)
    # the suite's own variants too: a run that leaves some out does not judge these, and its records say so
    gated = {name: _gated(benchmarks[name], [*own.get(name, ()), model]) for name, model in settings.items()}
    must_gate(objectives, known, gated, where)
    return Suite(
        name=_name(document, file, where),
        scale=scale,
        strict=_strict(document, where),
        hosts=_hosts(document, where),
        watch=_watch(document, where),
        nightly=nightly,
        settings=settings,
        objectives=objectives,
    )


def parse_overrides(pairs: Sequence[str]) -> dict[str, Any]:
    """``["hybrid_ann.rows=20000"]`` → ``{"hybrid_ann.rows": 20000}``; values are read as YAML scalars or lists."""
    found = {}
    for pair in pairs:
        path, equals, text = pair.partition("=")
        if not equals or not path.strip():
            raise InputError(f"--set {pair!r} is not PATH=VALUE", "write --set BENCHMARK.KEY=VALUE, as in the suite")
        if path.strip() in found:
            raise InputError(f"--set {path.strip()} is given twice", "keep one of them")
        if not text.strip() and path.strip().startswith("objectives."):  # as of a shell variable that is not set
            raise InputError(f"--set {path.strip()}= gives no limit", "write one, or null to drop the objective")
        try:
            found[path.strip()] = loads(text)
        except yaml.YAMLError:
            found[path.strip()] = text
    return found


def _named(document: Mapping[str, Any], known: Iterable[str]) -> tuple[str, ...]:
    """The benchmarks that a suite speaks of, in the order in which it first does so, its own sections before all else."""
    scales = _mapping(document, "scales")
    places = [document, *(_mapping(scales, scale) for scale in scales), _mapping(document, "objectives")]
    found = dict.fromkeys(name for place in places for name in place)
    return tuple(name for name in found if name in set(known))


def _gated(benchmark: Declared, settings: Sequence[BenchmarkSettings]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(variant for one in settings for variant in benchmark.may_gate(one)))


def _required(model: type[BenchmarkSettings]) -> bool:
    return any(field.is_required() for field in model.model_fields.values())


def _name(document: Mapping[str, Any], file: Path, where: Where) -> str:
    """What the suite calls itself, or its file is called."""
    name = document.get("name", file.stem)
    if not isinstance(name, str) or not _NAME.fullmatch(name):
        raise InputError(
            f"{where(('name',))}: the suite cannot be called {name!r}",
            "write at its top name: and up to 64 letters, digits and . _ -, the first a letter or digit",
        )
    return name


def _strict(document: Mapping[str, Any], where: Where) -> bool:
    strict = document.get("strict", False)
    if not isinstance(strict, bool):
        raise InputError(f"{where(('strict',))}: strict is {strict!r}", "write true or false")
    return strict


def _hosts(document: Mapping[str, Any], where: Where) -> Literal["any", "all"] | tuple[str, ...]:
    hosts = document.get("hosts", "any")
    if hosts in ("any", "all"):
        found: Literal["any", "all"] = hosts
        return found
    place = where(("hosts",))
    if not isinstance(hosts, list) or not hosts:
        raise InputError(f"{place}: hosts is {hosts!r}", "write any, all, or a list of names")
    return tuple(dict.fromkeys(check_host(name, place) for name in hosts))


def _watch(document: Mapping[str, Any], where: Where) -> Watch:
    given = _mapping(document, "watch")
    check_keys(given, tuple(Watch.model_fields), ("watch",), where)
    try:
        return Watch.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        key = str(first["loc"][0])
        raise InputError(f"{where(('watch', key))}: watch.{key}={given.get(key)!r}: {first['msg']}") from None


def check_host(name: Any, place: str) -> str:
    """``name``, if it can be that of a host.

    Raises:
        InputError: it cannot.
    """
    if not isinstance(name, str) or not _HOST.fullmatch(name):
        raise InputError(f"{place}: a host cannot be called {name!r}", "use up to 64 letters, digits, - and _")
    return name


def _check_sections(document: Mapping[str, Any], models: Mapping[str, Any], where: Where) -> None:
    scales = _mapping(document, "scales")
    check_keys(scales, SCALES, ("scales",), where)
    for scale in scales:
        check_keys(_mapping(scales, scale), tuple(models), ("scales", scale), where)
    for name, model in models.items():
        check_keys(_mapping(document, name), tuple(model.model_fields), (name,), where)
        for scale in scales:
            check_keys(
                _mapping(_mapping(scales, scale), name), tuple(model.model_fields), ("scales", scale, name), where
            )


def _mapping(document: Mapping[str, Any], key: str) -> Any:
    """What stands under a key; an empty mapping where nothing does."""
    found = document.get(key)
    return {} if found is None else found


def _layers(document: Mapping[str, Any], name: str, scale: str) -> dict[str, Any]:
    return {**_mapping(document, name), **_mapping(_mapping(_mapping(document, "scales"), scale), name)}


def _takes_bool(annotation: Any) -> bool:
    return annotation is bool or any(_takes_bool(part) for part in get_args(annotation))


def _validate(
    model: type[BenchmarkSettings],
    values: dict[str, Any],
    name: str,
    scale: str,
    where: Where,
    set_by_user: frozenset[str],
) -> BenchmarkSettings:
    try:
        return model.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        key = str(first["loc"][0]) if first["loc"] else ""
        # without a key, several values do not fit together
        asked = [key] if key in set_by_user else [] if key else sorted(set_by_user)
        place = where(("scales", scale, name, key), (name, key), (name,))
        if asked:
            place = "--set " + ", ".join(f"{name}.{each}" for each in asked)
        fields = tuple(model.model_fields)
        if first["type"] == "extra_forbidden":
            raise InputError(f"{place}: {name} has no key {key!r}{nearest(key, fields)}", choices(fields)) from None
        if first["type"] == "missing":
            raise InputError(f"{place}: {name}.{key} is missing", "add it to the suite") from None
        message = _MESSAGES.get(first["type"], first["msg"].removeprefix("Value error, "))
        title = model.model_fields[key].title if key in fields else None
        subject = f"{name}.{key}={values.get(key)!r}{f' ({title})' if title else ''}: " if key else ""
        raise InputError(f"{place}: {subject}{message}") from None


def _split(
    overrides: Mapping[str, Any], models: Mapping[str, Any]
) -> tuple[dict[str, dict[str, Any]], dict[Path_, Any]]:
    settings: dict[str, dict[str, Any]] = {}
    limits: dict[Path_, Any] = {}
    roots = ("objectives", *models)
    for dotted, value in overrides.items():
        path = tuple(dotted.split("."))
        if path[0] not in roots:
            raise InputError(f"--set {dotted}: there is no {path[0]!r}{nearest(path[0], roots)}", choices(roots))
        if path[0] == "objectives":
            limits[path[1:]] = value
        elif len(path) != 2:
            raise InputError(f"--set {dotted}: a path is BENCHMARK.KEY", f"for example {path[0]}.variants")
        else:
            settings.setdefault(path[0], {})[path[1]] = value
    return settings, limits
