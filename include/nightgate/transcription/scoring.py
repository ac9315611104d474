"""Errors of words and of characters, counted after the normalisation that Whisper's own evaluation uses."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Sequence
from functools import cache
from typing import TYPE_CHECKING, NamedTuple, Protocol

from nightgate.transcription.languages import without_spaces

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

ENGLISH = "en"


class Alignment(Protocol):
    """How many edits make a hypothesis of a reference, as `jiwer` counts them."""

    @property
    def substitutions(self) -> int: ...

    @property
    def deletions(self) -> int: ...

    @property
    def insertions(self) -> int: ...


_DOTTED_I = ("tr", "az")  # their capital of ı is I, and that of i is İ
_TWO_PARTS = (("\u0e4d([\u0e48-\u0e4b]?)\u0e32", "\u0e33"), ("\u0ecd([\u0ec8-\u0ecb]?)\u0eb2", "\u0eb3"))


def normalise(text: str, language: str = ENGLISH) -> str:
    """``text`` as errors are counted in it (Radford et al., *Robust Speech Recognition via Large-Scale Weak
    Supervision*, 2022, appendix C).

    English gets Whisper's English normaliser: lower case, contractions and numbers in one spelling, American spelling,
    no punctuation, nothing that stands in brackets. Every other language, and `languages.AUTO`, gets its basic one:
    lower case, NFKC, no punctuation or symbols, nothing in brackets. Nothing is folded further there: "Maßen" is not
    "Massen" and "schön" not "schon". Unlike Whisper's, it keeps combining marks (the vowels of Hindi or Thai are such),
    and knows which letters Turkish capitals stand for.
    """
    return _english()(text) if language == ENGLISH else _basic(text, language)


def normaliser(language: str) -> str:
    """What `normalise` does for ``language``, in words."""
    if language == ENGLISH:
        return "Whisper's English normaliser"
    return "Whisper's basic normaliser, diacritics and combining marks kept"


def says_something(text: str, language: str = ENGLISH) -> bool:
    """Whether anything is left after normalisation that can be spoken (of "..." the normaliser leaves one stop)."""
    return any(character.isalnum() for character in normalise(text, language))


def word_errors(
    references: Sequence[str], hypotheses: Sequence[str], languages: str | Sequence[str] = ENGLISH
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Substitutions, deletions and insertions of each clip, and the words of its reference.

    The word error rate of the set is the sum of the first over the sum of the second, which is not the mean of the
    clips' rates. A reference without words, of a clip in which nobody speaks, has none that could be missed; every
    word that is heard in it is an insertion.

    Args:
        languages: the language of all clips, or of each.

    Returns:
        two int64 arrays, shape (clips,).

    Raises:
        ValueError: no clips, or not as many hypotheses or languages as references.
    """
    import jiwer

    return _errors(_pairs(references, hypotheses, languages), jiwer.process_words, lambda text: len(text.split()))


def character_errors(
    references: Sequence[str], hypotheses: Sequence[str], languages: str | Sequence[str] = ENGLISH
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """As `word_errors` over Unicode characters (CER). A space between words is one of them, but where a language is
    written without spaces none counts: there a space only stands for punctuation."""
    import jiwer

    pairs = [
        pair.without_spaces() if without_spaces(pair.language, pair.reference) else pair
        for pair in _pairs(references, hypotheses, languages)
    ]
    return _errors(pairs, jiwer.process_characters, len)


class _Pair(NamedTuple):
    """A reference and a hypothesis as they are compared."""

    reference: str
    hypothesis: str
    language: str

    def without_spaces(self) -> _Pair:
        return _Pair(self.reference.replace(" ", ""), self.hypothesis.replace(" ", ""), self.language)


def _pairs(references: Sequence[str], hypotheses: Sequence[str], languages: str | Sequence[str]) -> list[_Pair]:
    """Each clip's pair; a text is empty where nothing in it can be spoken."""
    each = [languages] * len(references) if isinstance(languages, str) else languages
    if not len(references) == len(hypotheses) == len(each):
        raise ValueError(f"{len(references)} references, {len(hypotheses)} hypotheses, {len(each)} languages")
    if not references:
        raise ValueError("a set without clips, and so without words, cannot be scored")

    def plain(text: str, language: str) -> str:
        return " ".join(normalise(text, language).split()) if says_something(text, language) else ""

    return [
        _Pair(plain(reference, language), plain(hypothesis, language), language)
        for reference, hypothesis, language in zip(references, hypotheses, each, strict=True)
    ]


def _errors(
    pairs: Sequence[_Pair], align: Callable[[str, str], Alignment], size: Callable[[str], int]
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    import numpy as np

    errors, sizes = [], []
    for pair in pairs:
        edits = align(pair.reference, pair.hypothesis)
        errors.append(edits.substitutions + edits.deletions + edits.insertions)
        sizes.append(size(pair.reference))
    return np.array(errors, np.int64), np.array(sizes, np.int64)


def _basic(text: str, language: str) -> str:
    from whisper_normalizer.basic import BasicTextNormalizer

    if language in _DOTTED_I:
        text = text.replace("I", "ı")
    text = unicodedata.normalize("NFKC", text.replace("İ", "i"))  # first: brackets may be of full width
    text = "".join(character for character in text if unicodedata.category(character) != "Cf")  # nobody hears them
    plain = str(BasicTextNormalizer(preserve_marks=True)(text))
    for parts, whole in _TWO_PARTS:  # NFKC takes Thai's and Lao's AM apart, and puts no tone mark where it belongs
        plain = re.sub(parts, rf"\1{whole}", plain)
    return plain.strip()


@cache
def _english() -> Callable[[str], str]:
    from whisper_normalizer.english import EnglishTextNormalizer

    normalizer: Callable[[str], str] = EnglishTextNormalizer()
    return normalizer
