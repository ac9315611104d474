"""What the commands of `nightgate` do; `nightgate.cli` has their arguments, and imports this when one is called."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from json import dumps
from pathlib import Path
from typing import NoReturn

import typer
from rich.console import Console

from nightgate import paths, registry, steps, terminal
from nightgate.artifacts import Cache
from nightgate.errors import EXIT_BREACH, EXIT_NOT_MEASURED, InputError, NightgateError, Unavailable
from nightgate.publish.absent import skips
from nightgate.publish.comparing import as_json, compare
from nightgate.publish.figures import human
from nightgate.publish.pairs import pairs, two_variants
from nightgate.record import Record, Summary
from nightgate.results import files
from nightgate.suite import parse_overrides
from nightgate.terminal import stored, tables

out = terminal.console()
err = terminal.console(stderr=True)


def run(
    scale: str,
    benchmarks_: str,
    devices: str,
    require_gpu: bool,
    suite: Path | None,
    set_: list[str] | None,
    json: bool,
) -> None:
    paths.use_suite(suite)
    from nightgate.terminal.night import run_night

    screen = err if json else out
    summary, code = run_night(
        scale, _names(benchmarks_), _names(devices), parse_overrides(set_ or []), require_gpu, screen
    )
    _show(summary.results, screen)
    _report_line(summary.run_id, screen)
    if json:
        print(summary.model_dump_json(indent=1))
    _finish(code, screen, summary)


def measure(
    benchmark: str,
    scale: str,
    device: str,
    variant: str,
    confirm: bool,
    suite: Path | None,
    set_: list[str] | None,
    json: bool,
) -> None:
    paths.use_suite(suite)
    screen = err if json else out
    terminal.log_to(err)
    overrides = parse_overrides(set_ or [])
    if variant:
        only = registry.named(benchmark).settings.only(variant)
        alone = {f"{benchmark}.{key}": names for key, names in only.items()}
        if twice := alone.keys() & overrides.keys():
            raise InputError(f"--variant and --set {min(twice)} say the same twice", "keep one of them")
        overrides |= alone
    run_id = steps.new_run_id(f"measure-{benchmark}")
    plan = steps.preflight(
        run_id,
        dag_id=steps.BY_HAND,
        scale=scale,
        only=[benchmark],
        devices=[device],
        overrides=overrides,
        confirm=confirm,
    )
    with terminal.ends_like_ctrl_c(signal.SIGTERM, signal.SIGHUP), servers(benchmark):
        try:
            for name, chosen in plan.work:  # one benchmark on one device
                steps.measure(plan, name, chosen, steps.prepare(plan, name, chosen))
        except InputError:
            shutil.rmtree(paths.run_dir(run_id), ignore_errors=True)
            raise
        except NightgateError as error:
            err.print(str(error), style="red", highlight=False, soft_wrap=True)
        else:
            if plan.confirm:
                _confirm(plan)
        summary = steps.report(plan, None)
    _show(summary.results, screen)
    _report_line(summary.run_id, screen)
    if json:
        print("[" + ",\n".join(record.model_dump_json() for record in summary.results) + "]")
    _finish(tables.EXIT_OF_STATE.get(summary.state, EXIT_NOT_MEASURED), screen, summary)


def up(port: int | None, suite: Path | None) -> None:
    from nightgate.stack import airflow, supervisor

    paths.use_suite(suite)
    paths.check_environment()
    home = paths.home()
    state = supervisor.up(home, port)
    out.print(
        f"Airflow is up: {state['url']}  user {state['user']}  password {airflow.password(home)}", highlight=False
    )
    out.print(
        f"to look only: user {airflow.VIEWER}  password {airflow.password(home, airflow.VIEWER)}", highlight=False
    )
    out.print(
        f"board: {state['url']}/nightgate/ · metrics: {state['url']}/nightgate/metrics · "
        "the nightly of the shipped DAG runs at 02:00 UTC · stop it with `nightgate down`",
        highlight=False,
    )


def down() -> None:
    from nightgate.stack import supervisor

    out.print("stopped" if supervisor.down(paths.home()) else "nothing was up")


def results_list(limit: int, json: bool) -> None:
    folders = sorted(paths.runs_dir().glob("*/summary.json"), key=lambda file: -file.stat().st_mtime)[:limit]
    readable = []
    for folder in (file.parent for file in folders):
        try:
            readable.append(files.read_summary(folder.name))
        except NightgateError as error:  # of one run, which hides no other
            err.print(str(error), style="red", highlight=False)
    if json:
        print(tables.runs_as_json(readable))
    else:
        out.print(tables.runs(readable))
        _notes(readable)


def results_show(run_id: str, json: bool) -> None:
    summary = files.read_summary(run_id)
    if json:
        print(summary.model_dump_json(indent=1))
    else:
        _show(summary.results, out)
        _notes([summary])


def results_compare(
    run_: str, after: str, variants: str, benchmark: str, device: str, anyway: bool, json: bool
) -> None:
    chosen = two_variants(variants)
    if not after and (not chosen or chosen[0] == chosen[1]):
        raise InputError("one run is compared with nothing", "give a second run, or --variants A,B")
    first = files.read_summary(run_)
    second = files.read_summary(after) if after else first
    comparisons = [
        compare((a, first), (b, second), anyway=anyway) for a, b in pairs(first, second, chosen, benchmark, device)
    ]
    if json:
        print(as_json(comparisons))
    else:
        out.print(tables.compared(comparisons))


def results_recount(run_: str, dataset: Path | None, queries_file: Path | None, json: bool) -> None:
    from nightgate.results.recount import recount
    from nightgate.terminal import recounted

    recalls = recount(files.read_summary(run_), dataset, queries_file)
    if json:
        print(recounted.as_json(recalls))
    else:
        out.print(recounted.table(recalls))
    (err if json else out).print(recounted.sentence(recalls), highlight=False)
    raise typer.Exit(0 if all(one.agrees for one in recalls) else EXIT_BREACH)


def dashboards_check() -> None:
    from nightgate.publish import lint

    found = lint.check_all(sorted(paths.dashboards_dir().glob("*.json")))
    problems = [f"{file.name}: {line}" for file, lines in found.items() for line in lines]
    if problems:
        raise InputError("; ".join(problems), "mend the dashboard file")
    out.print("every dashboard is valid")
    try:
        findings = steps.rehearse_upload()
    except Unavailable as error:
        out.print(str(error), highlight=False)
        return
    _findings(findings)


def dashboards_upload() -> None:
    for line in steps.upload("manual"):
        out.print(line, highlight=False)


def cache_list(json: bool) -> None:
    from nightgate.terminal.cached import as_json as cached_as_json
    from nightgate.terminal.cached import lines

    if json:
        print(cached_as_json(Cache(paths.cache_dir())))
        return
    for line in lines(Cache(paths.cache_dir())):
        out.print(line, highlight=False)


def cache_gc(max_bytes: int) -> None:
    cache = Cache(paths.cache_dir())
    for path in cache.sweep():
        out.print(f"removed {path}, left by a process that is gone", highlight=False)
    for artifact in cache.collect(max_bytes):
        out.print(f"removed {artifact.kind}/{artifact.digest}  {human(artifact.size, 'bytes')}", highlight=False)
    left = cache.entries()
    if (size := sum(entry.size for entry in left)) > max_bytes:
        out.print(f"{human(size, 'bytes')} stay: in use", highlight=False)


def cache_verify() -> None:
    cache = Cache(paths.cache_dir())
    bad = cache.damaged()
    if bad:
        raise NightgateError(
            f"damaged: {', '.join(map(str, bad))}", "nothing: whoever needs them next builds them again"
        )
    out.print(f"every artefact is whole ({len(cache.entries())})")


def print_suite(name: str) -> None:
    print(paths.shipped_suite(name).read_text(encoding="utf-8"), end="")


def plugins(json: bool) -> None:
    from nightgate.terminal import plugins as installed

    found = installed.found()
    if json:
        print(installed.as_json(found))
    else:
        out.print(installed.table(found))
        for line in installed.faults(found):
            out.print(line, style="red", highlight=False, soft_wrap=True)


def doctor(suite: Path | None, json: bool) -> None:
    paths.use_suite(suite)
    from nightgate.terminal.doctor import findings

    _findings(findings(), json=json)


def _findings(findings: Iterable[tuple[bool, str]], *, json: bool = False) -> NoReturn:
    """Print a line for each and end: with 0 when all are fine."""
    good = True
    if json:
        found = [{"fine": fine, "what": line} for fine, line in findings]
        print(dumps(found, indent=1))
        raise typer.Exit(0 if all(one["fine"] for one in found) else EXIT_NOT_MEASURED)
    for fine, line in findings:
        good &= fine
        out.print(f"{'✔' if fine else '✘'} {line}", style=None if fine else "red", highlight=False)
    raise typer.Exit(0 if good else EXIT_NOT_MEASURED)


def _finish(code: int, screen: Console, summary: Summary) -> NoReturn:
    # one line however long, so that it stays the last one of a pipe
    screen.print(tables.last_line(code, skips(summary.results), summary.state), highlight=False, soft_wrap=True)
    raise SystemExit(code)


def _confirm(plan: steps.Plan) -> None:
    """As `steps.confirm`; what hinders it is said, and does not end the run."""
    for name, device in plan.work:
        try:
            steps.confirm(plan, name, device, None)
        except Unavailable as error:  # nothing is to be confirmed
            err.print(str(error), style="dim", highlight=False)
        except NightgateError as error:
            err.print(str(error), style="red", highlight=False, soft_wrap=True)


def _show(records: list[Record], screen: Console) -> None:
    screen.print(tables.figures(records))
    screen.print(tables.verdicts(records))


def _report_line(run_id: str, screen: Console) -> None:
    screen.print(f"report: {paths.run_dir(run_id) / 'report.html'}", soft_wrap=True, highlight=False)


def _notes(summaries: Iterable[Summary]) -> None:
    for line in stored.lines_about(summaries):
        out.print(line, highlight=False, soft_wrap=True)


def _names(text: str) -> list[str]:
    names = [name.strip() for name in text.split(",")]
    if text and not all(names):
        raise InputError(f"{text!r} names nothing before or after a comma", "write names with commas between them")
    return names if text else []


@contextmanager
def servers(benchmark: str) -> Iterator[None]:
    """The servers a benchmark needs: the user's, those of a running stack, or embedded ones for this measurement."""
    from nightgate.stack.lock import StackLock
    from nightgate.stack.stack import Stack

    known = registry.installed().get(benchmark)
    needed = [each for each in (known.services if known else ()) if each.embedded and not os.environ.get(each.variable)]
    if not needed:
        yield
        return
    running = StackLock(paths.home()).holder()
    if running and (url := running.get("bench_url")):
        os.environ |= {each.embedded: url for each in needed}
        yield
        return
    with Stack(paths.home(), "measure"):
        yield
