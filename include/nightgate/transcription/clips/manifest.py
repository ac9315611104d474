"""The user's clips: which audio file goes with which text. Structure only, and light: no sample is decoded here.

How they may lie is in `layouts`. Everything that can be seen without decoding is looked at here, before anything starts.
"""

from __future__ import annotations

import os
import stat
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import cache
from pathlib import Path

from nightgate.errors import ArtifactError, InputError, nearest
from nightgate.transcription.clips.content import Content, look
from nightgate.transcription.clips.entry import Entry, audio_path, leave_out, printable, unusable
from nightgate.transcription.clips.layouts import entries_in
from nightgate.transcription.clips.length import check_span

__all__ = ["Entry", "read_manifest"]


def read_manifest(source: Path, exclude: Sequence[str] = ()) -> list[Entry]:
    """The clips that ``source`` describes in its order (a folder's is that of the names), less those in ``exclude``.

    Raises:
        InputError: anything about it that does not fit, with the file, the line and what to do; or a name in
            ``exclude`` that no clip has.
    """
    try:
        entries = _named(source, list(entries_in(source)))
    except OSError as error:
        where = printable(error.filename or source)
        raise InputError(f"{where} cannot be read ({error.strerror})", _advice(error)) from error
    if not entries:
        raise InputError(
            f"{printable(source)} holds no clip",
            'put audio files with a .txt beside each in it, or lines {"audio_filepath": …, "text": …}',
        )
    left = _without(entries, exclude)
    looked = cache(look)
    bad = {entry.id: fault for entry in left if (fault := entry.fault or _fault(entry, looked))}
    if len(bad) == 1:
        ((name, fault),) = bad.items()
        raise InputError(fault.what, leave_out(fault.next_step or "mend it", [name]))
    if bad:
        raise InputError(*unusable({name: fault.what for name, fault in bad.items()}, len(left)))
    if not any(entry.text for entry in left):
        raise InputError(
            f"{printable(source)}: no clip has a text, so no error rate can be told", "write down what is said"
        )
    return left


def _without(entries: Sequence[Entry], exclude: Sequence[str]) -> list[Entry]:
    names = {entry.id for entry in entries}
    for name in exclude:
        if name not in names:
            hint = nearest(name, sorted(names))
            raise InputError(f"exclude: there is no clip {name!r}{hint}", f"use names like {entries[0].id!r}")
    left = [entry for entry in entries if entry.id not in {*exclude}]
    if not left:
        raise InputError("exclude leaves no clip to transcribe", "leave at least one")
    return left


def _fault(entry: Entry, looked: Callable[[Path], Content]) -> InputError | None:
    """What is wrong with the file, as far as its name and its header tell."""
    name = printable(entry.audio)
    try:
        is_file = stat.S_ISREG(os.stat(entry.audio).st_mode)
    except PermissionError as error:
        return InputError(f"{entry.place}: {name} cannot be read ({error.strerror})", _advice(error))
    except OSError:
        is_file = False
    if not is_file:
        return InputError(f"{entry.place}: there is no audio file {name}", "correct the path")
    try:
        content = looked(entry.audio)
        if content.seconds is not None:
            check_span(content.seconds, entry.offset, entry.duration)
    except ArtifactError as error:
        row = f"{entry.place}: " if entry.offset is not None else ""  # a file may have many
        return InputError(f"{row}{name} {error.what}", "mend it")
    return None


def _advice(error: OSError) -> str:
    return "check the permissions of it and its folders" if isinstance(error, PermissionError) else "see what it is"


def _named(source: Path, entries: list[Entry]) -> list[Entry]:
    """Every id once: where two stems are the same, the path from the source's folder tells them apart."""
    clips: dict[tuple[str, str], Entry] = {}
    folder = source if os.path.isdir(source) else source.parent
    for entry in entries:
        audio_path(folder, str(entry.audio), entry.place)  # of a folder's own files
        if entry.fault:
            continue
        first = clips.setdefault((os.path.realpath(entry.audio), entry.span), entry)
        if first is not entry:
            raise InputError(
                f"{entry.place}: {printable(entry.audio)}{entry.span} stands at {first.place} already",
                "remove one of them",
            )
    names = Counter(entry.id for entry in entries)
    named = [
        replace(entry, id=os.path.relpath(entry.audio, folder) + entry.span) if names[entry.id] > 1 else entry
        for entry in entries
    ]
    names = Counter(entry.id for entry in named)
    named = [  # several faulty rows of one file are told apart by their lines
        replace(entry, id=os.path.basename(entry.place)) if entry.fault and names[entry.id] > 1 else entry
        for entry in named
    ]
    twice = [name for name, count in Counter(entry.id for entry in named).items() if count > 1]
    if twice:
        raise InputError(f"{printable(source)}: two clips are called {twice[0]!r}", "rename one of them")
    return named
