"""Follow a run: one line per task with its state and elapsed time, live in a terminal, as plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table

from nightgate.stack.client import AirflowClient, TaskInstance

_POLL = 1.0
_FINAL = {"success", "failed"}
_MARKS = {
    "success": ("✔", "green"), "failed": ("✘", "red"), "upstream_failed": ("✘", "dim red"), "skipped": ("–", "dim"),
    "running": ("▶", "cyan"), "up_for_retry": ("↻", "yellow"),
}  # fmt: skip
_QUIET = {None, "none", "scheduled", "queued"}


def follow(client: AirflowClient, run_id: str, console: Console, check: Callable[[], None]) -> list[TaskInstance]:
    """Block until the run ends; returns its tasks. ``check`` raises when the stack behind it has died."""
    start = time.monotonic()
    shown: dict[str, Any] = {}
    with Live(console=console, auto_refresh=False, transient=True) as live:
        while True:
            check()
            over = client.run_state(run_id) in _FINAL  # asked first: what a run that is over says of its tasks is final
            tasks = sorted(client.tasks(run_id), key=_order)
            if console.is_terminal:
                live.update(_table(tasks, time.monotonic() - start), refresh=True)
            else:
                _print_changes(tasks, shown, console, time.monotonic() - start)
            if over:
                break
            time.sleep(_POLL)
    if console.is_terminal:
        console.print(_table(tasks, time.monotonic() - start))
    return tasks


def busy_seconds(tasks: list[TaskInstance]) -> float:
    """How long at least one benchmark was preparing, measuring or confirming; what overlaps counts once."""
    busy, until = 0.0, 0.0
    for start, end in sorted(
        (_time(task["start_date"]), _time(task["end_date"]))
        for task in tasks
        if task["task_id"].endswith((".prepare", ".measure", ".confirm")) and task["start_date"] and task["end_date"]
        and task["state"] != "skipped"
    ):  # fmt: skip
        busy += max(0.0, end - max(start, until))
        until = max(until, end)
    return busy


def _time(timestamp: str) -> float:
    return datetime.fromisoformat(timestamp.replace("Z", "+00:00")).timestamp()


def _order(task: TaskInstance) -> tuple[bool, str, str]:
    return (task["start_date"] is None, task["start_date"] or "", task["task_id"])


def _table(tasks: list[TaskInstance], elapsed: float) -> Table:
    table = Table(box=None, pad_edge=False, title=f"{elapsed:.0f} s", title_justify="left", title_style="bold")
    for name in ("", "task", "state", "elapsed"):
        table.add_column(name, justify="right" if name == "elapsed" else "left")
    for task in tasks:
        mark, style = _MARKS.get(task["state"] or "", ("·", "dim"))
        table.add_row(mark, task["task_id"], task["state"] or "waiting", _seconds(task), style=style)
    return table


def _print_changes(tasks: list[TaskInstance], shown: dict[str, Any], console: Console, elapsed: float) -> None:
    for task in tasks:
        state = (task["state"], task["try_number"])
        if task["state"] not in _QUIET and shown.get(task["task_id"]) != state:
            shown[task["task_id"]] = state
            took = "" if task["state"] == "running" else f" {_seconds(task)}"
            console.print(f"{elapsed:7.1f} s  {task['task_id']}  {task['state']}{took}", highlight=False)


def _seconds(task: TaskInstance) -> str:
    if not task["start_date"] or task["state"] == "upstream_failed":
        return ""
    end = _time(task["end_date"]) if task["end_date"] else datetime.now(UTC).timestamp()
    return f"{end - _time(task['start_date']):.1f} s"
