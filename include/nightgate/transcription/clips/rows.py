"""Manifests of rows: JSONL as NeMo and the Open ASR leaderboard write it, and csv or tsv as the Hugging Face audio folder
(metadata.csv) and Common Voice have it. Keys that would change what is transcribed are followed or refused by name;
others say something about a clip (a speaker, a licence) and are left alone.
"""

from __future__ import annotations

import csv
import json
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import replace
from functools import lru_cache
from pathlib import Path

from nightgate.errors import InputError, nearest
from nightgate.transcription.clips.entry import Entry, audio_path, is_utf8, lines, printable, spoken
from nightgate.transcription.clips.length import LONGEST_SECONDS

AUDIO = ("audio_filepath", "file_name", "audio", "path", "audio_path")
TEXT = ("text", "transcription", "transcript", "sentence")
_LANGUAGE = (
    "language",
    "lang",
    "locale",
    "source_lang",
    "target_lang",
    "lang_id",
    "language_id",
    "lang_code",
    "language_code",
)
_TIMES = ("offset", "duration")
_TASK = ("task", "taskname")
_TRANSCRIBING = ("asr", "transcribe", "transcription")
_KNOWN = (*AUDIO, *TEXT, *_LANGUAGE, *_TIMES, *_TASK)
_SHAPE = '{"audio_filepath": …, "text": …}'
_LATEST = 100 * 3600.0  # seconds; a longer file would not fit into 2 GB

# a key with one of these words in it changes what is transcribed
_CUT = "say which part of the file it is with offset and duration, in seconds"
_REFUSED = dict.fromkeys(
    ("offset", "start", "end", "begin", "onset", "stop", "from", "to", "until", "trim", "seek"), _CUT
) | {"channel": "write each channel into a file of its own"}
_SPANS = ("timestamp", "timestamps", "segment", "segments", "span", "range", "interval", "window", "region")
Row = Mapping[str, object]
"""What a manifest says of one clip, by its keys."""

_LENGTHS = ("duration", "durations", "dur", "length", "len")


def read_jsonl(manifest: Path) -> Iterator[Entry]:
    """InputError: a row that cannot be read or names no audio; other faults stay with their entry."""
    for line, place in lines(manifest):
        row = _parsed(line, place)
        if not isinstance(row, dict):
            raise InputError(f"{place}: the line is no JSON object", f"write {_SHAPE}")
        yield _entry(row, manifest.parent, place)


def read_table(table: Path) -> Iterator[Entry]:
    """The same of a csv with commas, or a tsv without quotes."""
    name = printable(table)
    with open(table, encoding="utf-8-sig", newline="") as file:
        try:
            rows = csv.reader(file, dialect=_dialect(table))
            header = next(rows, [])
            _check_header(header, name)
            for cells in rows:
                place = f"{name}:{rows.line_num}"
                if not any(cells):
                    continue
                if len(cells) != len(header):
                    raise InputError(
                        f"{place}: {len(cells)} cells under {len(header)} columns", 'write a text with commas in "…"'
                    )
                yield _entry(_typed(dict(zip(header, cells, strict=True))), table.parent, place)
        except UnicodeDecodeError as error:
            raise InputError(f"{name} is not UTF-8 ({error.reason})", "save it as UTF-8") from None
        except csv.Error as error:
            raise InputError(f"{name}:{rows.line_num}: {error}", "save it as a csv with quotes where needed") from None


def names_audio(table: Path) -> bool:
    """Whether the first line of a csv, or of a JSONL file, names a column or key of audio."""
    with open(table, encoding="utf-8-sig", errors="replace", newline="") as file:
        head = file.readline(1 << 16)
    if table.suffix == ".jsonl":
        return any(f'"{name}"' in head for name in AUDIO)
    return any(name in AUDIO for name in next(csv.reader([head], dialect=_dialect(table)), []))


def _dialect(table: Path) -> type[csv.Dialect]:
    class Commas(csv.excel):
        strict = True

    class Tabs(csv.excel_tab):
        quoting = csv.QUOTE_NONE
        quotechar = None

    return Tabs if table.suffix.lower() == ".tsv" else Commas


def _check_header(header: list[str], name: str) -> None:
    if not any(column in AUDIO for column in header):
        raise InputError(
            f"{name}: its first line names no column of audio ({', '.join(AUDIO)})",
            "write a first line like file_name,transcription",
        )
    if twice := [column for column, count in Counter(filter(None, header)).items() if count > 1]:
        raise InputError(f"{name}: two columns are called {twice[0]!r}", "rename one of them")


def _typed(row: dict[str, str]) -> Row:
    """Cells as JSON would hold them: numbers for times, and nothing for an empty cell that is no text."""
    typed: dict[str, object] = {key: value for key, value in row.items() if value or key in TEXT}
    for key in _TIMES:
        with suppress(KeyError, ValueError):  # what is no number stays text and is refused as such
            typed[key] = float(row[key])
    return typed


def _entry(row: Row, folder: Path, place: str) -> Entry:
    audio = audio_path(folder, _agreed(row, AUDIO, place), place)
    try:
        present = {key: value for key, value in row.items() if value is not None}
        for key, value in present.items():
            if refused := _refusal(key) or _of_a_part(key, value, present):
                raise InputError(f"{place}: {refused[0]}", refused[1])
        _check_task(present, place)
        text = spoken(_agreed(row, TEXT, place), place)
        offset, duration = _seconds(present, "offset", place), _seconds(present, "duration", place)
        entry = Entry("", audio, text, offset, duration, _language(present, place), place)
    except InputError as fault:
        entry = Entry("", audio, place=place, fault=fault)
    return replace(entry, id=audio.stem + entry.span)


@lru_cache(maxsize=1024)
def _refusal(key: str) -> tuple[str, str] | None:
    """Why a key is refused and what to do instead; None when it is known, or changes nothing."""
    if key in _KNOWN:
        return None
    if key in ("text_filepath", "text_file"):
        return f"{key} is not followed", "write the text itself as text"
    for word in _words(key):
        if instead := _REFUSED.get(word):
            return f"{printable(key)} would change what is transcribed and is not followed", f"{instead}, or rename it"
    # one word only: sentence_id and audio_duration are metadata
    if "_" not in key and (near := nearest(key.lower(), _KNOWN, 0.85)):
        return f"there is no key {printable(key)!r}{near}", "rename it"
    return None


def _of_a_part(key: str, value: object, row: Row) -> tuple[str, str] | None:
    """What may say which part of the file is meant: two times in one value, or a length that follows an offset."""
    if key in _KNOWN:
        return None
    if isinstance(value, list | dict) and any(word in _SPANS for word in _words(key)):
        return f"{printable(key)} would change what is transcribed and is not followed", f"{_CUT}, or rename it"
    if "offset" in row and "duration" not in row and any(word in _LENGTHS for word in _words(key)):
        return f"offset stands without duration, and {printable(key)} is not followed", f"{_CUT}, or rename it"
    return None


def _words(key: str) -> list[str]:
    return [word.lower() for word in re.findall(r"[A-Z]?[a-z]+|[A-Z]+", key)]


def _agreed(row: Row, names: tuple[str, ...], place: str) -> str:
    """The value of the first of ``names`` that is there; where several are, they must say the same."""
    texts: dict[str, str] = {}
    for name in names:
        if name not in row:
            continue
        value = row[name]
        if not isinstance(value, str):
            raise InputError(f"{place}: {name} must be a string", f"write {_SHAPE}")
        texts[name] = value
    if not texts:
        raise InputError(f"{place}: {names[0]} is missing", f"write {_SHAPE}")
    if len({" ".join(text.split()) for text in texts.values()}) > 1:
        raise InputError(f"{place}: {' and '.join(texts)} say different things", "leave the right one")
    return next(iter(texts.values()))


def _seconds(row: Row, key: str, place: str) -> float | None:
    value, length = row.get(key), key == "duration"
    if value is None:
        return None
    most = LONGEST_SECONDS if length else _LATEST
    # compared and not converted: a JSON integer may be too large for a float, and NaN compares as false
    if (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and 0 <= value <= most
        and not (length and value == 0)
    ):
        return float(value)
    what = f"a length of up to {LONGEST_SECONDS} s" if length else "a place in the file, in seconds"
    raise InputError(f"{place}: {key} must be {what}", "correct it, or leave it out")


def _check_task(row: Row, place: str) -> None:
    for key in _TASK:
        if str(row.get(key, "asr")).lower() not in _TRANSCRIBING:
            raise InputError(f"{place}: {key} is {str(row[key])[:60]!r}, and clips are transcribed only", "remove it")


def _language(row: Row, place: str) -> str | None:
    codes: dict[str, str] = {}
    for key in _LANGUAGE:
        value = row.get(key)
        if value in (None, ""):
            continue
        if not isinstance(value, str) or not is_utf8(value):
            raise InputError(f"{place}: {key} must be a string", "write a code like en")
        codes[key] = value.strip()
    if len({re.split("[-_]", code.lower())[0] for code in codes.values()}) > 1:  # en and en-US are no two
        raise InputError(
            f"{place}: {' and '.join(codes)} name different languages", "write the text in the language that is spoken"
        )
    return next(iter(codes.values()), None)


def _parsed(text: str, place: str) -> object:
    def once(pairs: list[tuple[str, object]]) -> dict[str, object]:
        row = dict(pairs)
        if len(row) < len(pairs):
            twice = next(key for key, count in Counter(key for key, _ in pairs).items() if count > 1)
            raise ValueError(f"the key {printable(twice)!r} comes twice")
        return row

    try:
        row: object = json.loads(text, object_pairs_hook=once)
        return row
    except RecursionError:
        reason = "it is nested too deeply"
    except ValueError as error:  # JSONDecodeError, and an integer of more digits than Python reads
        reason = str(error)
    raise InputError(f"{place}: the line is not JSON ({reason})", "write one JSON object per line")
