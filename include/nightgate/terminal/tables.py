"""Figures, verdicts, runs and comparisons as tables, and the last line that says what the exit code means."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from functools import partial

from rich import box
from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.measure import Measurement
from rich.table import Table
from rich.text import Text

from nightgate import registry
from nightgate.errors import EXIT_BREACH, EXIT_INPUT, EXIT_NOT_MEASURED, EXIT_PASS
from nightgate.publish import certainty
from nightgate.publish.comparing import Comparison
from nightgate.publish.figures import clock, headlines, limit_text, with_interval
from nightgate.publish.rows import met, unjudged
from nightgate.record import Metric, Objective, Record, Summary

_COLOURS = {"pass": "green", "breach": "bold red", "inconclusive": "yellow", "invalid": "magenta"}
_FOUND = {True: "bold", False: "", None: "dim"}
_ANY_WIDTH = 10_000

MEANING = {
    EXIT_PASS: "all objectives hold",
    EXIT_BREACH: "an objective is breached",
    EXIT_INPUT: "bad input, nothing was started",
    EXIT_NOT_MEASURED: "could not measure everything",
}
UNDECIDED = (
    "undecided: everything was measured and nothing is breached, but not of every objective is known that it holds"
)
"""What `EXIT_NOT_MEASURED` means where the state of the run is inconclusive."""

EXIT_OF_STATE = {"pass": EXIT_PASS, "breach": EXIT_BREACH}
"""The exit code of a run's state; every other state is `EXIT_NOT_MEASURED`."""


def figures(records: Iterable[Record]) -> Group:
    """A table per benchmark and device, one row per variant: its headline metrics with their 95 % intervals.

    Below stands what is to be known of a measurement, what disturbed it, and what was skipped or failed, with the reason.
    """
    parts: list[RenderableType] = []
    for (benchmark, device), group in _grouped(records).items():
        title = f"{registry.title(benchmark)} on {device}"
        measured = [record for record in group if record.status == "measured"]
        names = headlines(measured)
        if measured:
            parts += [_heading(f"{title}, with 95 % intervals"), _Fitting(partial(_figures, names, measured))]
        parts += [Text(f"{record.variant}: {record.reason}", style="yellow") for record in measured if record.reason]
        parts += [Text(f"disturbed: {sentence}", style="yellow") for sentence in certainty.disturbances(measured)]
        shown = [record.metrics[name] for record in measured for name in names if name in record.metrics]
        parts += [Text(line, style="dim") for line in (certainty.learned(shown),) if line]
        absent: dict[tuple[str, str], list[str]] = {}
        for record in group:
            if record.status != "measured":
                absent.setdefault((record.status, record.reason or "no reason was given"), []).append(record.variant)
        for (status, reason), variants in absent.items():
            who = ", ".join(variants) if measured else f"{title}, {', '.join(variants)}"
            parts.append(Text(f"{who}: {status}: {reason}", style="red" if status == "failed" else "dim"))
        parts.append("")
    return Group(*parts)


def verdicts(records: Iterable[Record]) -> RenderableType:
    """One row per objective."""
    rows = [(record, objective) for record in records for objective in record.objectives]
    if not rows:
        return Text("No objective was judged.", style="dim")
    parts: list[RenderableType] = [
        _heading("Objectives, with 95 % intervals"),
        _Fitting(partial(_verdicts, rows)),
    ]
    if any(objective.verdict == "inconclusive" for _, objective in rows):
        parts.append(Text(certainty.UNDECIDED, style=_COLOURS["inconclusive"]))
    if any(unjudged(objective, record, registry.spec_of(record, objective.metric)) for record, objective in rows):
        parts.append(Text(certainty.DISTURBED, style="dim"))
    return Group(*parts)


def runs(summaries: Iterable[Summary]) -> RenderableType:
    """One line per run; where there is little room without what it counts as and its host."""
    return _Fitting(partial(_runs, list(summaries)))


def runs_as_json(summaries: Iterable[Summary]) -> str:
    """An array with an object for each run, without its results."""
    heads = [
        {**summary.model_dump(mode="json", exclude={"results"}), "standing": summary.standing} for summary in summaries
    ]
    return json.dumps(heads, indent=1)


def compared(comparisons: Iterable[Comparison]) -> Group:
    """A table per comparison, one row per metric: both values, the difference with its interval, and in words."""
    parts: list[RenderableType] = []
    for one in comparisons:
        parts.append(_heading(one.title))
        if one.differences:
            parts += [Text(line, style="yellow") for line in (one.other_work, *one.differences)]
        if one.rows:
            parts.append(_Fitting(partial(_compared, one)))
            parts += [Text(line, style="dim") for line in one.legend]
        parts += [*one.notes, ""]
    return Group(*parts)


def last_line(code: int, skipped: Sequence[str] = (), state: str = "") -> str:
    """The exit code in words, and what was asked for and skipped (`skips`): a skip is no verdict, and no secret.

    Args:
        state: of the run, which tells the two meanings of `EXIT_NOT_MEASURED` apart.
    """
    undecided = code == EXIT_NOT_MEASURED and state == "inconclusive"
    line = f"nightgate: exit code {code}: {UNDECIDED if undecided else MEANING[code]}"
    return f"{line}; skipped: {'; '.join(skipped)}" if skipped else line


class _Fitting:
    """A table that puts each interval below its value where the screen has no room for both on a line."""

    def __init__(self, build: Callable[[str], Table]) -> None:
        """Args: build: makes the table with this text between a value and its interval."""
        self._build = build

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        table = self._build(" ")
        wanted = Measurement.get(console, options.update(width=_ANY_WIDTH), table).maximum
        yield table if wanted <= options.max_width else self._build("\n")


def _runs(summaries: Sequence[Summary], between: str) -> Table:
    table = _table(between)
    narrow = between == "\n"
    for name in ("run", "suite", "scale", "state", "finished", *(() if narrow else ("counts as", "host"))):
        table.add_column(name, no_wrap=True)
    for summary in summaries:
        state = Text(certainty.word(summary.state), style=_COLOURS[summary.state])
        more = () if narrow else (summary.standing, summary.host.fingerprint)
        table.add_row(
            summary.run_id, summary.suite, summary.scale, state, clock(summary.finished_at).removesuffix(" UTC"), *more
        )
    return table


def _figures(names: list[str], records: list[Record], between: str) -> Table:
    table = _table(between)
    table.add_column("variant", overflow="fold")
    for name in names:
        table.add_column(
            registry.spec_of(records[0], name).short_title.replace(" ", between), justify="right", no_wrap=True
        )
    for record in records:
        cells = [
            _value(record.metrics.get(n), doubtful=certainty.doubtful(record, registry.spec_of(record, n)))
            for n in names
        ]
        name = record.variant.replace("_", "_\n", 1) if between == "\n" else record.variant
        table.add_row(name, *(_parted(cell, between) for cell in cells))
    return table


def _verdicts(rows: list[tuple[Record, Objective]], between: str) -> Table:
    table = _table(between)
    for name in ("benchmark", "variant", "metric"):
        table.add_column(name, overflow="fold")
    for name in ("value", "objective"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("verdict")
    for record, objective in rows:
        metric, spec = met(objective, record), registry.spec_of(record, objective.metric)
        known = metric and objective.reason == record.reason  # it stands below the figures
        said, reason = certainty.said(objective, record), objective.reason or ""
        if not known and reason and objective.verdict != "pass":
            said = f"{certainty.word(objective.verdict) if said in reason else said}: {reason}"
        table.add_row(
            registry.title(record.benchmark),
            f"{record.variant} on {record.device}",
            spec.short_title,
            _parted(_value(metric, doubtful=unjudged(objective, record, spec)), between),
            limit_text(objective, spec),
            Text(said, style=_COLOURS[objective.verdict]),
        )
    return table


def _value(metric: Metric | None, *, doubtful: bool) -> str:
    """A value and its interval, marked where it counts for nothing; empty where there is none."""
    if metric is None:
        return ""
    value, bracket, ends = with_interval(metric).partition(" (")
    return value + certainty.MARK * doubtful + bracket + ends


def _compared(one: Comparison, between: str) -> Table:
    table = _table(between)
    table.add_column("metric")
    for name in (one.first, one.second, "change"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("finding")
    for row in one.rows:
        cells = (with_interval(row.first), with_interval(row.second), row.change)
        finding = Text(row.finding, style=_FOUND[row.difference.real])
        table.add_row(one.name_of(row), *(_parted(cell, between) for cell in cells), finding)
    return table


def _heading(text: str) -> Text:
    return Text(text, style="bold")


def _table(between: str = " ") -> Table:
    gap = 1 if between == " " else 0  # beside the column that the box keeps free
    return Table(header_style="bold", box=box.SIMPLE_HEAD, show_edge=False, padding=(0, gap, 0, 0))


def _parted(text: str, between: str) -> str:
    return text.replace(" (", f"{between}(")


def _grouped(records: Iterable[Record]) -> dict[tuple[str, str], list[Record]]:
    groups: dict[tuple[str, str], list[Record]] = {}
    for record in records:
        groups.setdefault((record.benchmark, record.device), []).append(record)
    return groups
