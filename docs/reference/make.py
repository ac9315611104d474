"""Write the reference pages from the code that they are about: `make reference`. A test fails where one is not what this writes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import click
import typer

from nightgate import cli, registry
from nightgate.suite import BenchmarkSettings

HERE = Path(__file__).parent
_MADE = "<!-- made by `make reference`; change the code it is about, and make it anew -->\n"
_BOUNDS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}


def pages() -> dict[str, str]:
    """File name → text, of every page but that of the DAG, which takes Airflow."""
    return {"suite.md": suite(), "metrics.md": metrics(), "cli.md": commands()}


def suite() -> str:
    """The keys of a suite, of each benchmark that comes along."""
    parts = [
        "# Suite keys\n",
        "Every value that a suite may set, its default and its bounds, as `--set BENCHMARK.KEY=VALUE`, the trigger form and the "
        "suite file take it. How they are written stands in [the suite](../suite.md).\n",
    ]
    for name, known in registry.installed().items():
        parts += [f"## `{name}`\n", f"{known.title}, on {' and '.join(known.devices)}.\n", _keys(known.settings)]
    return _page(parts)


def metrics() -> str:
    """What each benchmark measures, and what Prometheus calls it."""
    parts = [
        "# Metrics\n",
        "An objective may be on every metric that has a better side. In Prometheus each carries `suite`, `benchmark`, `variant` and "
        "`device` as well, and has the ends of its 95 % interval beside it (`…_lower_bound_…`, `…_upper_bound_…`).\n",
    ]
    for name, known in registry.installed().items():
        rows = [
            (f"`{spec.name}`", spec.title, spec.unit, spec.better or "–", _gauge(spec.gauge_name, spec.labels))
            for spec in known.all_metrics
        ]
        parts += [f"## `{name}`\n", _table(("metric", "what", "unit", "better", "gauge"), rows)]
    return _page(parts)


def commands() -> str:
    """Every command with its arguments and options."""
    parts = [
        "# Commands\n",
        "What `nightgate --help` says, in one page. `--install-completion` makes the shell complete them.\n",
    ]
    root = typer.main.get_command(cli.app)
    with click.Context(root, info_name="nightgate") as context:
        for words, command in _walk(root, context, ("nightgate",)):
            parts += [f"## `{' '.join(words)}`\n", " ".join((command.help or "").split()) + "\n"]
            rows = [_parameter(one) for one in command.params if one.name != "help"]
            if rows:
                parts.append(_table(("argument or option", "what", "default"), rows))
    return _page(parts)


def _walk(group: Any, context: click.Context, words: tuple[str, ...]) -> Iterable[tuple[tuple[str, ...], Any]]:
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        if hasattr(command, "list_commands"):
            yield from _walk(command, context, (*words, name))
        else:
            yield (*words, name), command


def _parameter(one: Any) -> tuple[str, str, str]:
    if one.param_type_name == "argument":
        name = one.metavar or (one.name or "").upper()
    else:
        name = ", ".join([*one.opts, *one.secondary_opts])
    default = "" if one.default in (None, False, "") or callable(one.default) or one.required else f"`{one.default}`"
    return f"`{name}`", " ".join((getattr(one, "help", "") or "").split()), default


def _keys(model: type[BenchmarkSettings]) -> str:
    schema = model.model_json_schema()["properties"]
    rows = []
    for key, facts in schema.items():
        kinds = [kind for kind in facts.get("anyOf", [facts]) if kind.get("type") != "null"]
        kind = kinds[0] if kinds else {}
        bounds = [f"{sign} {kind[word]:g}" for word, sign in _BOUNDS.items() if word in kind]
        choices = kind.get("enum") or (kind.get("items") or {}).get("enum")
        said = [
            facts.get("description", ""),
            ", ".join(bounds),
            f"One of {', '.join(map(str, choices))}." if choices else "",
        ]
        default = facts.get("default")
        rows.append((
            f"`{key}`", facts.get("title", ""), " ".join(filter(None, said)),
            "needed" if model.model_fields[key].is_required() else "–" if default is None else f"`{_short(default)}`",
        ))  # fmt: skip
    return _table(("key", "title", "what", "default"), rows)


def _short(value: Any) -> str:
    return "[" + ", ".join(map(str, value)) + "]" if isinstance(value, (list, tuple)) else str(value)


def _gauge(name: str, labels: Sequence[tuple[str, str]]) -> str:
    told = ", ".join(f'{key}="{value}"' for key, value in labels)
    return f"`{name}{{{told}}}`" if told else f"`{name}`"


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [f"| {' | '.join(heads)} |", "|---" * len(heads) + "|"]
    lines += [
        "| " + " | ".join(str(cell).replace("|", "\\|").replace("\n", " ") for cell in row) + " |" for row in rows
    ]
    return "\n".join(lines) + "\n"


def _page(parts: Sequence[str]) -> str:
    return _MADE + "\n".join(parts)


if __name__ == "__main__":
    for file, text in pages().items():
        (HERE / file).write_text(text)
