"""What stands above the report of a run on the board: its neighbours, what changed since the last good night, and the command
that repeats it. Without a report, what is known of the run so far."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote

from nightgate.measure import durations
from nightgate.publish import sentences
from nightgate.record import BY_HAND, DAG_ID, Record
from nightgate.results import under_way
from nightgate.results.store import Run, Store
from nightgate.series import annotations_of
from nightgate.web import compare
from nightgate.web.board import host_of, step_text, unjudged
from nightgate.web.objectives import TrackedObjective, other_versions, sentence, tracked

_KEYS = {"benchmarks": "--benchmarks", "devices": "--devices"}
"""What a run did otherwise that has an option of its own."""


@dataclass(frozen=True)
class AboveReport:
    """``rows`` are the objectives that do not hold, ``changed`` what became another since the night ``good``, a line each;
    ``airflow`` is the address of the run in Airflow, from the board's. ``at_work``: what its steps are at, a line each. ``compared`` and
    ``variants`` are where it is held against ``good``, and its variants against each other."""

    run: Run
    state: str
    host: str
    headline: str
    sentence: str
    rows: list[TrackedObjective]
    good: str | None
    changed: list[str]
    command: str
    previous: str | None
    following: str | None
    airflow: str | None
    at_work: list[str]
    compared: str | None
    variants: str | None


def above(store: Store, run_id: str) -> AboveReport | None:
    """Of a run that the store knows; else None."""
    with store.together():
        run = store.run(run_id)
        if run is None:
            return None
        rows = tracked(run, store)
        previous, following = store.beside(run)
        good = next((row.good.run_id for row in rows if row.good), None)
        before = store.run(good) if good else None
        busy = [] if run.state else under_way.of_runs(store, [run_id]).get(run_id, [])
        left = under_way.left_of(run, busy)
    several = len({(one.benchmark, one.device) for one in run.results}) < len(run.results)
    return AboveReport(
        run=run,
        state=run.state or unjudged(run),
        host=host_of(run),
        headline=sentences.headline(str(run.state), [row.now for row in rows]) if run.state else "It is not judged yet",
        sentence=sentence(rows),
        rows=[row for row in rows if row.now["verdict"] != "pass"],
        good=good,
        changed=_changed(before.results, run.results) if before else [],
        command=_command(run),
        previous=previous,
        following=following,
        airflow=_in_airflow(run),
        compared=compare.of_runs(good, run_id) if good and run.state else None,
        variants=compare.of_runs(run_id, run_id) if several and run.state else None,
        at_work=[*map(step_text, busy), *([] if left is None else [f"about {durations.human(left)} left in all"])],
    )


def _changed(before: Sequence[Record], now: Sequence[Record]) -> list[str]:
    """What annotates the records of two runs and is not the same, once each: "faiss 1.14.0 → 1.15.0"."""
    earlier = {(record.benchmark, record.variant, record.device): annotations_of(record) for record in before}
    found: dict[str, None] = {}
    for record in now:
        known = earlier.get((record.benchmark, record.variant, record.device), {})
        found |= dict.fromkeys(other_versions(known, annotations_of(record)))
    return list(found)


def _command(run: Run) -> str:
    """What repeats the run in a terminal, with every value that was not the suite's."""
    by_hand = run.dag_id == BY_HAND and bool(run.results)
    one = ["measure", run.results[0].benchmark, "--device", run.results[0].device] if by_hand else ["run"]
    words = ["nightgate", *one, "--scale", run.scale]
    for path, value in (run.overrides or {}).items():
        if by_hand and path in _KEYS:
            continue  # it measures the one that it names
        if path in _KEYS and isinstance(value, list):
            words += [_KEYS[path], ",".join(map(str, value))]
        elif path == "require_gpu":
            words.append("--require-gpu")
        else:
            words += ["--set", f"{path}={value if isinstance(value, str) else json.dumps(value)}"]
    return shlex.join(words)


def _in_airflow(run: Run) -> str | None:
    if run.dag_id == BY_HAND:
        return None
    run_id = run.run_id if run.dag_id == DAG_ID else run.run_id.removeprefix(f"{run.dag_id}.")
    return f"../dags/{quote(run.dag_id, safe='')}/runs/{quote(run_id, safe='')}"
