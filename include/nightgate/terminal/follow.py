"""Follow a run: one line per task with its state, how far it is and elapsed time, live in a terminal, as plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime

from rich.console import Console
from rich.live import Live
from rich.table import Table

from nightgate.stack.client import AirflowClient, TaskInstance

AtWork = Callable[[], Mapping[str, str]]
"""Asked for what the tasks at work are at: task id → words."""

_POLL = 1.0
_SAID_AGAIN = 10.0  # seconds between two lines of one task where lines stay
_FINAL = {"success", "failed"}
_MARKS = {
    "success": ("✔", "green"),
    "failed": ("✘", "red"),
    "upstream_failed": ("✘", "dim red"),
    "running": ("▶", "cyan"),
    "up_for_retry": ("↻", "yellow"),
}
_QUIET = {None, "none", "scheduled", "queued", "skipped"}


def follow(
    client: AirflowClient, run_id: str, console: Console, check: Callable[[], None], at_work: AtWork = dict
) -> list[TaskInstance]:
    """Block until the run ends; returns its tasks. ``check`` raises when the stack behind it has died."""
    start = time.monotonic()
    lines = _Lines(console)
    with Live(console=console, auto_refresh=False, transient=True) as live:
        while True:
            check()
            over = client.run_state(run_id) in _FINAL  # asked first: what a run that is over says of its tasks is final
            tasks = sorted(client.tasks(run_id), key=_order)
            words = {} if over else at_work()
            if console.is_terminal:
                live.update(_table(tasks, time.monotonic() - start, words), refresh=True)
            else:
                lines.show(tasks, time.monotonic() - start, words)
            if over:
                break
            time.sleep(_POLL)
    if console.is_terminal:
        console.print(_table(tasks, time.monotonic() - start, {}))
    elif skipped := _skipped(tasks):
        console.print(f"{time.monotonic() - start:7.1f} s  {skipped}", highlight=False, soft_wrap=True)
    return tasks


def busy_seconds(tasks: list[TaskInstance]) -> float:
    """How long at least one benchmark was preparing, measuring or confirming; what overlaps counts once."""
    busy, until = 0.0, 0.0
    for start, end in sorted(
        (_time(task["start_date"]), _time(task["end_date"]))
        for task in tasks
        if task["task_id"].endswith((".prepare", ".measure", ".confirm"))
        and task["start_date"]
        and task["end_date"]
        and task["state"] != "skipped"
    ):
        busy += max(0.0, end - max(start, until))
        until = max(until, end)
    return busy


class _Lines:
    """A line for each thing that is new, where lines stay."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._states: dict[str, tuple[str | None, int]] = {}
        self._said: dict[str, tuple[float, str]] = {}

    def show(self, tasks: Sequence[TaskInstance], elapsed: float, words: Mapping[str, str]) -> None:
        for task in tasks:
            name, state = task["task_id"], (task["state"], task["try_number"])
            if task["state"] not in _QUIET and self._states.get(name) != state:
                self._states[name] = state
                self._print(
                    elapsed, name, f"{task['state']}" + ("" if task["state"] == "running" else f" {_seconds(task)}")
                )
            at, before = self._said.get(name, (elapsed, ""))
            self._said.setdefault(name, (elapsed, ""))
            if name in words and words[name] != before and elapsed >= at + _SAID_AGAIN:
                self._said[name] = (elapsed, words[name])
                self._print(elapsed, name, words[name])

    def _print(self, elapsed: float, name: str, text: str) -> None:
        self._console.print(f"{elapsed:7.1f} s  {name}  {text}", highlight=False, soft_wrap=True)


def _time(timestamp: str) -> float:
    return datetime.fromisoformat(timestamp.replace("Z", "+00:00")).timestamp()


def _order(task: TaskInstance) -> tuple[bool, str, str]:
    return (task["start_date"] is None, task["start_date"] or "", task["task_id"])


def _table(tasks: Sequence[TaskInstance], elapsed: float, words: Mapping[str, str]) -> Table:
    skipped = _skipped(tasks)
    table = Table(
        box=None,
        pad_edge=False,
        title=f"{elapsed:.0f} s",
        title_justify="left",
        title_style="bold",
        caption=skipped or None,
        caption_justify="left",
    )
    for name in ("", "task", "state", "elapsed", ""):
        table.add_column(name, justify="right" if name == "elapsed" else "left")
    for task in tasks:
        if task["state"] == "skipped":
            continue
        mark, style = _MARKS.get(task["state"] or "", ("·", "dim"))
        said = words.get(task["task_id"], "") if task["state"] == "running" else ""
        table.add_row(mark, task["task_id"], task["state"] or "waiting", _seconds(task), said, style=style)
    return table


def _skipped(tasks: Sequence[TaskInstance]) -> str:
    """What was skipped in one line: of a benchmark on a device only that, where all of it was."""
    states: dict[str, list[TaskInstance]] = {}
    for task in tasks:
        states.setdefault(task["task_id"].rpartition(".")[0] or task["task_id"], []).append(task)
    names: list[str] = []
    for group, of in sorted(states.items()):
        left = [task["task_id"] for task in of if task["state"] == "skipped"]
        names += [group] if len(left) == len(of) else left
    return f"skipped: {', '.join(names)}" if names else ""


def _seconds(task: TaskInstance) -> str:
    if not task["start_date"] or task["state"] == "upstream_failed":
        return ""
    end = _time(task["end_date"]) if task["end_date"] else datetime.now(UTC).timestamp()
    return f"{end - _time(task['start_date']):.1f} s"
