"""Whether texts are obviously in another language than they are said to be: by their letters and their commonest words.

It is no language detector: it speaks up only where the little words of another language abound and those of the one
that is claimed are all but missing (Grefenstette, *Comparing Two Language Identification Schemes*, JADT 1995), or where
they are missing and letters abound that English has in borrowed words only.
"""

from __future__ import annotations

import unicodedata
from typing import Final

from nightgate.transcription.languages import LANGUAGES

_FEWEST_WORDS = 10
_ABOUND, _MISSING = 0.15, 0.05  # of all words; in running text the lists below make up 0.25 to 0.45

_BORROWED = 0.02  # of all letters; in Polish, Danish, Czech or Turkish the letters beyond a to z make up 0.03 to 0.15

_LITTLE_WORDS: Final = {
    "en": "the of and to a is that it for you with this be are have not on at but they which from what we or his her",
    "de": "der das und ist nicht ich zu den dem ein eine einen mit auf für von sich auch als wie er sie wir aber noch wird",
    "fr": "le la les de des du et est un une que qui pas je il elle nous vous dans pour sur ce cette avec mais au",
    "es": "el la los las de del y es un una que no se en por con para lo su al como más pero yo este esta",
    "it": "il la lo gli di del della e è un una che non si in per con le da sono ma come più questo questa",
    "pt": "o a os as de do da e é um uma que não se em por com para no na mas como mais eu este esta",
    "nl": "de het een en van is dat niet ik te met op voor zijn aan er maar ook als wij je hij ze wordt naar",
}
_WORDS: Final = {language: frozenset(words.split()) for language, words in _LITTLE_WORDS.items()}
_ENGLISH_ONLY: Final = _WORDS["en"] - frozenset(
    ["a", "to", "for", "at", "on", "have", "but", "we", "or", "her", "from"]
)
"""Of the English words those that are none of the commonest in Polish, Danish, Hungarian and the like."""


def looks_unlike(language: str, text: str) -> str | None:
    """What ``text`` looks like, in words, where it is obviously not ``language``; None where it may be, or nothing is
    known of that language."""
    if language not in _WORDS:
        return None
    letters = [character for character in text if character.isalpha()]
    latin = sum(unicodedata.name(letter, "").startswith("LATIN") for letter in letters)
    if 2 * latin < len(letters):
        return "are not written in Latin letters"
    words = [word.strip(".,;:!?\"'()") for word in text.lower().split()]
    if len(words) < _FEWEST_WORDS:
        return None
    likeliest = max(_WORDS, key=lambda other: _share(words, _WORDS[other] - _WORDS[language]))
    theirs, own = _WORDS[likeliest] - _WORDS[language], _WORDS[language] - _WORDS[likeliest]
    if language == "en" and _share(words, _ENGLISH_ONLY) < _MISSING:
        beyond = sum(not letter.isascii() for letter in letters)
        if beyond > _BORROWED * len(letters) and _share(words, theirs) < _ABOUND:
            return "are written with letters that English does not have"
    if _share(words, theirs) < _ABOUND or _share(words, own) >= _MISSING:
        return None
    return f"look {LANGUAGES[likeliest]} ({likeliest})"


def _share(words: list[str], little: frozenset[str]) -> float:
    return sum(word in little for word in words) / len(words)
