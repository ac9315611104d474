import pytest

from nightgate.transcription.languages import AUTO, LANGUAGES
from nightgate.transcription.scoring import character_errors, normalise, normaliser, says_something, word_errors


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("  Hello,\n World! ", "hello world"),
        ("I can't, won't, don't", "i can not will not do not"),
        ("Mr. Smith's colour", "mister smith is color"),  # a possessive reads as a contraction, as in Whisper's own
        ("[BLANK_AUDIO] (applause) so", "so"),
        ("twenty one dollars", "$21"),
        ("self-evident", "self evident"),
    ],
)
def test_it_is_the_normaliser_of_whisper(text, plain):
    assert normalise(text) == normalise(text, "en") == plain


@pytest.mark.parametrize(
    ("language", "text", "plain"),
    [
        ("de", "Maßen, schön!", "maßen schön"),  # not Massen, not schon
        ("de", "MA\N{LATIN CAPITAL LETTER SHARP S}EN", "maßen"),
        ("de", "scho\N{COMBINING DIAERESIS}n", "schön"),  # composed or not, it is the same letter
        ("fr", "Que l\N{RIGHT SINGLE QUOTATION MARK}homme, [MUSIQUE] s'en aille.", "que l homme s en aille"),
        ("de", "twenty one, don't", "twenty one don t"),  # English is not read into other languages
        ("tr", "İSTANBUL IŞIK", "istanbul ışık"),
        ("az", "QIZIL İ", "qızıl i"),
        ("de", "İstanbul I", "istanbul i"),
        ("hi", "हिन्दी, में।", "हिन्दी में"),  # its vowels are combining marks
        ("th", "น้ำ (เพลง) ทำ", "น้ำ ทำ"),
        ("th", "นํ้า ทํา", "น้ำ ทำ"),  # the same words, typed in parts
        ("lo", "ນ້ຳ ນໍ້າ", "ນ້ຳ ນ້ຳ"),
        ("yo", "ẹ\N{COMBINING ACUTE ACCENT}kọ́", "ẹ́kọ́"),  # there is no such letter in one piece
        ("ja", "（笑）ＡＢＣ、１２ ｶﾅ", "abc 12 カナ"),
        ("fa", "\N{RIGHT-TO-LEFT MARK}می\N{ZERO WIDTH NON-JOINER}روم\N{ZERO WIDTH NO-BREAK SPACE}", "میروم"),
        ("ru", "Ёлка — ёж", "ёлка ёж"),
        (AUTO, "It's Maßen", "it s maßen"),
    ],
)
def test_other_languages_get_the_basic_one_and_keep_what_tells_words_apart(language, text, plain):
    assert normalise(text, language) == plain


def test_the_record_can_say_which_it_was():
    assert normaliser("en") == "Whisper's English normaliser"
    for language in ("de", "zh", AUTO):
        assert normaliser(language) == "Whisper's basic normaliser, diacritics and combining marks kept"


@pytest.mark.parametrize("text", ["", " ", "...", "[BLANK_AUDIO]", "(sighs)", "\N{MUSIC NATURAL SIGN}"])
@pytest.mark.parametrize("language", ["en", "de", AUTO])
def test_nothing_is_nothing(text, language):
    assert not says_something(text, language)
    assert says_something(text + " yes", language)


@pytest.mark.parametrize("text", ["हाँ", "ไม่", "是", "نعم", "はい"])
def test_every_script_says_something(text):
    for language in ("en", "hi", AUTO):
        assert says_something(text, language)


def counts(references, hypotheses, *languages):
    errors, words = word_errors(references, hypotheses, *languages)
    return errors.tolist(), words.tolist()


def characters(references, hypotheses, *languages):
    errors, sizes = character_errors(references, hypotheses, *languages)
    return errors.tolist(), sizes.tolist()


def test_spelling_of_the_same_speech_is_no_error():
    assert counts(["It is a truth, universally acknowledged."], ["it's a truth universally acknowledged"]) == ([0], [6])
    assert counts(["It is"], ["it's"], "de") == ([1], [2])


def test_errors_of_each_kind_add_up():
    truth = "red green blue black"
    heard = [
        "red white blue black",
        "red blue",
        "so red green grey green blue black",
        "red grey blue so black",
    ]  # a substitution, two deletions, three insertions, a substitution and an insertion
    assert counts([truth] * 4, heard) == ([1, 2, 3, 2], [4] * 4)
    assert counts(["red", "red green"], ["red", ""]) == ([0, 2], [1, 2])


def test_each_clip_may_have_a_language_of_its_own():
    truths, heard = ["It is Maßen", "It is Maßen"], ["it's massen", "it's massen"]
    assert counts(truths, heard, ["en", "de"]) == ([0, 2], [3, 3])


def test_a_hesitation_is_a_word_but_in_english():
    assert counts(["hmm"], ["so"], "de") == ([1], [1])
    assert counts(["hmm"], ["so"], "en") == ([1], [0])
    assert counts(["so"], ["hmm"], "de") == counts(["so"], ["hmm"], "en") == ([1], [1])


def test_the_stop_that_a_hesitation_leaves_is_no_word():
    assert normalise("Hmm...") == "."
    assert counts(["...", "Hmm..."], ["Hmm...", "..."]) == ([0, 0], [0, 0])


def test_silence_where_words_were_spoken_is_all_wrong():
    assert counts(["red green blue"], ["..."]) == ([3], [3])


def test_words_where_nobody_spoke_are_insertions():
    assert counts(["", "...", "[MUSIC]"], ["you know", "(music)", "you"]) == ([2, 0, 1], [0, 0, 0])
    assert characters([""], ["you"]) == ([3], [0])


def test_characters_count_with_the_spaces_between_words():
    assert characters(["Schön so."], ["schon so"], "de") == ([1], [8])
    assert characters(["ab cd"], ["abcd"], "de") == ([1], [5])
    assert characters(["I can't"], ["I cannot"], "en") == ([1], [9])  # "i can not", "i cannot"
    assert characters(["a  b"], ["a b"], "de") == ([0], [3])


@pytest.mark.parametrize("language", ["zh", "ja", AUTO])
def test_where_no_space_is_written_none_counts(language):
    assert characters(["今天天气很好"], ["今天 天气，不好。"], language) == ([1], [6])


def test_what_the_truth_is_written_in_decides_where_the_language_is_not_known():
    assert characters(["今天"], ["to day"], AUTO) == ([5], [2])
    assert characters(["to day"], ["今天"], AUTO) == ([6], [6])


def test_a_score_without_a_truth_is_refused():
    with pytest.raises(ValueError, match="without words"):
        word_errors([], [])
    with pytest.raises(ValueError, match="2 references, 1 hypotheses"):
        word_errors(["a", "b"], ["a"])
    with pytest.raises(ValueError, match="1 languages"):
        character_errors(["a", "b"], ["a", "b"], ["en"])


def test_every_language_can_be_scored():
    for language in LANGUAGES:
        assert counts(["one", "two"], ["one", "too"], language) == ([0, 1], [1, 1])
