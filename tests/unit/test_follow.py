"""What the progress of a run adds up to."""

from __future__ import annotations

import io

from rich.console import Console

from nightgate.terminal import follow as following
from nightgate.terminal.follow import busy_seconds, follow


def task(name, start, end, state="success"):
    return {
        "task_id": name,
        "start_date": start and f"2026-01-01T00:00:{start}Z",
        "end_date": end and f"2026-01-01T00:00:{end}Z",
        "state": state,
    }


def test_overlapping_work_counts_once_and_other_tasks_do_not_count():
    tasks = [
        task("preflight", "00", "05"),
        task("a.cpu.prepare", "05", "15"),
        task("b.cpu.prepare", "10", "12"),
        task("a.cpu.measure", "20", "25"),
        task("a.cpu.gate", "25", "40"),
        task("a.cpu.confirm", "41", "44"),
        task("b.cpu.confirm", "45", "47", "skipped"),
        task("c.gpu.measure", None, None),
    ]
    assert busy_seconds(tasks) == 18


def test_the_states_it_returns_are_those_after_the_end(monkeypatch):
    """The exit code is read from them: a verdict that is seen while it still runs would be none."""
    monkeypatch.setattr(following.time, "sleep", lambda _: None)

    class Airflow:
        """Ends between any two questions."""

        asked = 0

        def run_state(self, run_id):
            self.asked += 1
            return "success" if self.asked > 3 else "running"

        def tasks(self, run_id):
            self.asked += 1
            state = "success" if self.asked > 3 else "running"
            return [{"task_id": "verdict", "state": state, "start_date": None, "end_date": None, "try_number": 1}]

    (found,) = follow(Airflow(), "a", Console(file=io.StringIO()), lambda: None)
    assert found["state"] == "success"
