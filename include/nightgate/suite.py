"""The suite: which benchmarks run with which parameters at which scale, and what must hold.

A suite is one YAML file. `load_suite` reads it, lays the values of the chosen scale over the general ones, then the
user's overrides over both, and checks everything before anything runs. It knows the settings only as the models it
is given, so that it does not depend on any benchmark.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from nightgate.errors import InputError
from nightgate.record import RECALLS, UNITS, Finite, Op

DEVICES = ("cpu", "gpu")
SCALES = ("smoke", "full")
_TOP_LEVEL = ("schema_version", "objectives", "scales")
_OPS = ("<=", ">=", "<", ">")

Path_ = tuple[str, ...]


class Needs(BaseModel):
    """Bytes of disk and of memory, estimated from above."""

    disk: int
    memory: int


class BenchmarkSettings(BaseModel):
    """What the settings of every benchmark share: which variants the objectives gate, and which stand beside them."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    known_variants: ClassVar[tuple[str, ...]] = ()

    variants: tuple[str, ...] = Field(
        min_length=1, title="Gated variants", description="Measured, and the objectives must hold for each of them."
    )
    controls: tuple[str, ...] = Field(
        default=(), title="Controls", description="Measured beside the gated variants and reported; they do not gate."
    )

    @property
    def recall_depths(self) -> tuple[int, ...]:
        """The k of every recall@k that is measured: no objective can be on another."""
        return ()

    def needs(self) -> Needs:
        """What a cold run of this benchmark takes at these settings; preflight compares it with the host."""
        return Needs(disk=2**29, memory=2**30)

    def applicable(self, limits: Mapping[str, Mapping[str, Limit]]) -> dict[str, dict[str, Limit]]:
        """The suite's objectives (metric → device → limit) as they are judged at these settings."""
        return {metric: dict(of) for metric, of in limits.items()}

    @field_validator("variants", "controls")
    @classmethod
    def _known(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for name in names:
            if name not in cls.known_variants:
                raise ValueError(f"there is no variant {name!r}{_nearest(name, cls.known_variants)}")
        return tuple(dict.fromkeys(names))

    @field_validator("controls")
    @classmethod
    def _gated_already(cls, controls: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        """A control that is chosen as a gated variant for one run is measured once, and gates."""
        return tuple(name for name in controls if name not in info.data.get("variants", ()))


class Limit(BaseModel):
    """One side of an objective: ``value op limit`` must hold."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    op: Op
    limit: Finite

    def __str__(self) -> str:
        return f"{self.op} {self.limit:g}"


Objectives = dict[str, dict[str, dict[str, Limit]]]
"""benchmark → metric → device → limit."""


class Suite(BaseModel):
    """A suite at one scale, checked: settings per benchmark and the objectives."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    scale: str
    settings: dict[str, Any]
    objectives: Objectives


def load_suite(
    file: Path, models: Mapping[str, type[BenchmarkSettings]], scale: str, overrides: Mapping[str, Any] | None = None
) -> Suite:
    """Read ``file`` for ``scale`` with ``overrides`` (path → value, the paths of ``--set``).

    Raises:
        InputError: an unknown key or a value out of bounds, with the line it stands on and the nearest valid key.
    """
    if scale not in SCALES:
        raise InputError(f"there is no scale {scale!r}{_nearest(scale, SCALES)}", f"use one of {', '.join(SCALES)}")
    document, lines = _read(file)
    where = _Where(file, lines)
    _check_keys(document, (*_TOP_LEVEL, *models), (), where)
    if document.get("schema_version") != 1:
        raise InputError(f"{where(('schema_version',))}: schema_version must be 1")
    scales = document.get("scales") or {}
    _check_keys(scales, SCALES, ("scales",), where)
    for name in scales:
        _check_keys(scales[name] or {}, tuple(models), ("scales", name), where)
    for name, model in models.items():  # the other scale is checked too: a typo must not wait for the full night
        for other in SCALES:
            _settings(document, name, model, other, where)

    settings_overrides, limit_overrides = _split(overrides or {}, models)
    settings = {}
    for name, model in models.items():
        merged = _layers(document, name, scale) | settings_overrides.get(name, {})
        settings[name] = _validate(model, merged, name, scale, where, frozenset(settings_overrides.get(name, {})))
    objectives = _objectives(document.get("objectives") or {}, models, where)
    for path, value in limit_overrides:
        _override_limit(objectives, path, value)
    _check_recalls(objectives, settings, where)
    return Suite(scale=scale, settings=settings, objectives=objectives)


def parse_overrides(pairs: Sequence[str]) -> dict[str, Any]:
    """``["hybrid_ann.rows=20000"]`` → ``{"hybrid_ann.rows": 20000}``; values are read as YAML scalars or lists."""
    found = {}
    for pair in pairs:
        path, equals, text = pair.partition("=")
        if not equals or not path.strip():
            raise InputError(f"--set {pair!r} is not PATH=VALUE", "write for example --set hybrid_ann.rows=20000")
        try:
            found[path.strip()] = yaml.safe_load(text)
        except yaml.YAMLError:
            found[path.strip()] = text
    return found


class _Where:
    """Names the place of a value for an error message: ``nightly.yaml line 12``."""

    def __init__(self, file: Path, lines: Mapping[Path_, int]) -> None:
        self.file, self.lines = file, lines

    def __call__(self, *paths: Path_) -> str:
        line = next((self.lines[path] for path in paths if path in self.lines), None)
        return f"{self.file.name} line {line}" if line else self.file.name


def _read(file: Path) -> tuple[dict[str, Any], dict[Path_, int]]:
    try:
        text = file.read_text()
    except OSError as error:
        raise InputError(f"the suite {file} cannot be read ({error.strerror})") from error
    try:
        root = yaml.compose(text, Loader=yaml.SafeLoader)
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        raise InputError(f"the suite {file} is not valid YAML: {error}") from error
    if not isinstance(document, dict):
        raise InputError(f"the suite {file} must be a mapping with the keys {', '.join(_TOP_LEVEL)} and the benchmarks")
    lines: dict[Path_, int] = {}

    def walk(node: yaml.Node, path: Path_) -> None:
        if isinstance(node, yaml.MappingNode):
            for key, value in node.value:
                lines[(*path, str(key.value))] = key.start_mark.line + 1
                walk(value, (*path, str(key.value)))

    walk(root, ())
    return document, lines


def _check_keys(mapping: Any, valid: Sequence[str], path: Path_, where: _Where) -> None:
    name = ".".join(path) or "the suite"
    if not isinstance(mapping, dict):
        raise InputError(f"{where(path)}: {name} must be a mapping of {', '.join(valid)}")
    for key in mapping:
        if key not in valid:
            place = where((*path, str(key)))
            raise InputError(f"{place}: {name} has no key {key!r}{_nearest(str(key), valid)}", _choices(valid))


def _layers(document: Mapping[str, Any], name: str, scale: str) -> dict[str, Any]:
    at_scale = (document.get("scales") or {}).get(scale) or {}
    return {**(document.get(name) or {}), **(at_scale.get(name) or {})}


def _settings(
    document: Mapping[str, Any], name: str, model: type[BenchmarkSettings], scale: str, where: _Where
) -> BenchmarkSettings:
    return _validate(model, _layers(document, name, scale), name, scale, where, frozenset())


def _validate(
    model: type[BenchmarkSettings], values: dict[str, Any], name: str, scale: str, where: _Where, set_by_user: frozenset
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
            raise InputError(f"{place}: {name} has no key {key!r}{_nearest(key, fields)}", _choices(fields)) from None
        if first["type"] == "missing":
            raise InputError(f"{place}: {name}.{key} is missing", "add it to the suite") from None
        message = first["msg"].removeprefix("Value error, ")
        subject = f"{name}.{key}={values.get(key)!r}: " if key else ""
        raise InputError(f"{place}: {subject}{message}") from None


def _objectives(raw: Any, models: Mapping[str, Any], where: _Where) -> Objectives:
    _check_keys(raw, tuple(models), ("objectives",), where)
    found: Objectives = {}
    for name, metrics in raw.items():
        _check_keys(metrics, tuple(UNITS), ("objectives", name), where)
        found[name] = {}
        for metric, limit in metrics.items():
            path = ("objectives", name, metric)
            if isinstance(limit, dict):
                _check_keys(limit, DEVICES, path, where)
                found[name][metric] = {device: _limit(text, where((*path, device))) for device, text in limit.items()}
            else:
                found[name][metric] = dict.fromkeys(DEVICES, _limit(limit, where(path)))
    return found


def _check_recalls(objectives: Objectives, settings: Mapping[str, BenchmarkSettings], where: _Where) -> None:
    """Refuse an objective on a recall that the run will not measure: it could only end without a number."""
    for name, limits in objectives.items():
        measured = [f"recall_at_{depth}" for depth in settings[name].recall_depths]
        for metric in limits:
            if metric in RECALLS and metric not in measured:
                raise InputError(
                    f"{where(('objectives', name, metric))}: the objective {name}.{metric} cannot be judged, because this "
                    f"run measures {', '.join(measured) or 'no recall'}",
                    f"set {name}.k, or move the objective: --set objectives.{name}.{metric}=null --set "
                    f'"objectives.{name}.{measured[-1]}=>= 0.9"' if measured else "remove it",
                )  # fmt: skip


def _limit(text: Any, place: str) -> Limit:
    op = next((op for op in _OPS if isinstance(text, str) and text.strip().startswith(op)), None)
    if op is None:
        raise InputError(
            f"{place}: {text!r} is not an objective", 'write an operator and a number, for example "< 0.02"'
        )
    return Limit(op=op, limit=_number(text.strip()[len(op) :], place))


def _number(text: Any, place: str) -> float:
    try:
        value = float(text)
    except (TypeError, ValueError):
        raise InputError(f"{place}: {text!r} is not a number") from None
    if value != value or value in (float("inf"), float("-inf")):
        raise InputError(f"{place}: the limit must be finite, not {text!r}")
    return value


def _split(
    overrides: Mapping[str, Any], models: Mapping[str, Any]
) -> tuple[dict[str, dict[str, Any]], list[tuple[Path_, Any]]]:
    settings: dict[str, dict[str, Any]] = {}
    limits: list[tuple[Path_, Any]] = []
    roots = ("objectives", *models)
    for dotted, value in overrides.items():
        path = tuple(dotted.split("."))
        if path[0] not in roots:
            raise InputError(f"--set {dotted}: there is no {path[0]!r}{_nearest(path[0], roots)}", _choices(roots))
        if path[0] == "objectives":
            limits.append((path[1:], value))
        elif len(path) != 2:
            raise InputError(f"--set {dotted}: a path is BENCHMARK.KEY", f"for example {path[0]}.variants")
        else:
            settings.setdefault(path[0], {})[path[1]] = value
    return settings, limits


def _override_limit(objectives: Objectives, path: Path_, value: Any) -> None:
    """A bare number keeps the operator of the suite; "<= 3" replaces both. Without a device it holds for all.

    "<= 3" for a metric without an objective makes one, and null drops one.
    """
    place = "--set objectives." + ".".join(path)
    if len(path) == 2 and path[0] in objectives:
        limits, metric = objectives[path[0]], path[1]
        if value is None and metric in limits:
            del limits[metric]
            return
        if metric in UNITS and metric not in limits and isinstance(value, str):
            limits[metric] = dict.fromkeys(DEVICES, _limit(value, place))
            return
    level: Any = objectives
    for key in path[:2]:
        if key not in level:
            raise InputError(
                f"{place}: there is no objective {key!r}{_nearest(key, tuple(level))}", _choices(tuple(level))
            )
        level = level[key]
    devices = path[2:] or tuple(level)
    if len(path) not in (2, 3) or any(device not in level for device in devices):
        raise InputError(f"{place}: a path is objectives.BENCHMARK.METRIC or objectives.BENCHMARK.METRIC.DEVICE")
    for device in devices:
        if isinstance(value, str) and value.strip().startswith(("<", ">")):
            level[device] = _limit(value, place)
        else:
            level[device] = Limit(op=level[device].op, limit=_number(value, place))


def _nearest(word: str, valid: Sequence[str]) -> str:
    match = difflib.get_close_matches(word, valid, n=1, cutoff=0.5)
    return f"; did you mean {match[0]!r}?" if match else ""


def _choices(valid: Sequence[str]) -> str:
    shown = [name for name in valid if name not in RECALLS or RECALLS[name] in (1, 10, 100)]
    return "use one of " + ", ".join(shown) + (", or another recall_at_K" if len(shown) < len(valid) else "")
