"""What is at work in the runs that are not over: the store keeps a row for each step that prepares, measures or confirms."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from nightgate.measure.durations import human
from nightgate.progress import Progress
from nightgate.results import queries

if TYPE_CHECKING:
    from nightgate.record import Standing
    from nightgate.results.store import Run, Store

Night = Sequence[tuple[str, str, float, float]]
"""Benchmark, device, and the seconds that preparing and measuring it will take."""

_SILENT = (
    180.0  # seconds without a word after which a step may be gone: a process that is killed takes its row not along
)

_SAY = """
INSERT INTO nightgate.under_way (run_id, benchmark, device, step, host, stage, seconds, expected, night)
VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s::jsonb)
ON CONFLICT (run_id, benchmark, device) DO UPDATE SET step = excluded.step, host = excluded.host, stage = excluded.stage,
    seconds = excluded.seconds, expected = excluded.expected, night = excluded.night, told_at = clock_timestamp()
"""
_OVER = "DELETE FROM nightgate.under_way WHERE (run_id, benchmark, device) = (%s, %s, %s)"
_OF = """
SELECT run_id, benchmark, device, step, host, stage, seconds, expected, night, extract(epoch FROM clock_timestamp() - told_at)::float8
FROM nightgate.under_way WHERE run_id = ANY(%s) ORDER BY run_id, step = 'prepare', benchmark, device
"""


@dataclass(frozen=True)
class AtWork:
    """A step as it was last heard of, ``silent`` seconds ago."""

    run_id: str
    benchmark: str
    device: str
    step: str
    host: str
    progress: Progress
    night: Night
    silent: float

    @property
    def task_id(self) -> str:
        """Of the task in Airflow."""
        return f"{self.benchmark}.{self.device}.{self.step}"

    @property
    def words(self) -> str:
        """What it is at, and how long it will take: "process 2 of 4; about 40 s left"."""
        if self.silent > _SILENT:
            return f"nothing was heard of it for {human(self.silent)}"
        return "; ".join(filter(None, (self.progress.stage, left_text(self._now()))))

    def _now(self) -> Progress:
        """As it is by now."""
        return Progress(self.progress.stage, self.progress.seconds + self.silent, self.progress.expected)

    @property
    def left(self) -> float:
        return self._now().left or 0.0


def say(
    store: Store,
    run: tuple[str, str, str, str, Standing, str | None],
    benchmark: str,
    device: str,
    step: str,
    host: str,
    progress: Progress,
    night: Night,
) -> None:
    """Keep how far a step is; the run appears with it.

    Args:
        run: id, DAG, suite, scale, standing, and its overrides as JSON.
    """
    row = (
        run[0],
        benchmark,
        device,
        step,
        host,
        progress.stage,
        progress.seconds,
        progress.expected,
        json.dumps(night),
    )
    with store.writing() as connection:
        connection.execute(queries.INSERT_RUN, run)
        connection.execute(_SAY, row)


def over(store: Store, run_id: str, benchmark: str, device: str) -> None:
    """A step has ended."""
    with store.writing() as connection:
        connection.execute(_OVER, (run_id, benchmark, device))


def of_runs(store: Store, run_ids: Iterable[str]) -> dict[str, list[AtWork]]:
    """What is at work in these runs, what measures before what prepares."""
    found: dict[str, list[AtWork]] = {}
    for run_id, benchmark, device, step, host, *told, night, silent in store.rows(_OF, (list(run_ids),)):
        one = AtWork(run_id, benchmark, device, step, host, Progress(*told), night, silent)
        found.setdefault(run_id, []).append(one)
    return found


def left_of(run: Run, at_work: Sequence[AtWork]) -> float | None:
    """About how many seconds a run still takes; None where nobody knows. Measurements follow each other, and what is prepared
    beside them takes no time of its own."""
    if not at_work or any(one.silent > _SILENT for one in at_work):
        return None
    measured = {(record.benchmark, record.device) for record in run.results}
    busy = {(one.benchmark, one.device): one for one in at_work}
    left = 0.0
    for benchmark, device, _, measuring in at_work[0].night:
        one = busy.get((benchmark, device))
        if one and one.step != "prepare":
            left += one.left
        elif (benchmark, device) not in measured:
            left += measuring
    if all(one.step == "prepare" for one in at_work):
        left += max(one.left for one in at_work)
    return left


def left_text(progress: Progress) -> str:
    """How long a step still takes, in words; empty where nobody knows."""
    if progress.left is None:
        return f"for {human(progress.seconds)} so far"
    if not progress.left:
        return f"longer than the {human(progress.expected or 0.0)} that it was expected to take"
    return f"about {human(progress.left)} left"
