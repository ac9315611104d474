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


class Scripted:
    """Airflow and the store at each look: the tasks by id, with their state."""

    def __init__(self, *looks):
        self.looks, self.place = looks, -1

    def run_state(self, run_id):
        self.place += 1
        return "success" if self.place == len(self.looks) - 1 else "running"

    def tasks(self, run_id):
        states = self.looks[self.place][0]
        return [task(name, "00", "05", state) | {"try_number": 1} for name, state in states.items()]

    def at_work(self):
        return self.looks[self.place][1]


def followed(monkeypatch, *looks, every=6.0):
    """What `follow` prints where lines stay; ``every``: seconds between two looks."""
    seconds = [0.0]
    monkeypatch.setattr(following.time, "monotonic", lambda: seconds[0])
    monkeypatch.setattr(following.time, "sleep", lambda _: seconds.__setitem__(0, seconds[0] + every))
    airflow, screen = Scripted(*looks), io.StringIO()
    follow(airflow, "a", Console(file=screen, width=300), lambda: None, airflow.at_work)
    return screen.getvalue().splitlines()


def test_where_lines_stay_each_says_one_thing_and_what_is_skipped_is_one_line(monkeypatch):
    gone = {"x.gpu.prepare": "skipped", "x.gpu.gate": "skipped", "x.cpu.confirm": "skipped"}
    lines = followed(
        monkeypatch,
        ({"x.cpu.measure": "running", **gone}, {"x.cpu.measure": "process 1 of 2; about 40 s left"}),
        ({"x.cpu.measure": "running", **gone}, {"x.cpu.measure": "process 1 of 2; about 34 s left"}),
        ({"x.cpu.measure": "running", **gone}, {"x.cpu.measure": "process 2 of 2; about 28 s left"}),
        ({"x.cpu.measure": "running", **gone}, {"x.cpu.measure": "process 2 of 2; about 22 s left"}),
        ({"x.cpu.measure": "success", **gone}, {}),
    )
    assert lines == [
        "    0.0 s  x.cpu.measure  running",
        "   12.0 s  x.cpu.measure  process 2 of 2; about 28 s left",
        "   24.0 s  x.cpu.measure  success 5.0 s",
        "   24.0 s  skipped: x.cpu.confirm, x.gpu",
    ]


def test_a_live_table_says_what_a_task_is_at_and_folds_what_is_skipped():
    tasks = [
        task("x.cpu.measure", "00", None, "running"),
        task("x.cpu.prepare", "00", "05"),
        task("x.gpu.gate", None, None, "skipped"),
    ]
    screen = io.StringIO()
    words = {"x.cpu.measure": "process 1 of 2; about 40 s left", "x.cpu.prepare": "of before"}
    Console(file=screen, width=120).print(following._table(tasks, 7.0, words))
    text = screen.getvalue()
    assert "process 1 of 2; about 40 s left" in text
    assert "of before" not in text
    assert "skipped: x.gpu" in text
    assert "x.gpu.gate" not in text
