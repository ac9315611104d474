import pytest

from nightgate.transcription.scoring import normalise, says_something, word_errors


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
    assert normalise(text) == plain


@pytest.mark.parametrize("text", ["", " ", "...", "[BLANK_AUDIO]", "(sighs)", "\N{MUSIC NATURAL SIGN}"])
def test_nothing_is_nothing(text):
    assert not says_something(text)
    assert says_something(text + " yes")


def counts(references, hypotheses):
    errors, words = word_errors(references, hypotheses)
    return errors.tolist(), words.tolist()


def test_spelling_of_the_same_speech_is_no_error():
    assert counts(["It is a truth, universally acknowledged."], ["it's a truth universally acknowledged"]) == ([0], [6])


def test_one_error_of_each_kind():
    truth = "red green blue black"
    heard = [
        "red white blue black",
        "red blue black",
        "red green green blue black",
    ]  # substitution, deletion, insertion
    assert counts([truth] * 3, heard) == ([1, 1, 1], [4, 4, 4])


def test_silence_is_all_wrong():
    assert counts(["red green blue"], [""]) == ([3], [3])


def test_a_score_without_a_truth_is_refused():
    with pytest.raises(ValueError, match="without words"):
        word_errors(["..."], ["anything"])
    with pytest.raises(ValueError, match="without words"):
        word_errors([], [])
    with pytest.raises(ValueError, match="2 references"):
        word_errors(["a", "b"], ["a"])
