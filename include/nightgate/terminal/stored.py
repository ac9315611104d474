"""`nightgate results export`, `import`, `restore`, `exclude`, `include`, `accept`, `unaccept`, `notes`: what needs the results store."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import IO, TYPE_CHECKING, Annotated, get_args

import typer
from rich import box
from rich.table import Table
from rich.text import Text

from nightgate import paths, terminal
from nightgate.errors import InputError, NightgateError, choices

if TYPE_CHECKING:
    from nightgate.record import Device, Record, Summary
    from nightgate.results.noted import Kind, Note, Scope
    from nightgate.results.store import Store
    from nightgate.stack.stack import Stack

VARIABLE = "AIRFLOW_CONN_NIGHTGATE_RESULTS"
"""Airflow's own variable of the connection; the terminal reads it as Airflow does."""

Run = Annotated[str, typer.Argument(metavar="RUN")]
Benchmark = Annotated[str, typer.Option(help="Only this benchmark of the run.")]
Variant = Annotated[str, typer.Option(help="Only this variant.")]
OnDevice = Annotated[str, typer.Option("--device", help="Only cpu or gpu.")]
Reason = Annotated[str, typer.Option(help="Why; it is shown wherever the result is.")]
Name = Annotated[str, typer.Option("--name", help="Who says so; user@host by default.")]
File = Annotated[str, typer.Argument(metavar="FILE", help="- is the pipe.")]


def add_to(app: typer.Typer) -> None:
    """The commands, to those of ``nightgate results``."""
    app.command("export")(export)
    app.command("import")(import_)
    app.command("restore")(restore)
    app.command("exclude")(exclude)
    app.command("include")(include)
    app.command("accept")(accept)
    app.command("unaccept")(unaccept)
    app.command("notes")(noted)


def export(file: File = "-") -> None:
    """Every run, result and note of the store as JSON lines."""
    from nightgate.results import transfer

    with opened() as store, _to(file) as out:
        for line in transfer.lines_of(store):
            out.write(line.encode() + b"\n")


def import_(file: File = "-") -> None:
    """Put exported lines into the store. Every line is checked before anything is written; doing so again changes nothing."""
    from nightgate.results import transfer

    with _from(file) as lines, opened(make=True) as store:
        taken = transfer.take(store, lines)
    watched = f", with {taken.watched} lines of what the watch knows" if taken.watched else ""
    _say(f"{taken.runs} runs, {taken.results} results and {taken.notes} notes are in the store{watched}")


def restore(run: Run) -> None:
    """Write the files of a run, its report and raw samples too, from the store."""
    from nightgate.results import restore as restoring

    with opened() as store:
        folder = restoring.restore(store, run)
    _say(f"{run} lies in {folder}")


def exclude(
    run: Run, reason: Reason, benchmark: Benchmark = "", variant: Variant = "", device: OnDevice = "", name: Name = ""
) -> None:
    """No later night is judged by these results any more. They are kept and shown, with the reason."""
    _note("excluded", _scope(run, benchmark, variant, device), reason, name)


def accept(
    run: Run, reason: Reason, benchmark: Benchmark = "", variant: Variant = "", device: OnDevice = "", name: Name = ""
) -> None:
    """A shift is accepted: from this run on, no later night is judged by what came before it."""
    _note("accepted", _scope(run, benchmark, variant, device), reason, name)


def include(
    run: Run,
    benchmark: Benchmark = "",
    variant: Variant = "",
    device: OnDevice = "",
    reason: Reason = "",
    name: Name = "",
) -> None:
    """Take an exclusion back."""
    _take_back("excluded", _scope(run, benchmark, variant, device), reason, name)


def unaccept(
    run: Run,
    benchmark: Benchmark = "",
    variant: Variant = "",
    device: OnDevice = "",
    reason: Reason = "",
    name: Name = "",
) -> None:
    """Take an accepted baseline back."""
    _take_back("accepted", _scope(run, benchmark, variant, device), reason, name)


def noted(
    all_: Annotated[bool, typer.Option("--all", help="Also what was taken back.")] = False,
    json: Annotated[bool, typer.Option("--json", help="Only JSON on stdout; everything else goes to stderr.")] = False,
) -> None:
    """What was excluded and accepted, by whom, when and why."""
    with opened() as store:
        found = store.notes(withdrawn=all_)
    if json:
        print(_as_json(found))
    else:
        terminal.console().print(table(found))


def lines_about(summaries: Iterable[Summary]) -> list[str]:
    """A sentence for each note about these runs, and for what earlier tries found, from a store that answers at once; one is
    not started for them."""
    runs = [summary.run_id for summary in summaries]
    try:
        url = address()
        if url is None:
            return [_NOT_UP] if _embedded().has_results else []
        from nightgate.results.store import Store

        with Store(url) as store:
            replaced = [_replaced(run, record) for run in runs for record in store.earlier(run)]
            return [*(sentence(note) for note in store.notes(runs)), *replaced]
    except NightgateError as error:
        return [f"the notes about these runs are not known: {error}"]


_NOT_UP = (
    "notes about these runs, if there are any, are in the store, which is not up: `nightgate results notes` starts it"
)


def _replaced(run: str, record: Record) -> str:
    from nightgate.publish import figures

    made = f" ({record.attempt.number}, on {record.attempt.machine})" if record.attempt else ""
    return f"{run}: an earlier try{made} of {record.benchmark}, which a later one replaced, found: {figures.headline(record)}"


def sentence(note: Note) -> str:
    what = "is excluded" if note.kind == "excluded" else "is accepted as the new baseline"
    told = f"{note.scope} {what}: {note.reason} ({note.by}, {note.at})"
    if note.holds:
        return told
    why = f": {note.withdrawn_reason}" if note.withdrawn_reason else ""
    return f"{told}; taken back{why} ({note.withdrawn_by}, {note.withdrawn_at})"


def table(found: Iterable[Note]) -> Table:
    """A row per note."""
    shown = Table(header_style="bold", box=box.SIMPLE_HEAD, show_edge=False, padding=(0, 1, 0, 0))
    for name in ("run", "what", "is", "reason", "by", "at", "taken back"):
        shown.add_column(name, overflow="fold")
    for note in found:
        scope = note.scope
        what = " ".join(filter(None, (scope.benchmark, scope.variant, scope.device))) or "all of it"
        back = " ".join(filter(None, (note.withdrawn_at, note.withdrawn_by, note.withdrawn_reason)))
        cells = (scope.run_id, what, note.kind, note.reason, note.by, note.at, back)
        shown.add_row(*(Text(cell, style="" if note.holds else "dim") for cell in cells))
    return shown


def _as_json(found: Iterable[Note]) -> str:
    import json

    return json.dumps([asdict(note) for note in found], indent=1)


def _note(kind: Kind, scope: Scope, reason: str, name: str) -> None:
    from nightgate.results import notes

    with opened() as store:
        notes.say(store, kind, scope, reason, name or notes.whoever())
        made = [note for note in store.notes([scope.run_id]) if (note.kind, note.scope) == (kind, scope)]
    _say(sentence(made[-1]))


def _take_back(kind: Kind, scope: Scope, reason: str, name: str) -> None:
    from nightgate.results import notes

    with opened() as store:
        notes.take_back(store, kind, scope, reason or None, name or notes.whoever())
    _say(f"{scope} is no longer {kind}")


def _scope(run: str, benchmark: str, variant: str, device: str) -> Scope:
    from nightgate.record import Device
    from nightgate.results.noted import Scope

    known: tuple[Device, ...] = get_args(Device)
    chosen = next((one for one in known if one == device), None)
    if device and chosen is None:
        raise InputError(f"there is no device {device!r}", choices(known))
    return Scope(run, benchmark, variant, chosen or "")


@contextmanager
def opened(*, make: bool = False) -> Iterator[Store]:
    """The store that the environment names, that of the stack that is up, or the embedded one, started for this alone.

    Raises:
        InputError: there is none; with ``make`` the embedded one is made.
    """
    from nightgate.results.store import Store

    stack: AbstractContextManager[Stack | None] = nullcontext() if (url := address()) else _embedded()
    if not (url or make or _embedded().has_results):
        raise InputError(
            f"there is no results store: no run was recorded in {paths.home()}, and {VARIABLE} is not set",
            f"set {VARIABLE} to postgres://user:password@host/db, or start a run with `nightgate run`",
        )
    with stack as started, Store(url or (started.results_url if started else "")) as store:
        yield store


def address() -> str | None:
    """Of a store that answers without being started."""
    from nightgate.results.store import url_from_airflow
    from nightgate.stack.lock import StackLock

    if uri := os.environ.get(VARIABLE):
        return url_from_airflow(uri)
    running = StackLock(paths.home()).holder()
    return running.get("results_url") if running else None


def _embedded() -> Stack:
    from nightgate.stack.stack import Stack as Embedded

    return Embedded(paths.home(), "results")


@contextmanager
def _to(file: str) -> Iterator[IO[bytes]]:
    if file == "-":
        yield sys.stdout.buffer
        sys.stdout.buffer.flush()
        return
    from nightgate.files import whole

    with whole(Path(file)) as out:
        yield out


@contextmanager
def _from(file: str) -> Iterator[Iterable[bytes]]:
    if file == "-":
        yield sys.stdin.buffer
        return
    try:
        with open(file, "rb") as source:
            yield source
    except OSError as error:
        raise InputError(
            f"{file} cannot be read ({error.strerror})", "name an exported file, or - for the pipe"
        ) from None


def _say(text: str) -> None:
    terminal.console(stderr=True).print(text, highlight=False, soft_wrap=True, markup=False)
