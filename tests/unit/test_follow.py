"""What the progress of a run adds up to."""

from __future__ import annotations

from nightgate.terminal.follow import busy_seconds


def task(name, start, end):
    return {
        "task_id": name,
        "start_date": start and f"2026-01-01T00:00:{start}Z",
        "end_date": end and f"2026-01-01T00:00:{end}Z",
    }


def test_overlapping_work_counts_once_and_other_tasks_do_not_count():
    tasks = [
        task("preflight", "00", "05"),
        task("a.cpu.prepare", "05", "15"),
        task("b.cpu.prepare", "10", "12"),
        task("a.cpu.measure", "20", "25"),
        task("a.cpu.gate", "25", "40"),
        task("c.gpu.measure", None, None),
    ]
    assert busy_seconds(tasks) == 15
