"""What must hold: limits per benchmark, metric and device or variant, read from the suite and overridden for one run.

A limit that no measurement could ever meet, or that asks for the opposite of what is good, is a slip and is refused.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Any, NamedTuple, get_args

from pydantic import BaseModel, ConfigDict

from nightgate.document import Path_, Where, check_keys
from nightgate.errors import InputError, choices, nearest
from nightgate.metrics import MetricSpec
from nightgate.record import Device, Finite, Op

_OPS = ("<=", ">=", "<", ">")
_MANY = 5


class Limit(BaseModel):
    """One side of an objective: ``value op limit`` must hold."""

    model_config = ConfigDict(extra="forbid", frozen=True)
    op: Op
    limit: Finite

    def __str__(self) -> str:
        return f"{self.op} {self.limit:g}"


Objectives = dict[str, dict[str, dict[str, Limit]]]
"""benchmark → metric → device, or variant → limit. A variant's own limit holds on every device, in place of the device's."""


class Measurable(NamedTuple):
    """What can be an objective of a benchmark: its metrics by name, where they are measured, and of what."""

    metrics: Mapping[str, MetricSpec]
    devices: Sequence[str]
    variants: Sequence[str] = ()

    @property
    def keys(self) -> tuple[str, ...]:
        """What a limit can be of."""
        return (*self.devices, *self.variants)


def limit_of(limits: Mapping[str, Limit], variant: str, device: str) -> Limit | None:
    """The one of a metric's ``limits`` (device or variant → limit) that ``variant`` is judged by on ``device``."""
    own = limits.get(variant)
    return limits.get(device) if own is None else own


def not_judged(limits: Mapping[str, Mapping[str, Limit]], variant: str, device: str) -> dict[str, str]:
    """Metrics of the objectives (metric → device or variant → limit) that are other variants' alone: metric → of which."""
    found = {}
    for metric, of in limits.items():
        others = [f"{key} ({limit})" for key, limit in of.items() if key not in get_args(Device)]
        if others and limit_of(of, variant, device) is None:
            found[metric] = f"it is an objective of {', '.join(others)} alone"
    return found


def read_objectives(raw: Any, benchmarks: Mapping[str, Measurable], where: Where) -> Objectives:
    """The ``objectives`` of a suite file; a limit of no device or variant holds for every device of its benchmark.

    Raises:
        InputError: an unknown key, or a limit that makes no sense, with its line.
    """
    check_keys(raw, tuple(benchmarks), ("objectives",), where)
    found: Objectives = {}
    for name, metrics in raw.items():
        specs = benchmarks[name].metrics
        check_keys(metrics, tuple(specs), ("objectives", name), where, _choices)
        found[name] = {}
        for metric, limit in metrics.items():
            path = ("objectives", name, metric)
            if isinstance(limit, dict):
                check_keys(limit, benchmarks[name].keys, path, where)
                found[name][metric] = {
                    key: _limit(specs[metric], text, where((*path, key))) for key, text in limit.items()
                }
            else:
                found[name][metric] = dict.fromkeys(benchmarks[name].devices, _limit(specs[metric], limit, where(path)))
    return found


def override_limits(
    objectives: Objectives, overrides: Mapping[Path_, Any], benchmarks: Mapping[str, Measurable]
) -> None:
    """Change limits in place (path below ``objectives`` → value).

    A bare number keeps the operator of the suite; "<= 3" replaces both, or makes an objective on a metric that had none,
    and null drops one. Without a device or variant it holds for all; a path with one is laid over it, whichever came first.
    """
    for path, value in sorted(overrides.items(), key=lambda item: len(item[0])):
        _override(objectives, path, value, benchmarks)


def must_be_measured(objectives: Objectives, measured: Mapping[str, Sequence[str]], where: Where) -> None:
    """Refuse an objective on what the run will not measure (benchmark → metrics): it could only end without a number."""
    for name, limits in objectives.items():
        for metric, of in limits.items():
            if metric in measured[name]:
                continue
            siblings = [other for other in measured[name] if _stem(other) == _stem(metric)]
            step = f"drop it: --set objectives.{name}.{metric}=null"
            if siblings and of:
                moved = f'--set "objectives.{name}.{siblings[-1]}={next(iter(of.values()))}"'
                step = f"change what the run measures, or move the objective: --set objectives.{name}.{metric}=null {moved}"
            raise InputError(
                f"{where(('objectives', name, metric))}: the objective {name}.{metric} cannot be judged, because this "
                f"run measures {', '.join(siblings) or 'nothing like it'}",
                step,
            )


def must_gate(
    objectives: Objectives, benchmarks: Mapping[str, Measurable], gated: Mapping[str, Collection[str]], where: Where
) -> None:
    """Refuse an objective on a variant that does not gate (benchmark → those that may): nobody would ever judge it."""
    for name, limits in objectives.items():
        for metric, key in ((metric, key) for metric, of in limits.items() for key in of):
            if name not in gated or key in benchmarks[name].devices or key in gated[name]:
                continue
            path = ("objectives", name, metric)
            raise InputError(
                f"{where((*path, key), path)}: the objective {name}.{metric} of {key} is never judged, because "
                f"{', '.join(gated[name])} gate and {key} does not",
                f"add {key} to {name}.variants, or drop it: --set {'.'.join(path)}.{key}=null",
            )


def _override(objectives: Objectives, path: Path_, value: Any, benchmarks: Mapping[str, Measurable]) -> None:
    place = "--set objectives." + ".".join(path)
    if len(path) not in (2, 3):
        raise InputError(
            f"{place}: a path is objectives.BENCHMARK.METRIC, with .DEVICE or .VARIANT after it where it is of one"
        )
    name, metric, key = path[0], path[1], path[2] if path[2:] else None
    if name not in objectives:
        raise _unknown(place, "objective", name, objectives)
    limits, known = objectives[name], benchmarks[name]
    spec, there = known.metrics.get(metric), limits.get(metric, {})
    if spec is None or (value is None and not there):
        raise _unknown(place, "objective", metric, limits)
    if key is not None and key not in (there if value is None else known.keys):
        raise _unknown(place, "device or variant", key, there if value is None else known.keys)
    chosen = (*there,) if key is None else (key,)
    has = bool(chosen) and there.keys() >= {*chosen}
    if value is None:
        left = {of: limit for of, limit in there.items() if of not in chosen}
    elif isinstance(value, str) and (value.strip().startswith(_OPS) or not has):
        made = _limit(spec, value, place)
        left = there | dict.fromkeys(chosen if key else (*there, *known.devices), made)
    elif not has:
        raise InputError(
            f"{place}: the suite has no objective on {metric}{f' of {key}' if there else ''}, and {value!r} has no operator",
            f'write one, for example "{">=" if spec.higher_is_better else "<="} {value}"',
        )
    else:
        number = _number(value, place)
        left = there | {of: _sensible(spec, Limit(op=there[of].op, limit=number), place) for of in chosen}
    if left:
        limits[metric] = left
    else:
        del limits[metric]


def _unknown(place: str, kind: str, key: str, valid: Collection[str]) -> InputError:
    known = tuple(valid)
    return InputError(f"{place}: there is no {kind} {key!r}{nearest(key, known)}", _choices(known))


def _limit(spec: MetricSpec, text: Any, place: str) -> Limit:
    op = next((op for op in _OPS if isinstance(text, str) and text.strip().startswith(op)), None)
    if op is None:
        raise InputError(
            f"{place}: {text!r} is not an objective", 'write an operator and a number, for example "< 0.02"'
        )
    return _sensible(spec, Limit(op=op, limit=_number(text.strip()[len(op) :], place)), place)


def _number(text: Any, place: str) -> float:
    try:
        if isinstance(text, bool):
            raise TypeError
        value = float(text)
    except (TypeError, ValueError, OverflowError):
        raise InputError(f"{place}: {text!r} is not a number") from None
    if not math.isfinite(value):
        raise InputError(f"{place}: the limit must be finite, not {text!r}")
    return value


def _sensible(spec: MetricSpec, limit: Limit, place: str) -> Limit:
    """The limit, unless it asks for the opposite of what is good or for what no measurement can be."""
    if spec.better is None:
        raise InputError(f"{place}: {spec.name} is only reported; no value of it is better than another", "remove it")
    ops = (">=", ">") if spec.higher_is_better else ("<=", "<")
    if limit.op not in ops:
        raise InputError(
            f"{place}: {spec.name} is better the {spec.better} it is, and {limit} asks for the opposite",
            f"write {' or '.join(ops)}",
        )
    if limit.limit < 0 or (spec.share and limit.limit > 1):
        span = "between 0 and 1" if spec.share else "0 or more"
        raise InputError(f"{place}: {spec.name} is always {span}, and the limit is {limit.limit:g}", "mend the limit")
    strict = limit.op in ("<", ">")
    if spec.higher_is_better:
        unreachable = spec.share and strict and limit.limit == 1
    else:
        unreachable = limit.limit == 0 and (strict or not spec.zero_is_possible)
    if unreachable:
        raise InputError(f"{place}: {spec.name} can never be {limit}", "give a limit that can be met")
    return limit


def _stem(metric: str) -> str:
    return metric.rstrip("0123456789")


def _choices(metrics: Sequence[str]) -> str:
    """The valid metrics; of those that differ in a number only (recall_at_1 … recall_at_100), the first and the last."""
    families: dict[str, list[str]] = {}
    for metric in metrics:
        families.setdefault(_stem(metric), []).append(metric)
    few = (family if len(family) <= _MANY else [family[0], family[-1]] for family in families.values())
    shown = [name for family in few for name in family]
    return choices(shown) + (", or another of their kind" if len(shown) < len(metrics) else "")
