import pytest

from nightgate.transcription.languages import (
    AUTO,
    CODES,
    LANGUAGES,
    canonical,
    contradiction,
    judged_by,
    nearest,
    without_spaces,
)


def test_they_are_whispers():
    from pywhispercpp.model import Model

    assert list(LANGUAGES) == Model.available_languages()
    assert (AUTO, *LANGUAGES) == CODES


@pytest.mark.parametrize(
    ("label", "code"),
    [
        ("de", "de"),
        (" DE ", "de"),
        ("de-AT", "de"),
        ("de_de", "de"),
        ("German", "de"),
        ("haitian creole", "ht"),
        ("haitian_creole", "ht"),
        ("cmn_hans_cn", "zh"),
        ("zh-TW", "zh"),
        ("zh-HK", "yue"),
        ("yue_hant_hk", "yue"),
        ("iw", "he"),
        ("nb-NO", "no"),
        ("fil_ph", "tl"),
        ("mandarin", "zh"),
        ("klingon", None),
        ("", None),
        ("auto", None),
        ("deu", "de"),
        ("eng-US", "en"),
        ("wel", "cy"),
        ("xyz", None),
    ],
)
def test_a_label_as_people_write_it(label, code):
    assert canonical(label) == code


@pytest.mark.parametrize(
    ("label", "code"),
    [("german", "de"), ("de-DE", "de"), ("germn", "de"), ("dee", "de"), ("aut", "auto"), ("cantones", "yue")],
)
def test_the_nearest(label, code):
    assert nearest(label) == code
    assert nearest("x" * 5000) in CODES


@pytest.mark.parametrize("language", ["zh", "yue", "ja", "th", "lo", "my", "km", "bo"])
def test_languages_without_spaces(language):
    assert without_spaces(language, "any text at all")


def test_the_text_decides_only_where_the_language_is_not_known():
    assert not without_spaces("de", "今天天气")
    assert not without_spaces("ko", "오늘 날씨")
    for text in ("今天天气", "ありがとう", "น้ำ", "ນ້ຳ", "မြန်မာ", "ខ្មែរ", "བོད", "ｶﾅ", "今天天气 abc", "\U00020000豈"):
        assert without_spaces(AUTO, text), text
    for text in ("", "123", "오늘 날씨", "今天天气 abcd", "हिन्दी", "\u0dff", "\u303f"):
        assert not without_spaces(AUTO, text), text


def test_clips_must_be_in_the_language_of_the_run():
    assert contradiction("de", [("a", None), ("b", ""), ("c", "de-AT")]) is None
    assert contradiction(AUTO, [("a", "de"), ("b", "en")]) is None
    found = contradiction("en", [("a", "en"), ("b", "German"), ("c", "fr")])
    assert "the clip b is in de (german), and transcription.language is en" in found
    assert "'xx'" in contradiction("en", [("a", "xx")])
    assert "no language Whisper knows" in contradiction(AUTO, [("a", "xx")])


def test_what_is_judged():
    assert judged_by("zh", []) == judged_by(AUTO, ["今天", "天气"]) == "cer"
    assert judged_by("de", ["今天"]) == judged_by(AUTO, ["a b c", "天气"]) == judged_by(AUTO, []) == "wer"


def test_what_others_call_a_language_is_one_of_whispers():
    from nightgate.transcription import languages

    assert set(languages._OTHER_CODES.values()) <= set(LANGUAGES)
    assert not set(languages._OTHER_CODES) & set(LANGUAGES)
