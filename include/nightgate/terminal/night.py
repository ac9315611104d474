"""One run of the nightly DAG from the terminal: through a stack of its own, or through one that is already up."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

from rich.console import Console

from nightgate import paths, progress, steps
from nightgate.errors import EXIT_NOT_MEASURED, EXIT_PASS, InputError, NightgateError, NotMeasured
from nightgate.measure.devices import gpu
from nightgate.record import DAG_ID, Summary
from nightgate.results import files, under_way
from nightgate.results.store import Store
from nightgate.stack import airflow, supervisor
from nightgate.stack.client import AirflowClient
from nightgate.stack.lock import StackLock
from nightgate.stack.stack import Stack
from nightgate.terminal import ends_like_ctrl_c
from nightgate.terminal.follow import AtWork, busy_seconds, follow
from nightgate.terminal.tables import EXIT_OF_STATE


def run_night(
    scale: str, only: list[str], devices: list[str], overrides: dict[str, Any], require_gpu: bool, console: Console
) -> tuple[Summary, int]:
    """Run the DAG once and wait for it; returns its summary and the exit code.

    Bad input is refused before anything starts. An interrupted run is closed: what it measured is kept.
    """
    run_id = steps.new_run_id(scale)
    plan = steps.preflight(
        run_id, dag_id=DAG_ID, scale=scale, only=only, devices=devices, overrides=overrides, require_gpu=require_gpu
    )
    if require_gpu and gpu() is None:
        # only here: with workers on other hosts it is not this one that must have the device
        raise InputError("a GPU is required and this host has no NVIDIA device", "run it where there is one")
    conf: dict[str, Any] = {"scale": scale, "require_gpu": require_gpu, "set": _checked(overrides, plan)}
    conf |= {key: value for key, value in (("benchmarks", only), ("devices", devices)) if value}
    start = time.monotonic()
    with ends_like_ctrl_c(signal.SIGTERM), _stack(console) as (client, results_url, check):
        console.print(f"run {run_id}, ready after {time.monotonic() - start:.1f} s", highlight=False)
        client.trigger(run_id, conf)
        try:
            tasks = follow(client, run_id, console, check, _at_work(Store(results_url), run_id))
        except BaseException as error:
            _close(client, plan, results_url, console, error)
            raise
    total, busy = time.monotonic() - start, busy_seconds(tasks)
    console.print(
        f"{total:.1f} s in all: {busy:.1f} s preparing and measuring, {total - busy:.1f} s for everything around it",
        highlight=False,
    )
    return _result(run_id, {task["task_id"]: task["state"] or "none" for task in tasks})


def _checked(overrides: dict[str, Any], plan: steps.Plan) -> dict[str, Any]:
    """The overrides with their checked values: a relative path means this shell's folder, not a worker's."""
    checked = {}
    for path, value in overrides.items():
        benchmark, _, key = path.partition(".")
        checked[path] = plan.settings.get(benchmark, {}).get(key, value)
    return checked


def _result(run_id: str, states: dict[str, str]) -> tuple[Summary, int]:
    if not (paths.run_dir(run_id) / "summary.json").exists():
        broken = ", ".join(sorted(task for task, state in states.items() if state == "failed")) or "no task"
        raise NotMeasured(
            f"the run {run_id} left no summary; failed: {broken}", f"read {paths.home() / 'airflow/logs'}"
        )
    summary = files.read_summary(run_id)
    code = EXIT_OF_STATE.get(summary.state, EXIT_NOT_MEASURED)
    if code == EXIT_PASS and states.get("verdict") != "success":  # it is also the state of the run in Airflow
        code = EXIT_NOT_MEASURED
    return summary, code


@contextmanager
def _stack(console: Console) -> Iterator[tuple[AirflowClient, str, Any]]:
    """The stack that `nightgate up` left running, or one for this run alone."""
    home = paths.home()
    running = StackLock(home).holder()
    if running and running.get("purpose") == "up" and running.get("ready"):
        supervisor.check_suite(running)
        console.print(f"using the stack that is up at {running['url']}", highlight=False)
        client = AirflowClient(running["url"], running["user"], airflow.password(home))
        yield client, running["results_url"], lambda: None
        return
    with Stack(home, "run", say=lambda line: console.print(line, highlight=False)) as stack:
        assert stack.client
        yield stack.client, stack.results_url, stack.check
        console.print("stopping", highlight=False)


def _at_work(store: Store, run_id: str) -> AtWork:
    """Asks the store now and then what the tasks are at; nothing while it does not answer."""
    known: dict[str, str] = {}
    asked = float("-inf")

    def words() -> dict[str, str]:
        nonlocal asked, known
        if time.monotonic() >= asked + progress.EVERY:
            asked, known = time.monotonic(), {}
            with suppress(NightgateError):
                known = {one.task_id: one.words for one in under_way.of_runs(store, [run_id]).get(run_id, ())}
        return known

    return words


def _close(client: AirflowClient, plan: steps.Plan, results_url: str, console: Console, error: BaseException) -> None:
    """End an interrupted run in Airflow and write its summary, so that what was measured is not lost."""
    word = "interrupted" if isinstance(error, KeyboardInterrupt) else "broken off"
    console.print(f"{word}; keeping what was measured and stopping", highlight=False)
    with suppress(NightgateError):  # the stack may be gone; the files are what counts
        client.fail_run(plan.run_id)
    try:
        steps.report(plan, results_url)
    except NightgateError:
        steps.report(plan, None)
