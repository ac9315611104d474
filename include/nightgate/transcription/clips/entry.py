"""One clip of the user's as a folder or manifest describes it, and what every reader of them needs. Light."""

from __future__ import annotations

import json
import re
import shlex
import unicodedata
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import yaml

from nightgate.errors import InputError

_LONGEST = 1 << 20  # bytes of a manifest line or a transcript: an hour of speech is a tenth of it
_MOST_NAMED = 10
_LONGEST_NAME = 255
_IN_BRACKETS = re.compile(r"[<\[][^>\]]*[>\]]|\([^)]*\)")  # Whisper's normalisers drop it


@dataclass(frozen=True, slots=True)
class Entry:
    """One clip of the user's. An empty ``text`` says that nothing is spoken.

    ``offset`` and ``duration`` are seconds: with an offset, the clip is cut from the file there (no duration: to its
    end); without one it is the whole file, and ``duration`` a claim about it. ``language`` is as it is written.
    ``place`` is where the clip is described. ``id`` is a name that was given, or the stem of the audio file and what
    is cut from it, or its path from the source's folder where two stems are the same. ``fault``: why it cannot be used.
    """

    id: str
    audio: Path
    text: str = ""
    offset: float | None = None
    duration: float | None = None
    language: str | None = None
    place: str = ""
    fault: InputError | None = None

    @property
    def span(self) -> str:
        """What follows the name of the file in an id: nothing for a whole file."""
        if self.offset is None:
            return ""
        end = "end" if self.duration is None else f"{self.offset + self.duration:.10g}"
        return f"@{self.offset:.10g}-{end}"


def spoken(text: str, place: str) -> str:
    """``text`` with single spaces.

    Raises:
        InputError: it is not empty and yet holds no word: perhaps the words are missing, so nobody is to guess.
    """
    words = " ".join(text.split())
    if not is_utf8(words):
        raise InputError(f"{place}: the text is not valid Unicode", "write it in UTF-8")
    outside = _IN_BRACKETS.sub("", unicodedata.normalize("NFKC", words))  # brackets may be of full width
    if words and not any(letter.isalnum() for letter in outside):
        where = "outside brackets " if any(letter.isalnum() for letter in words) else ""
        raise InputError(
            f"{place}: there is no word {where}in the text {words[:60]!r}",
            "write down what is said, or leave the text empty where nothing is said",
        )
    return words


def audio_path(folder: Path, written: str, place: str) -> Path:
    """The file that is written down at ``place``, from ``folder``. InputError: no file can be called so."""
    if not is_utf8(written) or "\0" in written:
        raise InputError(f"{place}: the name of the audio is not valid Unicode", "write it in UTF-8")
    return folder / written


def lines(file: Path) -> Iterator[tuple[str, str]]:
    """Each line of a file that is not blank, with its place (``file:number``).

    Raises:
        InputError: one is too long or not UTF-8. OSError: the file cannot be read.
    """
    with open(file, "rb") as opened:
        number = 0
        while line := opened.readline(_LONGEST + 1):
            number += 1
            place = f"{printable(file)}:{number}"
            if text := decoded(line, place).strip():
                yield text, place


def text_of(file: Path) -> str:
    """The text in a file. InputError: it is too long or not UTF-8. OSError: it cannot be read."""
    with open(file, "rb") as opened:
        return decoded(opened.read(_LONGEST + 1), printable(file))


def decoded(data: bytes, place: str) -> str:
    if len(data) > _LONGEST:
        raise InputError(f"{place} is longer than {_LONGEST} bytes", "give a JSONL manifest, or text files")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{place} is not UTF-8 ({error.reason} at byte {error.start})", "save it as UTF-8") from None


def is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:  # a lone surrogate: escaped in the JSON, or from a file name in another encoding
        return False
    return True


def printable(name: str | Path) -> str:
    """A name as a message can hold it: a file name may be any bytes, and one in a manifest any length."""
    text = str(name)[:500]
    return text if text.isprintable() else ascii(text)


def unusable(bad: Mapping[str, str], count: int) -> tuple[str, str]:
    """What is wrong and the next step, of clips that cannot be used: their ids, each with its reason."""
    named = list(bad)[:_MOST_NAMED]
    left = len(bad) - len(named)
    what = f"{len(bad)} of {count} clips cannot be used: {'; '.join(bad[name] for name in named)}"
    next_step = leave_out("mend it" if len(bad) == 1 else "mend them", named)
    return (f"{what}; and {left} more", f"{next_step} and so on") if left else (what, next_step)


def leave_out(mend: str, names: list[str]) -> str:
    """``mend``, and how else to leave these clips out, ready to be pasted."""
    if any(len(name) > _LONGEST_NAME for name in names):
        return mend
    override = f"transcription.exclude=[{','.join(map(_in_a_list, names))}]"
    return f"{mend}, or leave {'it' if len(names) == 1 else 'them'} out with --set {shlex.quote(override)}"


def _in_a_list(name: str) -> str:
    """The name as YAML reads it back in a list: ``0017`` and ``no`` bare would not come back as text."""
    try:
        bare = name.isprintable() and yaml.safe_load(f"[{name}]") == [name]
    except yaml.YAMLError:
        bare = False
    return name if bare else json.dumps(name, ensure_ascii=not name.isprintable())
