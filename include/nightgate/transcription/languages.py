"""The languages Whisper knows, and how their text is written. Light: a form is built from it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final, Literal

from nightgate.errors import closest

ErrorRate = Literal["wer", "cer"]
"""Errors of words or of characters, by their metric."""

AUTO: Final = "auto"
"""The engine finds the language of each clip out by itself."""

LANGUAGES: Final = {
    "en": "english",
    "zh": "chinese",
    "de": "german",
    "es": "spanish",
    "ru": "russian",
    "ko": "korean",
    "fr": "french",
    "ja": "japanese",
    "pt": "portuguese",
    "tr": "turkish",
    "pl": "polish",
    "ca": "catalan",
    "nl": "dutch",
    "ar": "arabic",
    "sv": "swedish",
    "it": "italian",
    "id": "indonesian",
    "hi": "hindi",
    "fi": "finnish",
    "vi": "vietnamese",
    "he": "hebrew",
    "uk": "ukrainian",
    "el": "greek",
    "ms": "malay",
    "cs": "czech",
    "ro": "romanian",
    "da": "danish",
    "hu": "hungarian",
    "ta": "tamil",
    "no": "norwegian",
    "th": "thai",
    "ur": "urdu",
    "hr": "croatian",
    "bg": "bulgarian",
    "lt": "lithuanian",
    "la": "latin",
    "mi": "maori",
    "ml": "malayalam",
    "cy": "welsh",
    "sk": "slovak",
    "te": "telugu",
    "fa": "persian",
    "lv": "latvian",
    "bn": "bengali",
    "sr": "serbian",
    "az": "azerbaijani",
    "sl": "slovenian",
    "kn": "kannada",
    "et": "estonian",
    "mk": "macedonian",
    "br": "breton",
    "eu": "basque",
    "is": "icelandic",
    "hy": "armenian",
    "ne": "nepali",
    "mn": "mongolian",
    "bs": "bosnian",
    "kk": "kazakh",
    "sq": "albanian",
    "sw": "swahili",
    "gl": "galician",
    "mr": "marathi",
    "pa": "punjabi",
    "si": "sinhala",
    "km": "khmer",
    "sn": "shona",
    "yo": "yoruba",
    "so": "somali",
    "af": "afrikaans",
    "oc": "occitan",
    "ka": "georgian",
    "be": "belarusian",
    "tg": "tajik",
    "sd": "sindhi",
    "gu": "gujarati",
    "am": "amharic",
    "yi": "yiddish",
    "lo": "lao",
    "uz": "uzbek",
    "fo": "faroese",
    "ht": "haitian creole",
    "ps": "pashto",
    "tk": "turkmen",
    "nn": "nynorsk",
    "mt": "maltese",
    "sa": "sanskrit",
    "lb": "luxembourgish",
    "my": "myanmar",
    "bo": "tibetan",
    "tl": "tagalog",
    "mg": "malagasy",
    "as": "assamese",
    "tt": "tatar",
    "haw": "hawaiian",
    "ln": "lingala",
    "ha": "hausa",
    "ba": "bashkir",
    "jw": "javanese",
    "su": "sundanese",
    "yue": "cantonese",
}
"""Code → name, in the order of OpenAI's `whisper/tokenizer.py`; the last one came with large-v3."""

CODES: Final = (AUTO, *LANGUAGES)

_WITHOUT_SPACES: Final = frozenset({"zh", "yue", "ja", "th", "lo", "my", "km", "bo"})
_THREE_LETTERS: Final = (
    "eng en, deu de, ger de, fra fr, fre fr, spa es, ita it, por pt, nld nl, dut nl, rus ru, jpn ja, zho zh, chi zh, kor ko, "
    "ara ar, hin hi, tur tr, pol pl, ukr uk, swe sv, nor no, nob no, nno nn, dan da, fin fi, ces cs, cze cs, ell el, gre el, "
    "heb he, hun hu, ron ro, rum ro, tha th, vie vi, ind id, msa ms, may ms, cat ca, fas fa, per fa, ben bn, tam ta, tel te, "
    "mar mr, urd ur, bul bg, hrv hr, srp sr, slk sk, slo sk, slv sl, lit lt, lav lv, est et, eus eu, baq eu, cym cy, wel cy"
)
"""ISO 639-2 and 639-3 of the commonest."""

_OTHER_CODES: Final = {
    **dict(pair.split() for pair in _THREE_LETTERS.split(", ")),
    "cmn": "zh",
    "zh-hk": "yue",
    "iw": "he",
    "nb": "no",
    "fil": "tl",
    "jv": "jw",
    "burmese": "my",
    "mandarin": "zh",
    "flemish": "nl",
    "castilian": "es",
    "farsi": "fa",
}
"""What other collections call some of them."""


def canonical(label: str) -> str | None:
    """The code of a language as people label it, "de", "de-AT", "de_de", "German"; None when it is none of Whisper's."""
    plain = label.strip().lower().replace("_", "-")
    for known in (plain, plain.partition("-")[0]):
        if known in _OTHER_CODES:
            return _OTHER_CODES[known]
        if known in LANGUAGES:
            return known
    return next((code for code, name in LANGUAGES.items() if name == plain.replace("-", " ")), None)


def nearest(label: str) -> str:
    """The code that comes closest to ``label``, for an error message."""
    if code := canonical(label):
        return code
    names = {name: code for code, name in LANGUAGES.items()}
    match = closest(label.strip().lower(), [*names, *CODES], cutoff=0)
    assert match is not None, "without a cutoff one is the closest"
    return names.get(match, match)


def without_spaces(language: str, text: str) -> bool:
    """Whether words stand without spaces between them, so that errors are counted by characters.

    The language says it; where it is not known (`AUTO`) most letters of ``text`` do.
    """
    if language != AUTO:
        return language in _WITHOUT_SPACES
    letters = [character for character in text if character.isalpha()]
    return 2 * sum(map(_of_such_a_script, letters)) > len(letters)


def judged_by(language: str, texts: Iterable[str]) -> ErrorRate:
    """The error rate that an objective holds for: ``cer`` where words cannot be counted, else ``wer``."""
    return "cer" if without_spaces(language, " ".join(texts)) else "wer"


def _of_such_a_script(letter: str) -> bool:
    return any(first <= letter <= last for first, last in _SCRIPTS)


_SCRIPTS: Final = (
    ("\u0e00", "\u0fff"),  # Thai, Lao, Tibetan
    ("\u1000", "\u109f"),  # Myanmar
    ("\u1780", "\u17ff"),  # Khmer
    ("\u3040", "\u30ff"),  # Hiragana, Katakana
    ("\u3400", "\u9fff"),  # Han
    ("\uf900", "\ufaff"),  # Han, compatibility
    ("\uff66", "\uff9f"),  # Katakana, half width
    ("\U00020000", "\U0003ffff"),  # Han, rare
)


def contradiction(language: str, clips: Iterable[tuple[str, str | None]]) -> str | None:
    """Why clips (their id, and the language they are labelled with, if any) cannot be transcribed as ``language``; None
    if they can."""
    for clip, label in clips:
        if not label:
            continue
        code = canonical(label)
        if code is None:
            return (
                f"the clip {clip} is labelled {label!r}, which is no language Whisper knows; correct it or leave it out"
            )
        if language not in (AUTO, code):
            return (
                f"the clip {clip} is in {code} ({LANGUAGES[code]}), and transcription.language is {language}; set it to "
                f"{code}, or to auto with a multilingual model, or leave the clip out with transcription.exclude"
            )
    return None
