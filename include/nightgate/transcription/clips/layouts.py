"""How the user's clips may lie: which files belong together, and which belong to nothing and are named. Light.

- a folder with audio files, each beside a .txt of the same stem
- a folder with metadata.csv or metadata.jsonl (Hugging Face's audio folder), or such a file, or any JSONL, csv or tsv
- a tree with *.trans.txt (LibriSpeech), or one such file
- a Kaldi data folder: wav.scp and text, perhaps segments and utt2lang
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from nightgate.errors import InputError
from nightgate.transcription.clips.content import SUFFIXES
from nightgate.transcription.clips.entry import Entry, lines, printable, spoken, text_of
from nightgate.transcription.clips.kaldi import read_kaldi
from nightgate.transcription.clips.rows import names_audio, read_jsonl, read_table

_METADATA = ("metadata.csv", "metadata.jsonl", "metadata.tsv")
_LIBRISPEECH = ".trans.txt"
_ABOUT = ("readme", "license", "licence", "copying", "copyright", "notice", "authors", "changelog", "citation")
_MOST_FILES = 2_000_000


def entries_in(source: Path) -> Iterator[Entry]:
    """Every clip that ``source`` describes, and an entry with a fault for every file of a folder that nothing describes.

    Raises:
        InputError: it is no such folder or file, or it cannot be parsed. OSError: it cannot be read.
    """
    if os.path.isdir(source):
        return _folder(source)
    if not os.path.isfile(source):
        raise InputError(
            f"there is no folder or manifest {printable(source)}", "give a folder of audio, or a JSONL file"
        )
    return _file(source)


def _file(source: Path) -> Iterator[Entry]:
    if source.name == "wav.scp":
        return read_kaldi(source.parent)
    if source.name.endswith(_LIBRISPEECH):
        return _librispeech(source)
    if source.suffix.lower() in (".csv", ".tsv"):
        return read_table(source)
    if source.suffix.lower() in SUFFIXES:
        raise InputError(f"{printable(source)} is an audio file and no manifest", "give the folder it lies in")
    return read_jsonl(source)


def _folder(folder: Path) -> Iterator[Entry]:
    described = [folder / name for name in _METADATA if _is_metadata(folder / name)]
    if os.path.isfile(folder / "wav.scp"):
        described.append(folder / "wav.scp")
    described = described or [file for file in _walk(folder) if file.name.endswith(_LIBRISPEECH)]
    if len(described) > 1 and not described[0].name.endswith(_LIBRISPEECH):
        names = " and ".join(file.name for file in described)
        raise InputError(f"{printable(folder)} holds {names}", "give one of them, by its path")
    if not described:
        yield from _beside(folder)
        return
    used: set[str] = set()
    for file in described:
        for entry in _file(file):
            if not entry.fault:
                used.add(os.path.realpath(entry.audio))
            yield entry
    name = described[0].name
    if name != "wav.scp":  # which lists recordings that lie elsewhere
        yield from _unused(folder, used, f"any *{_LIBRISPEECH}" if name.endswith(_LIBRISPEECH) else name)


def _is_metadata(file: Path) -> bool:
    return os.path.isfile(file) and names_audio(file)


def _beside(folder: Path) -> Iterator[Entry]:
    """Audio files in the order of their names, each with the .txt beside it; then what belongs to nothing."""
    files = [file for file in sorted(folder.iterdir()) if not file.name.startswith(".")]
    inside = [file for file in files if os.path.isdir(file)]
    texts: dict[str, Path] = {}
    for file in files:
        if file.suffix.lower() == ".txt" and file not in inside and texts.setdefault(file.stem, file) is not file:
            first = printable(texts[file.stem].name)
            yield _faulty(file.name, file, f"{printable(file)} is not read: {first} lies beside", "remove one of them")
    manifests = [file.name for file in files if file.suffix in (".jsonl", ".csv", ".tsv")]
    left = dict(texts)
    for audio in files:
        if audio.suffix.lower() not in SUFFIXES or audio in inside:
            continue
        transcript = texts.get(audio.stem)
        left.pop(audio.stem, None)
        yield _with_text(audio, transcript, manifests)
    for stem, file in left.items():
        if stem.lower() not in _ABOUT:
            yield _faulty(stem, file, f"{printable(file)} is beside no audio file of that name", "add the audio")
    for below in inside:
        if count := sum(file.suffix.lower() in SUFFIXES for file in _walk(below)):
            what = f"{printable(below)} holds {count} audio files, and folders in a folder are not read"
            yield _faulty(below.name, below, what, "give a manifest, or that folder itself")


def _with_text(audio: Path, transcript: Path | None, manifests: list[str]) -> Entry:
    if transcript is None:
        beside = f", or give {printable(audio.with_name(manifests[0]))}" if manifests else ""
        name = printable(audio.with_suffix(".txt").name)
        what = f"{printable(audio)} has no transcript beside it"
        return _faulty(audio.stem, audio, what, f"write what is said into {name}{beside}")
    place = printable(transcript)
    try:
        return Entry(audio.stem, audio, spoken(text_of(transcript), place), place=place)
    except InputError as fault:
        return Entry(audio.stem, audio, place=place, fault=fault)


def _librispeech(transcripts: Path) -> Iterator[Entry]:
    """Lines of an utterance's id and its words; its audio lies beside, under any suffix."""
    beside: dict[str, list[Path]] = {}
    for file in sorted(transcripts.parent.iterdir()):
        if file.suffix.lower() in SUFFIXES:
            beside.setdefault(file.stem, []).append(file)
    for line, place in lines(transcripts):
        name, _, words = line.partition(" ")
        candidates = beside.get(name, [])
        if len(candidates) != 1:
            names = ", ".join(printable(file.name) for file in candidates) or "none"
            what = f"{place}: one audio file called {printable(name)} should lie beside it, and there is {names}"
            yield _faulty(name, transcripts.parent / name, what, "add or remove audio")
            continue
        try:
            yield Entry(name, candidates[0], spoken(words, place), place=place)
        except InputError as fault:
            yield Entry(name, candidates[0], place=place, fault=fault)


def _unused(folder: Path, used: set[str], described: str) -> Iterator[Entry]:
    """Audio in a tree that no line describes, and transcripts beside audio that is described elsewhere."""
    stems = {os.path.splitext(path)[0] for path in used}
    for file in _walk(folder):
        real = os.path.realpath(file)
        if file.suffix.lower() in SUFFIXES and real not in used:
            what = f"{printable(file)} stands in no line of {described}"
            yield _faulty(file.stem, file, what, "describe it there")
        elif file.suffix.lower() == ".txt" and os.path.splitext(real)[0] in stems:
            what = f"{printable(file)} is not read: the text stands in {described}"
            yield _faulty(file.name, file, what, "remove one of them")


def _walk(folder: Path) -> Iterator[Path]:
    """Every file below, by name, and hidden ones not; links to folders are followed once."""
    seen, count = set(), 0
    for here, folders, files in os.walk(folder, onerror=_fail, followlinks=True):
        real = os.path.realpath(here)
        folders[:] = [] if real in seen else sorted(name for name in folders if not name.startswith("."))
        if real in seen:
            continue
        seen.add(real)
        count += len(files)
        if count > _MOST_FILES:
            raise InputError(f"{printable(folder)} holds more than {_MOST_FILES} files", "give a manifest")
        yield from (Path(here, name) for name in sorted(files) if not name.startswith("."))


def _fail(error: OSError) -> None:
    raise error  # a folder that may not be entered is not one that holds nothing


def _faulty(name: str, file: Path, what: str, next_step: str) -> Entry:
    return Entry(name, file, place=printable(file), fault=InputError(what, next_step))
