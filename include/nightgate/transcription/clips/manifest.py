"""The user's clips: which audio file goes with which text. Structure only, and light: no sample is read here.

Either a folder with ``.wav`` and ``.flac`` files, each beside a ``.txt`` of the same stem, or a JSONL manifest as NeMo
writes them, one object per line: ``{"audio_filepath": …, "text": …, "duration": seconds}``. The path may be relative
to the manifest, the duration may be left out, other keys are not looked at.
"""

from __future__ import annotations

import difflib
import json
import os
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from nightgate.errors import InputError

SUFFIXES = (".wav", ".flac")
_LONGEST = 1 << 20  # bytes of a manifest line or a transcript: an hour of speech is a tenth of it
_LONGEST_SECONDS = 3600


@dataclass(frozen=True, slots=True)
class Entry:
    """One clip of the user's: ``duration`` is what the manifest claims in seconds, ``place`` where it is described.

    ``id`` is the stem of the audio file, or its path from the source's folder where two stems are the same.
    """

    id: str
    audio: Path
    text: str
    duration: float | None
    place: str


def read_manifest(source: Path) -> list[Entry]:
    """The clips that ``source``, a folder or a JSONL file, describes, in its order (a folder's is that of the names).

    Raises:
        InputError: anything about it that does not fit, with the file, the line and what to do.
    """
    try:
        entries = list(_folder(source) if os.path.isdir(source) else _jsonl(source))
    except OSError as error:
        where = _printable(error.filename or source)
        raise InputError(f"{where} cannot be read ({error.strerror})", "check its permissions") from error
    if not entries:
        raise InputError(
            f"{_printable(source)} holds no clip",
            'put .wav or .flac files in it, or lines {"audio_filepath": …, "text": …}',
        )
    return _named(source, entries)


def without(entries: Sequence[Entry], exclude: Sequence[str]) -> list[Entry]:
    """``entries`` less the ones whose id is in ``exclude``.

    Raises:
        InputError: a name that no entry has, with the nearest one, or nothing is left.
    """
    names = [entry.id for entry in entries]
    for name in exclude:
        if name not in names:
            near = difflib.get_close_matches(name, names, n=1, cutoff=0.5)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise InputError(f"exclude: there is no clip {name!r}{hint}", f"use names like {names[0]!r}")
    left = [entry for entry in entries if entry.id not in exclude]
    if not left:
        raise InputError("exclude leaves no clip to transcribe", "leave at least one")
    return left


def _folder(folder: Path) -> Iterator[Entry]:
    for audio in sorted(folder.iterdir()):
        if audio.suffix.lower() not in SUFFIXES or audio.name.startswith(".") or not os.path.isfile(audio):
            continue
        transcript = audio.with_suffix(".txt")
        if not os.path.isfile(transcript):
            name = _printable(transcript.name)
            raise InputError(f"{_printable(audio)} has no transcript beside it", f"write what is said into {name}")
        with open(transcript, "rb") as file:
            text = _decoded(file.read(_LONGEST + 1), _printable(transcript))
        yield _entry(audio, text, None, _printable(transcript))


def _jsonl(manifest: Path) -> Iterator[Entry]:
    if not os.path.isfile(manifest):
        raise InputError(
            f"there is no folder or manifest {_printable(manifest)}", "give a folder of audio, or a JSONL file"
        )
    with open(manifest, "rb") as file:
        number = 0
        while line := file.readline(_LONGEST + 1):
            number += 1
            place = f"{_printable(manifest)}:{number}"
            if text := _decoded(line, place).strip():
                yield _row(_parsed(text, place), manifest.parent, place)


def _row(row: Any, folder: Path, place: str) -> Entry:
    if not isinstance(row, dict):
        raise InputError(f"{place}: the line is no JSON object", 'write {"audio_filepath": …, "text": …}')
    for key in ("audio_filepath", "text"):
        if not isinstance(row.get(key), str):
            wrong = f"{key} must be a string" if key in row else f"{key} is missing"
            raise InputError(f"{place}: {wrong}", 'write {"audio_filepath": …, "text": …}')
    duration = row.get("duration")
    number = isinstance(duration, int | float) and not isinstance(duration, bool)
    # compared and not converted: a JSON integer may be too large for a float, and NaN compares as false
    if duration is not None and not (number and 0 < duration <= _LONGEST_SECONDS):
        raise InputError(
            f"{place}: duration must be a length in seconds, above 0 and at most {_LONGEST_SECONDS}",
            "correct it or leave it out",
        )
    written = row["audio_filepath"]
    audio = folder / written
    if audio.suffix.lower() not in SUFFIXES:
        raise InputError(f"{place}: {_printable(written)} is neither .wav nor .flac", "convert it to one of them")
    if not os.path.isfile(audio):
        raise InputError(f"{place}: there is no audio file {_printable(audio)}", "correct audio_filepath")
    return _entry(audio, row["text"], None if duration is None else float(duration), place)


def _entry(audio: Path, text: str, duration: float | None, place: str) -> Entry:
    words = " ".join(text.split())
    if not any(letter.isalnum() for letter in words):
        raise InputError(f"{place}: there is no word in the text", "write down what is said")
    if not _is_utf8(words + str(audio)):
        raise InputError(f"{place}: the text or the name of the audio is not valid Unicode", "write both in UTF-8")
    return Entry(audio.stem, audio, words, duration, place)


def _named(source: Path, entries: list[Entry]) -> list[Entry]:
    """Every id once: where two stems are the same, the path from the source's folder tells them apart."""
    files: dict[str, Entry] = {}
    for entry in entries:
        first = files.setdefault(os.path.realpath(entry.audio), entry)
        if first is not entry:
            raise InputError(
                f"{entry.place}: {_printable(entry.audio)} stands at {first.place} already", "remove one of them"
            )
    stems = Counter(entry.id for entry in entries)
    folder = source if os.path.isdir(source) else source.parent
    named = [
        replace(entry, id=os.path.relpath(entry.audio, folder)) if stems[entry.id] > 1 else entry for entry in entries
    ]
    twice = [name for name, count in Counter(entry.id for entry in named).items() if count > 1]
    if twice:
        raise InputError(f"{_printable(source)}: two clips are called {twice[0]!r}", "rename one of them")
    return named


def _parsed(text: str, place: str) -> Any:
    try:
        return json.loads(text)
    except RecursionError:
        reason = "it is nested too deeply"
    except ValueError as error:  # JSONDecodeError, and an integer of more digits than Python reads
        reason = str(error)
    raise InputError(f"{place}: the line is not JSON ({reason})", "write one JSON object per line")


def _decoded(data: bytes, place: str) -> str:
    if len(data) > _LONGEST:
        raise InputError(f"{place} is longer than {_LONGEST} bytes", "give a JSONL manifest, or text files")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{place} is not UTF-8 ({error.reason} at byte {error.start})", "save it as UTF-8") from None


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # a lone surrogate: escaped in the JSON, or from a file name in another encoding
        return False
    return True


def _printable(name: str | Path) -> str:
    """A name as a message can hold it: a file name may be any bytes, and one in a manifest any length."""
    text = str(name)[:500]
    return text if text.isprintable() else ascii(text)
