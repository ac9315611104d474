"""Verdicts and runs as tables, and the last line that says what the exit code means."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from rich.table import Table
from rich.text import Text

from nightgate.errors import EXIT_BREACH, EXIT_INPUT, EXIT_NOT_MEASURED, EXIT_PASS
from nightgate.publish.figures import human, interval, limit_text
from nightgate.record import Metric, Record, Summary

_COLOURS = {"pass": "green", "breach": "bold red", "inconclusive": "yellow", "invalid": "magenta"}
_HEADLINES = {
    "recall_at_100", "recall_at_5", "latency_p95", "xrt", "wer",
}  # fmt: skip

MEANING = {
    EXIT_PASS: "all objectives hold",
    EXIT_BREACH: "an objective is breached",
    EXIT_INPUT: "bad input, nothing was started",
    EXIT_NOT_MEASURED: "could not measure everything",
}

EXIT_OF_STATE = {"pass": EXIT_PASS, "breach": EXIT_BREACH}
"""The exit code of a run's state; every other state is `EXIT_NOT_MEASURED`."""


def verdicts(records: Iterable[Record]) -> Table:
    """One row per objective, then the headline figures of the controls and what was skipped or failed."""
    table = Table(header_style="bold", pad_edge=False)
    for name in ("benchmark", "variant", "device", "metric", "value", "95 % interval", "objective", "verdict"):
        table.add_column(name, justify="right" if name in ("value", "95 % interval", "objective") else "left")
    without_numbers: dict[tuple[str, str, str, str], list[str]] = {}
    for record in records:
        who = (record.benchmark, record.variant, record.device)
        judged = {objective.metric: objective for objective in record.objectives}
        if record.status != "measured" and not judged:
            key = (record.benchmark, record.device, record.status, record.reason or "")
            without_numbers.setdefault(key, []).append(record.variant)
            continue
        for name, metric in record.metrics.items():
            objective = judged.get(name)
            if objective is None and name not in _HEADLINES:
                continue
            value, bounds = human(metric.value, metric.unit), interval(metric) or ""
            if objective is None:
                table.add_row(*who, name, value, bounds, "", Text("reported", style="dim"))
            else:
                verdict = Text(objective.verdict, style=_COLOURS[objective.verdict])
                table.add_row(*who, name, value, bounds, limit_text(objective), verdict)
        for objective in record.objectives:
            if objective.metric not in record.metrics:
                verdict = Text(f"{objective.verdict}: {objective.reason}", style=_COLOURS[objective.verdict])
                table.add_row(*who, objective.metric, "", "", limit_text(objective), verdict)
    for (benchmark, device, status, reason), variants in without_numbers.items():
        table.add_row(benchmark, ", ".join(variants), device, "", "", "", "", Text(f"{status}: {reason}", style="dim"))
    return table


def runs(summaries: Iterable[tuple[Path, Summary]]) -> Table:
    """One row per run."""
    table = Table(header_style="bold", pad_edge=False)
    for name in ("run", "scale", "state", "finished", "host", "report"):
        table.add_column(name)
    for folder, summary in summaries:
        state = Text(summary.state, style=_COLOURS[summary.state])
        report = str(folder / "report.html")
        table.add_row(summary.run_id, summary.scale, state, summary.finished_at, summary.host.fingerprint, report)
    return table


def compared(before: Summary, after: Summary) -> Table:
    """Every metric that both runs have, with the ratio and whether the intervals are apart."""
    table = Table(header_style="bold", pad_edge=False)
    for name in ("benchmark", "variant", "device", "metric", "before", "after", "after / before", "difference"):
        table.add_column(name, justify="right" if name in ("before", "after", "after / before") else "left")
    old = {(r.benchmark, r.variant, r.device): r for r in before.results}
    same_host = before.host.fingerprint == after.host.fingerprint
    for record in after.results:
        key = (record.benchmark, record.variant, record.device)
        for name, now in record.metrics.items():
            then = old[key].metrics.get(name) if key in old else None
            if then is None:
                continue
            ratio = f"{now.value / then.value:.3f}" if then.value else ""
            table.add_row(
                *key, name, human(then.value, then.unit), human(now.value, now.unit), ratio, _apart(then, now)
            )
    if not same_host:
        table.caption = "Different hosts: speeds cannot be compared, recall and error rates can."
    return table


def _apart(then: Metric, now: Metric) -> Text:
    if then.ci95 is None or now.ci95 is None:
        return Text("no interval", style="dim")
    if now.ci95[0] > then.ci95[1]:
        return Text("higher", style="bold")
    return Text("lower", style="bold") if now.ci95[1] < then.ci95[0] else Text("within the noise", style="dim")


def last_line(code: int) -> str:
    return f"nightgate: exit code {code}: {MEANING[code]}"
