"""The command `nightgate`: run, up, down, measure, results, dashboards, cache, suite, plugins, doctor."""

from __future__ import annotations

import logging
import os
import shutil
import signal
import sys
import traceback
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, NoReturn

import typer
from rich.console import Console
from rich.logging import RichHandler

from nightgate import paths, registry, steps, terminal
from nightgate.artifacts import Cache
from nightgate.errors import EXIT_BREACH, EXIT_NOT_MEASURED, InputError, NightgateError, Unavailable
from nightgate.publish.absent import skips
from nightgate.publish.figures import human
from nightgate.record import Record, Summary
from nightgate.results import files
from nightgate.suite import parse_overrides
from nightgate.terminal import stored, tables
from nightgate.terminal.comparing import as_json, compare
from nightgate.terminal.pairs import pairs

app = typer.Typer(no_args_is_help=True, add_completion=False, help=__doc__, pretty_exceptions_enable=False)
results_app = typer.Typer(no_args_is_help=True, help="Look at runs that are done.")
dashboards_app = typer.Typer(no_args_is_help=True, help="Check and upload the Grafana dashboards.")
cache_app = typer.Typer(no_args_is_help=True, help="Look after what was prepared.")
stored.add_to(results_app)
app.add_typer(results_app, name="results")
app.add_typer(dashboards_app, name="dashboards")
app.add_typer(cache_app, name="cache")

out = terminal.console()
err = terminal.console(stderr=True)

_TYPER_INTERRUPTED = 130

Scale = Annotated[str, typer.Option(help="smoke (minutes) or full (a million vectors).")]
Suite = Annotated[
    Path | None,
    typer.Option("--suite", metavar="FILE", help="Another suite than NIGHTGATE_SUITE names, or the shipped one."),
]
Set = Annotated[list[str] | None, typer.Option("--set", metavar="PATH=VALUE", help="Override a suite value.")]
Json = Annotated[bool, typer.Option("--json", help="Only JSON on stdout; everything else goes to stderr.")]


@app.command()
def run(
    scale: Scale = "smoke",
    benchmarks_: Annotated[str, typer.Option("--benchmarks", help="Some of them, with commas.")] = "",
    devices: Annotated[str, typer.Option(help="cpu, gpu or both, with commas.")] = "",
    require_gpu: Annotated[bool, typer.Option(help="Fail instead of skipping without a GPU.")] = False,
    suite: Suite = None,
    set_: Set = None,
    json: Json = False,
) -> None:
    """Run the nightly DAG once, through Airflow's scheduler, and judge it."""
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


@app.command()
def measure(
    benchmark: Annotated[str, typer.Argument(help="One of " + ", ".join(registry.installed()))],
    scale: Scale = "smoke",
    device: Annotated[str, typer.Option(help="cpu or gpu.")] = "cpu",
    variant: Annotated[str, typer.Option(help="Only this variant, gated.")] = "",
    confirm: Annotated[bool, typer.Option(help="Measure once more what one run leaves undecided or breached.")] = True,
    suite: Suite = None,
    set_: Set = None,
    json: Json = False,
) -> None:
    """Measure one benchmark without Airflow: the same code, the same records, the same verdicts."""
    paths.use_suite(suite)
    screen = err if json else out
    handler = RichHandler(console=err, show_path=False, show_level=False, markup=False, highlighter=None)
    logging.basicConfig(level=logging.INFO, format="%(message)s", handlers=[handler])
    overrides = parse_overrides(set_ or [])
    if variant:
        only = registry.named(benchmark).settings.only(variant)
        alone = {f"{benchmark}.{key}": names for key, names in only.items()}
        if twice := alone.keys() & overrides.keys():
            raise InputError(f"--variant and --set {min(twice)} say the same twice", "keep one of them")
        overrides |= alone
    run_id = steps.new_run_id(f"measure-{benchmark}")
    plan = steps.preflight(
        run_id, dag_id=steps.BY_HAND, scale=scale, only=[benchmark], devices=[device], overrides=overrides, confirm=confirm
    )  # fmt: skip
    with terminal.ends_like_ctrl_c(signal.SIGTERM, signal.SIGHUP), _servers(benchmark):
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


@app.command()
def up(
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="Of the UI; a free one by default.")] = None,
    suite: Suite = None,
) -> None:
    """Start the stack and leave it running; the schedule is on."""
    from nightgate.stack import airflow, supervisor

    paths.use_suite(suite)
    paths.check_environment()
    home = paths.home()
    state = supervisor.up(home, port)
    out.print(
        f"Airflow is up: {state['url']}  user {state['user']}  password {airflow.password(home)}", highlight=False
    )
    out.print(
        f"metrics: {state['url']}/nightgate/metrics · the nightly runs at 02:00 UTC · stop it with `nightgate down`",
        highlight=False,
    )


@app.command()
def down() -> None:
    """Stop what `up` started."""
    from nightgate.stack import supervisor

    out.print("stopped" if supervisor.down(paths.home()) else "nothing was up")


@results_app.command("list")
def results_list(limit: Annotated[int, typer.Option(min=1)] = 20) -> None:
    """The newest runs."""
    folders = sorted(paths.runs_dir().glob("*/summary.json"), key=lambda file: -file.stat().st_mtime)[:limit]
    readable = []
    for folder in (file.parent for file in folders):
        try:
            readable.append((folder, files.read_summary(folder.name)))
        except NightgateError as error:  # of one run, which hides no other
            err.print(str(error), style="red", highlight=False)
    out.print(tables.runs(readable))
    _notes(summary for _, summary in readable)


@results_app.command("show")
def results_show(run_id: str, json: Json = False) -> None:
    """The figures and verdicts of one run."""
    summary = files.read_summary(run_id)
    if json:
        print(summary.model_dump_json(indent=1))
    else:
        _show(summary.results, out)
        _notes([summary])


@results_app.command("compare")
def results_compare(
    run_: Annotated[str, typer.Argument(metavar="RUN")],
    after: Annotated[str, typer.Argument(metavar="[AFTER]", help="A second run.")] = "",
    variants: Annotated[str, typer.Option(metavar="A,B", help="A of the first run with B of the second or same.")] = "",
    benchmark: Annotated[str, typer.Option(help="Only this benchmark.")] = "",
    device: Annotated[str, typer.Option(help="Only cpu or gpu.")] = "",
    anyway: Annotated[
        bool, typer.Option(help="Also judge the differences of two that did not do the same work.")
    ] = False,
    json: Json = False,
) -> None:
    """Two runs, or two variants of one, side by side: which differences are real, and how large they are."""
    names = _names(variants)
    if variants and len(names) != 2:
        raise InputError(f"--variants {variants!r} does not name two", "write both with a comma between them: A,B")
    if not after and (not names or names[0] == names[1]):
        raise InputError("one run is compared with nothing", "give a second run, or --variants A,B")
    first = files.read_summary(run_)
    second = files.read_summary(after) if after else first
    chosen = (names[0], names[1]) if names else None
    comparisons = [
        compare((a, first), (b, second), anyway=anyway) for a, b in pairs(first, second, chosen, benchmark, device)
    ]
    if json:
        print(as_json(comparisons))
    else:
        out.print(tables.compared(comparisons))


@results_app.command("recount")
def results_recount(
    run_: Annotated[str, typer.Argument(metavar="RUN")],
    dataset: Annotated[Path | None, typer.Option(metavar="FILE", help="Where your data set lies now.")] = None,
    queries_file: Annotated[Path | None, typer.Option(metavar="FILE", help="Where your queries lie now.")] = None,
    json: Json = False,
) -> None:
    """Count the recall of a run anew, from the answers it kept, by trying every row in float64.

    Neither the ground truth nor the recall of the run are used. Synthetic vectors are made again from their seed; your own
    file is read where the run found it, if its SHA-256 is still the same. Ends with 0 when every recall is within 0.002 of
    what was recorded, else with 1.
    """
    from nightgate.results.recount import recount
    from nightgate.terminal import recounted

    recalls = recount(files.read_summary(run_), dataset, queries_file)
    if json:
        print(recounted.as_json(recalls))
    else:
        out.print(recounted.table(recalls))
    (err if json else out).print(recounted.sentence(recalls), highlight=False)
    raise typer.Exit(0 if all(one.agrees for one in recalls) else EXIT_BREACH)


@dashboards_app.command("check")
def dashboards_check() -> None:
    """Validate every dashboard file and, with GRAFANA_URL and GRAFANA_TOKEN, say what an upload would do."""
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


@dashboards_app.command("upload")
def dashboards_upload() -> None:
    """Upload every dashboard to GRAFANA_URL with GRAFANA_TOKEN."""
    for line in steps.upload("manual"):
        out.print(line, highlight=False)


@cache_app.command("list")
def cache_list() -> None:
    """What is cached, least recently used first, who uses it, and what was counted."""
    from nightgate.terminal.cached import lines

    for line in lines(Cache(paths.cache_dir())):
        out.print(line, highlight=False)


@cache_app.command("gc")
def cache_gc(max_bytes: Annotated[int, typer.Option(min=0, help="What may stay.")] = 0) -> None:
    """Remove what killed builders left, and the least recently used artefacts until the rest fits. What is in use stays."""
    cache = Cache(paths.cache_dir())
    for path in cache.sweep():
        out.print(f"removed {path}, left by a process that is gone", highlight=False)
    for artifact in cache.collect(max_bytes):
        out.print(f"removed {artifact.kind}/{artifact.digest}  {human(artifact.size, 'bytes')}", highlight=False)
    left = cache.entries()
    if (size := sum(entry.size for entry in left)) > max_bytes:
        out.print(f"{human(size, 'bytes')} stay: in use", highlight=False)


@cache_app.command("verify")
def cache_verify() -> None:
    """Read every cached file and compare it with its checksum."""
    cache = Cache(paths.cache_dir())
    bad = cache.damaged()
    if bad:
        raise NightgateError(
            f"damaged: {', '.join(map(str, bad))}", "nothing: whoever needs them next builds them again"
        )
    out.print(f"every artefact is whole ({len(cache.entries())})")


@app.command("suite")
def print_suite(
    name: Annotated[str, typer.Argument(help="nightly is the one that runs; own is for your data.")],
) -> None:
    """Print a suite that comes along, to make one of your own of it: `nightgate suite own > mine.yaml`."""
    print(paths.shipped_suite(name).read_text(encoding="utf-8"), end="")


@app.command()
def plugins(json: Json = False) -> None:
    """What is installed to measure, to measure with and to search, from which package, and what cannot be used."""
    from nightgate.terminal import plugins as installed

    found = installed.found()
    if json:
        print(installed.as_json(found))
    else:
        out.print(installed.table(found))
        for line in installed.faults(found):
            out.print(line, style="red", highlight=False, soft_wrap=True)


@app.command()
def doctor(suite: Suite = None) -> None:
    """Check whether this host can run a night."""
    paths.use_suite(suite)
    from nightgate.terminal.doctor import findings

    _findings(findings())


def main() -> None:
    """Entry point: every deliberate error becomes one sentence and its exit code."""
    try:
        code = app(standalone_mode=False)  # typer turns Ctrl-C into 130
        if code == _TYPER_INTERRUPTED:
            raise KeyboardInterrupt
        sys.exit(code)
    except NightgateError as error:
        err.print(str(error), style="red", highlight=False, soft_wrap=True)
        _exit(error.exit_code)
    except (KeyboardInterrupt, typer.Abort):
        err.print("interrupted", style="red")
        _exit(EXIT_NOT_MEASURED)
    except typer.TyperException as error:  # a usage error
        err.print(f"{error.format_message()} Next step: nightgate --help", style="red", highlight=False)
        _exit(InputError.exit_code)
    except Exception:  # unforeseen, and no breach, which is what Python's own exit code 1 would say
        traceback.print_exc()
        _exit(EXIT_NOT_MEASURED)


def _findings(findings: Iterable[tuple[bool, str]]) -> NoReturn:
    """Print a line for each and end: with 0 when all are fine."""
    good = True
    for fine, line in findings:
        good &= fine
        out.print(f"{'✔' if fine else '✘'} {line}", style=None if fine else "red", highlight=False)
    raise typer.Exit(0 if good else EXIT_NOT_MEASURED)


def _exit(code: int) -> NoReturn:
    err.print(tables.last_line(code), highlight=False)
    sys.exit(code)


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
def _servers(benchmark: str) -> Iterator[None]:
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


if __name__ == "__main__":
    main()
