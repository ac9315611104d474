"""A Kaldi data folder: ``wav.scp`` (recordings), ``text`` (utterances), and where they are there ``segments`` (utterances
within recordings) and ``utt2lang``. Commands in wav.scp are never run.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

from nightgate.errors import InputError
from nightgate.transcription.clips.entry import Entry, audio_path, lines, printable, spoken
from nightgate.transcription.clips.length import LONGEST_SECONDS

_CHANNELS = "reco2file_and_channel"


def read_kaldi(folder: Path) -> Iterator[Entry]:
    """Utterances in the order of ``text``; those with words and no audio, or audio and no words, have a fault.

    Raises:
        InputError: a table is missing or cannot be parsed. OSError: one cannot be read.
    """
    recordings = _table(folder / "wav.scp")
    texts = _table(folder / "text")
    languages = _table(folder / "utt2lang") if os.path.isfile(folder / "utt2lang") else {}
    if os.path.isfile(folder / _CHANNELS):
        for name, (words, place) in _table(folder / _CHANNELS).items():
            if words.split()[-1:] != ["A"]:
                raise InputError(
                    f"{place}: {printable(name)} is one of several channels",
                    "write each channel into a file of its own",
                )
    if os.path.isfile(folder / "segments"):
        cuts = _table(folder / "segments")
    else:
        cuts = {name: (name, place) for name, (_, place) in recordings.items()}
    for name, (words, place) in texts.items():
        if name not in cuts:
            yield _faulty(name, folder, f"{place}: there is no audio of the utterance {printable(name)}")
            continue
        try:
            audio, offset, duration = _cut(folder, recordings, *cuts[name])
            language = languages[name][0] or None if name in languages else None
            yield Entry(name, audio, spoken(words, place), offset, duration, language, place)
        except InputError as fault:
            yield Entry(name, folder / "wav.scp", place=place, fault=fault)
    for name, (_, place) in cuts.items():
        if name not in texts:
            yield _faulty(name, folder, f"{place}: the utterance {printable(name)} stands in no line of text")


def _table(file: Path) -> dict[str, tuple[str, str]]:
    """The first word of each line, with the rest of it and its place."""
    if not os.path.isfile(file):
        raise InputError(f"{printable(file)} is missing", "a Kaldi data folder holds wav.scp and text")
    rows: dict[str, tuple[str, str]] = {}
    for line, place in lines(file):
        name, *rest = line.split(maxsplit=1)
        if name in rows:
            raise InputError(f"{place}: {printable(name)} stands at {rows[name][1]} already", "remove one of them")
        rows[name] = (rest[0] if rest else "", place)
    return rows


def _cut(
    folder: Path, recordings: dict[str, tuple[str, str]], cut: str, place: str
) -> tuple[Path, float | None, float | None]:
    """The file, offset and duration of ``<recording>`` or ``<recording> <start> <end>``; an end of -1 is that of the file."""
    name, *times = cut.split() or [""]
    if name not in recordings:
        raise InputError(f"{place}: there is no recording {printable(name)!r}", "add it to wav.scp")
    audio = _file(folder, *recordings[name])
    if not times:
        return audio, None, None
    try:
        start, end = map(float, times)
    except ValueError:
        raise InputError(
            f"{place}: a segment is <utterance> <recording> <start> <end>, in seconds", "correct it"
        ) from None
    if end == -1 and 0 <= start < float("inf"):
        return audio, start, None
    if not 0 <= start < end <= start + LONGEST_SECONDS:
        raise InputError(f"{place}: there is no segment of up to an hour from {start:g} s to {end:g} s", "correct it")
    return audio, start, end - start


def _file(folder: Path, written: str, place: str) -> Path:
    if written.endswith("|") or written.startswith("|"):
        raise InputError(
            f"{place}: wav.scp names a command, and commands are not run",
            "write its output to files (Kaldi: wav-copy), and their paths into wav.scp",
        )
    if not written or written == "-" or re.search(r"\.ark:\d+$", written):
        raise InputError(f"{place}: {printable(written) or 'nothing'} is no audio file", "write the path of one")
    return audio_path(folder, written, place)


def _faulty(name: str, folder: Path, what: str) -> Entry:
    return Entry(name, folder / name, place=printable(folder), fault=InputError(what, "make wav.scp and text agree"))
