"""Write the reference pages from the code that they are about: `make reference`. A test fails where one is not what this writes."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from graphlib import TopologicalSorter
from itertools import groupby
from pathlib import Path
from typing import Any

import click
import typer

from nightgate import cli, registry
from nightgate.metrics import MetricSpec
from nightgate.suite import BenchmarkSettings

HERE = Path(__file__).parent
_MADE = "<!-- made by `make reference`; change the code it is about, and make it anew -->\n"
_BOUNDS = {"minimum": "≥", "exclusiveMinimum": ">", "maximum": "≤", "exclusiveMaximum": "<"}


def pages() -> dict[str, str]:
    """File name → text, of every page."""
    return {"suite.md": suite(), "metrics.md": metrics(), "cli.md": commands(), "dags.md": dags()}


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
        "An objective may be on every metric that has a better side. In Prometheus each carries `suite`, `benchmark`, `variant`, `device`, "
        "`host` and `scale` as well, and has the ends of its 95 % interval beside it (`…_lower_bound_…`, `…_upper_bound_…`).\n",
    ]
    for name, known in registry.installed().items():
        rows = [_metrics(list(of)) for _, of in groupby(known.all_metrics, key=_family)]
        parts += [f"## `{name}`\n", _table(("metric", "what", "unit", "better", "gauge"), rows)]
    return _page(parts)


def _family(spec: MetricSpec) -> tuple[str, ...]:
    """What is alike of metrics that are one at several depths."""
    stem, _, depth = spec.name.rpartition("_at_")
    return (stem, spec.gauge_name) if depth.isdigit() else (spec.name,)


def _metrics(of: Sequence[MetricSpec]) -> tuple[str, ...]:
    first, last = of[0], of[-1]
    name, title, gauge = f"`{first.name}`", first.title, _gauge(first.gauge_name, first.labels)
    if len(of) > 1:
        name, title = f"{name} … `{last.name}`", f"{title} … {last.title}"
        gauge = f"{gauge} … `{{{_told(last.labels)}}}`"
    return name, title, first.unit, first.better or "–", gauge


def dags() -> str:
    """The DAGs that come along: their tasks, and the fields of their forms that no suite key is behind."""
    from airflow.dag_processing.dagbag import DagBag

    parts = [
        "# DAGs\n",
        "What stands in the [DAG folder](../../dags). A DAG file of your own makes more of them (`nightgate.airflow`, "
        "[plug-ins](../plugins.md)). The tasks of a benchmark and device are there once for each that is installed, as "
        "`hybrid_ann.cpu.measure`.\n",
    ]
    bag = DagBag(str(HERE.parents[1] / "dags"))
    for name, dag in sorted(bag.dags.items()):
        parts += [f"## `{name}`\n", f"Schedule: {_schedule(dag.schedule)}.\n"]
        order = TopologicalSorter({key: sorted(task.upstream_task_ids) for key, task in sorted(dag.task_dict.items())})
        rows = dict.fromkeys(_task(dag.task_dict[key]) for key in order.static_order())
        parts.append(_table(("task", "what", "runs when", "tries", "time-out"), rows))
        fields = [_field(key, dag.params.get_param(key)) for key in dag.params]
        parts.append(_table(("field of the form", "what", "default"), [found for found in fields if found]))
        if len(dag.params) > len([found for found in fields if found]):
            parts.append(
                "The other fields are the objectives and the [suite keys](suite.md) of each benchmark, for this run alone.\n"
            )
    return _page(parts)


def _schedule(schedule: Any) -> str:
    if isinstance(schedule, list):
        return f"whenever the asset {' or '.join(f'`{asset.name}`' for asset in schedule)} is renewed"
    return f"`{schedule.expression}`, {schedule.timezone}"


_RULES = {
    "all_success": "all before it succeeded", "none_failed_min_one_success": "none before it failed",
    "all_done_setup_success": "all before it ended, however", "all_done": "all before it ended, however",
}  # fmt: skip


def _task(task: Any) -> tuple[str, ...]:
    name = ".".join("BENCHMARK" if part in registry.installed() else "DEVICE" if part in ("cpu", "gpu") else part
                    for part in task.task_id.split("."))  # fmt: skip
    said = " ".join((task.doc_md or "").partition("\n\n")[0].split()).replace("``", "`")
    minutes = round(task.execution_timeout.total_seconds() / 60)
    return f"`{name}`", said, _RULES[task.trigger_rule.value], str(task.retries + 1), f"{minutes} min"


def _field(key: str, param: Any) -> tuple[str, ...] | None:
    if "." in key:
        return None
    return (
        f"`{key}`",
        " ".join((param.description or "").split()),
        f"`{param.value}`" if param.value not in (None, "") else "–",
    )


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
    return f"`{name}{{{_told(labels)}}}`" if labels else f"`{name}`"


def _told(labels: Sequence[tuple[str, str]]) -> str:
    return ", ".join(f'{key}="{value}"' for key, value in labels)


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
