"""The trigger form: one Param for every value of the suite, generated from the models that also validate it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from airflow.sdk import Param

from nightgate import paths, registry
from nightgate.errors import InputError, nearest
from nightgate.measure import durations
from nightgate.publish import figures
from nightgate.results import took
from nightgate.suite import DEVICES, SCALES, Suite, load_suite

_OTHER = "Anything else"
_KEYS = ("scale", "benchmarks", "devices", "require_gpu", "set")
"""The fields of the form that are no path of the suite."""
SMALLEST = SCALES[0]
_UNITS = {"seconds": "in seconds", "ratio": "as a ratio", "bytes": "in bytes"}
_BOUNDS = ("minimum", "exclusiveMinimum", "maximum", "multipleOf", "minLength")


def trigger_params(suite: Path | None = None) -> dict[str, Param]:
    """The Params of a nightly. An empty field means: the suite's value for the chosen scale.

    Args:
        suite: its file; without one that of `paths.suite_file`.
    """
    suites = {scale: load_suite(suite or paths.suite_file(), registry.installed(), scale) for scale in SCALES}
    names = list(suites["full"].settings)
    seconds = took.known(suites["full"].name)
    return {
        "scale": Param(
            SMALLEST,
            type="string",
            enum=list(SCALES),
            title="Scale",
            values_display={scale: _scale_text(scale, seconds.get(scale)) for scale in SCALES},
            description=f"smoke takes minutes, full is the real night. The schedule runs full, a click {SMALLEST}.",
        ),
        "benchmarks": _choice(list(suites["full"].nightly), names, "Benchmarks", "Which benchmarks to run."),
        "devices": _choice(
            list(DEVICES), list(DEVICES), "Devices", "A device this host lacks is skipped with the reason."
        ),
        "require_gpu": Param(
            False,
            type="boolean",
            title="Require a GPU",
            section=_OTHER,
            description="A missing GPU then fails the run instead of skipping the GPU tasks.",
        ),
        **_objective_params(suites["full"]),
        **{
            key: param
            for name in names
            for key, param in (_variants(name, suites) | _setting_params(name, suites)).items()
        },
        "set": Param(
            {},
            type="object",
            title="Other values",
            section=_OTHER,
            description=f"Any value of the suite by its path, for example {json.dumps(_example())}.",
        ),
    }


def scale_of(params: dict[str, Any], conf: dict[str, Any], run_type: str) -> str:
    """That of a run: what its form or conf says, else the smallest for a person and the real night for a schedule."""
    if run_type != "manual" and "scale" not in conf:
        return SCALES[-1]
    scale: str = params["scale"]
    return scale


def check_conf(conf: dict[str, Any]) -> None:
    """Refuse what a caller of the API or the command line wrote and nothing would read: Airflow lets every key pass.

    A path of the suite is no key of the form, and is checked with the suite.

    Raises:
        InputError: with the nearest key that means something.
    """
    for key in conf:
        if key not in _KEYS and "." not in key:
            raise InputError(
                f"the conf of this run has the key {key!r}, which means nothing{nearest(key, _KEYS)}",
                f"use {', '.join(_KEYS)}, or a path of the suite such as {next(iter(_example()))}",
            )


def overrides(params: dict[str, Any], suite: Path | None = None) -> dict[str, Any]:
    """The values of ``suite`` that a filled-in form changes, by path.

    Raises:
        InputError: a field and "set" want two values in one place.
    """
    fields = trigger_params(
        suite
    )  # of which an empty one is the suite's value; another path with null says what it says
    changed = {key: value for key, value in params.items() if "." in key and not (value is None and key in fields)}
    for path, value in (params["set"] or {}).items():
        if path in changed and changed[path] != value:
            raise InputError(f'{path} is {changed[path]!r} in the form and {value!r} in "set"', "keep one of them")
        changed[path] = value
    return changed


def _example() -> dict[str, list[str]]:
    """A path of the suite and a value for it, of a benchmark that is installed."""
    name, known = next(iter(registry.installed().items()))
    return {f"{name}.controls": [known.settings.known_variants[-1]]}


def _scale_text(scale: str, seconds: float | None) -> str:
    return f"{scale}, about {durations.human(seconds)} on this host" if seconds else scale


def _choice(default: list[str], valid: list[str], title: str, description: str) -> Param:
    return Param(
        default,
        type="array",
        items={"type": "string", "enum": valid},
        examples=valid,
        minItems=1,
        uniqueItems=True,
        title=title,
        description=description,
    )


def _objective_params(suite: Suite) -> dict[str, Param]:
    found = {}
    for name, metrics in suite.objectives.items():
        for metric, limits in metrics.items():
            for key, limit in limits.items():
                spec = registry.spec(name, metric)
                most: dict[str, Any] = {"maximum": 1} if spec.share else {}
                whose = f"{registry.title(name)}: {spec.title} {'on' if key in DEVICES else 'of'} {key}"
                found[f"objectives.{name}.{metric}.{key}"] = Param(
                    None,
                    type=["null", "number"],
                    minimum=0,
                    **most,
                    title=f"{whose}, {_UNITS.get(spec.unit, spec.unit)}",
                    description=f"The suite says {figures.limit_text(limit, spec)}.",
                    section="Objectives",
                )
    return found


def _setting_params(name: str, suites: dict[str, Suite]) -> dict[str, Param]:
    schema = registry.named(name).settings.model_json_schema()["properties"]
    found = {}
    for key, facts in schema.items():
        kinds = {kind.get("type"): kind for kind in facts.get("anyOf", [facts])}
        kind = next((k for k in ("integer", "number", "string") if k in kinds), None)
        if kind is None:
            continue  # lists are chosen by name: the engines above, the rest through "set"
        bounds = {k: v for k, v in kinds[kind].items() if k in _BOUNDS}
        values = {scale: getattr(suite.settings[name], key) for scale, suite in suites.items()}
        found[f"{name}.{key}"] = Param(
            None,
            type=["null", kind],
            title=facts["title"],
            section=name,
            description=" ".join(filter(None, (facts.get("description"), _range(bounds), _says(values)))),
            **bounds,
            **_options(kinds[kind].get("enum")),
        )
    return found


def _variants(name: str, suites: dict[str, Suite]) -> dict[str, Param]:
    """A field for each choice of variants; an empty one is the suite's."""
    model = registry.named(name).settings
    valid, fields = list(model.known_variants), model.model_fields
    return {
        f"{name}.{key}": Param(
            None,
            type=["null", "array"],
            items={"type": "string", "enum": valid},
            examples=valid,
            uniqueItems=True,
            minItems=least,
            title=fields[key].title or key,
            section=name,
            description=f"{fields[key].description or ''} "
            f"{_says({scale: getattr(suite.settings[name], key) for scale, suite in suites.items()})}".strip(),
        )
        for key, least in (("variants", 1), ("gpu_variants", 0), ("controls", 0))
        if key in model.model_fields
    }


def _options(valid: list[str] | None) -> dict[str, Any]:
    """What makes a field a choice, with an entry for an empty field."""
    return {"enum": [*valid, None], "values_display": {"null": "as the suite has it"}} if valid else {}


def _range(bounds: dict[str, Any]) -> str:
    lowest = f"From {_shown(bounds['minimum'])}" if "minimum" in bounds else ""
    if "exclusiveMinimum" in bounds:
        lowest = f"Above {_shown(bounds['exclusiveMinimum'])},"
    return f"{lowest} to {_shown(bounds['maximum'])}." if lowest and "maximum" in bounds else ""


def _says(values: dict[str, Any]) -> str:
    """What the suite has for each scale, or once when it is the same for all; nothing when it leaves it open."""
    if len(set(values.values())) == 1:
        (value,) = set(values.values())
        return "" if value is None else f"The suite says {_shown(value)}."
    return f"The suite says {', '.join(f'{_shown(value)} at {scale}' for scale, value in values.items())}."


def _shown(value: Any) -> str:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    if isinstance(value, tuple):
        return ", ".join(map(str, value)) or "none"
    return f"{value:,}" if isinstance(value, int) else str(value)
