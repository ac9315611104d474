"""The command `nightgate`: its arguments, and how it ends."""

from __future__ import annotations

import sys
import traceback
from pathlib import Path
from types import ModuleType
from typing import Annotated, NoReturn

import typer

from nightgate import terminal
from nightgate.errors import EXIT_NOT_MEASURED, InputError, NightgateError
from nightgate.terminal import stored

_HELP = """Are speech and vector search still fast and good tonight?

\b
nightgate doctor                  can this host run a night?
nightgate run                     a night, through Airflow, to a verdict
nightgate run --scale full        the real one, with a million vectors
nightgate measure BENCHMARK       one benchmark at once, without Airflow
nightgate up                      Airflow every night; `down` stops it
nightgate results list            then `show RUN`, `compare RUN AFTER`
nightgate why RUN                 what changed since the last good one
nightgate suite own > mine.yaml   for your own data: run --suite mine.yaml

\b
Exit codes: 0 all objectives hold, 1 one is breached, 2 bad input, 3 unknown
"""

app = typer.Typer(no_args_is_help=True, help=_HELP, pretty_exceptions_enable=False)
results_app = typer.Typer(no_args_is_help=True, help="Look at runs that are done.")
dashboards_app = typer.Typer(no_args_is_help=True, help="Check and upload the Grafana dashboards.")
cache_app = typer.Typer(no_args_is_help=True, help="Look after what was prepared.")
stored.add_to(results_app)
app.add_typer(results_app, name="results")
app.add_typer(dashboards_app, name="dashboards")
app.add_typer(cache_app, name="cache")

err = terminal.console(stderr=True)

_TYPER_INTERRUPTED = 130

Scale = Annotated[str, typer.Option(help="smoke (minutes) or full (a million vectors).")]
Suite = Annotated[
    Path | None,
    typer.Option("--suite", metavar="FILE", help="Another suite than NIGHTGATE_SUITE names, or the shipped one."),
]
Set = Annotated[list[str] | None, typer.Option("--set", metavar="PATH=VALUE", help="Override a suite value.")]
_SIDE = """. for what is installed here, package==version[,…] or rev:REVISION for the same with others, or a run for what it had."""
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
    _commands().run(scale, benchmarks_, devices, require_gpu, suite, set_, json)


@app.command()
def measure(
    benchmark: Annotated[str, typer.Argument(help="`nightgate plugins` lists them.")],
    scale: Scale = "smoke",
    device: Annotated[str, typer.Option(help="cpu or gpu.")] = "cpu",
    variant: Annotated[str, typer.Option(help="Only this variant, gated.")] = "",
    confirm: Annotated[bool, typer.Option(help="Measure once more what one run leaves undecided or breached.")] = True,
    suite: Suite = None,
    set_: Set = None,
    json: Json = False,
) -> None:
    """Measure one benchmark without Airflow: the same code, the same records, the same verdicts."""
    _commands().measure(benchmark, scale, device, variant, confirm, suite, set_, json)


@app.command()
def up(
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Of the UI; by default the one it had before, or a free one.")
    ] = None,
    suite: Suite = None,
) -> None:
    """Start the stack and leave it running; the schedule is on."""
    _commands().up(port, suite)


@app.command()
def down() -> None:
    """Stop what `up` started."""
    _commands().down()


@app.command()
def why(
    run_: Annotated[str, typer.Argument(metavar="RUN")],
    since: Annotated[
        str, typer.Option(metavar="RUN", help="The good run; by default the last of its kind that passed.")
    ] = "",
    benchmark: Annotated[str, typer.Option(help="Only this benchmark.")] = "",
    variant: Annotated[str, typer.Option(help="Only this variant.")] = "",
    device: Annotated[str, typer.Option(help="Only cpu or gpu.")] = "",
    json: Json = False,
) -> None:
    """What changed since the last good run, the likeliest cause first."""
    _asking().why(run_, since, benchmark, variant, device, json)


@app.command()
def duet(
    first: Annotated[str, typer.Argument(metavar="A", help=_SIDE)],
    second: Annotated[str, typer.Argument(metavar="B")],
    benchmark: Annotated[str, typer.Option(help="`nightgate plugins` lists them.")],
    variant: Annotated[str, typer.Option(help="By default the first that it knows.")] = "",
    device: Annotated[str, typer.Option(help="cpu or gpu.")] = "cpu",
    scale: Scale = "smoke",
    rounds: Annotated[int, typer.Option(min=3, max=100)] = 5,
    suite: Suite = None,
    set_: Set = None,
    json: Json = False,
) -> None:
    """Measure two environments in turns: what B takes over A, with its interval."""
    from nightgate import paths

    paths.use_suite(suite)
    _asking().duet_of(first, second, benchmark, variant, device, scale, rounds, set_ or [], json)


@app.command()
def bisect(
    metric: Annotated[str, typer.Option(help="The one that shifted.")],
    good: Annotated[str, typer.Option(metavar="RUN", help="A run before the shift.")],
    bad: Annotated[str, typer.Option(metavar="RUN", help="A run after it.")],
    benchmark: Annotated[str, typer.Option(help="Where several measure the metric.")] = "",
    variant: Annotated[str, typer.Option(help="The same.")] = "",
    device: Annotated[str, typer.Option(help="The same.")] = "",
    rounds: Annotated[int, typer.Option(min=3, max=100, help="Of each duet.")] = 5,
    anew: Annotated[bool, typer.Option("--anew", help="Forget what an earlier search of the same measured.")] = False,
    json: Json = False,
) -> None:
    """Which of what was installed anew between two runs makes their difference: found by duets, and goes on after a kill."""
    _asking().bisect(metric, good, bad, benchmark, variant, device, rounds, anew, json)


@results_app.command("list")
def results_list(limit: Annotated[int, typer.Option(min=1)] = 20, json: Json = False) -> None:
    """The newest runs, one line each; `results show RUN` has more of one."""
    _commands().results_list(limit, json)


@results_app.command("show")
def results_show(run_id: str, json: Json = False) -> None:
    """The figures and verdicts of one run."""
    _commands().results_show(run_id, json)


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
    _commands().results_compare(run_, after, variants, benchmark, device, anyway, json)


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
    _commands().results_recount(run_, dataset, queries_file, json)


@dashboards_app.command("check")
def dashboards_check() -> None:
    """Validate every dashboard file and, with GRAFANA_URL and GRAFANA_TOKEN, say what an upload would do."""
    _commands().dashboards_check()


@dashboards_app.command("upload")
def dashboards_upload() -> None:
    """Upload every dashboard to GRAFANA_URL with GRAFANA_TOKEN."""
    _commands().dashboards_upload()


@cache_app.command("list")
def cache_list(json: Json = False) -> None:
    """What is cached, least recently used first, who uses it, and what was counted."""
    _commands().cache_list(json)


@cache_app.command("gc")
def cache_gc(max_bytes: Annotated[int, typer.Option(min=0, help="What may stay.")] = 0) -> None:
    """Remove what killed builders left, and the least recently used artefacts until the rest fits. What is in use stays."""
    _commands().cache_gc(max_bytes)


@cache_app.command("verify")
def cache_verify() -> None:
    """Read every cached file and compare it with its checksum."""
    _commands().cache_verify()


@app.command("suite")
def print_suite(
    name: Annotated[str, typer.Argument(help="nightly is the one that runs; own is for your data.")],
) -> None:
    """Print a suite that comes along, to make one of your own of it: `nightgate suite own > mine.yaml`."""
    _commands().print_suite(name)


@app.command()
def plugins(json: Json = False) -> None:
    """What is installed to measure, to measure with and to search, from which package, and what cannot be used."""
    _commands().plugins(json)


@app.command()
def doctor(suite: Suite = None, json: Json = False) -> None:
    """Check whether this host can run a night."""
    _commands().doctor(suite, json)


def _asking() -> ModuleType:
    """As `_commands`."""
    from nightgate.terminal import asking

    return asking


def _commands() -> ModuleType:
    """What the commands do takes most of a second to import, which ``--help`` shall not wait for."""
    from nightgate.terminal import commands

    return commands


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


def _exit(code: int) -> NoReturn:
    from nightgate.terminal import tables

    err.print(tables.last_line(code), highlight=False)
    sys.exit(code)


if __name__ == "__main__":
    main()
