import pytest

from nightgate.transcription.scoring import normalise, wer


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("  Hello,\n World! ", "hello world"),
        ("It's", "it is"),
        ("I can't, won't, don't", "i cannot will not do not"),
        (
            "they\N{RIGHT SINGLE QUOTATION MARK}re here; we've gone, I'll stay, I'm late",
            "they are here we have gone i will stay i am late",
        ),
        ("the nation's wounds", "the nations wounds"),
        ("self-evident", "self evident"),
        ("...", ""),
    ],
)
def test_normalise(text, plain):
    assert normalise(text) == plain


def test_spelling_of_the_same_speech_is_no_error():
    assert wer(["It is a truth, universally acknowledged."], ["it's a truth universally acknowledged"]) == (0, 6)


def test_one_error_of_each_kind():
    assert wer(["a b c d"], ["a x c d"]) == (0.25, 4)  # substitution
    assert wer(["a b c d"], ["a c d"]) == (0.25, 4)  # deletion
    assert wer(["a b c d"], ["a b b c d"]) == (0.25, 4)  # insertion


def test_the_rate_is_that_of_the_set_and_not_the_mean_of_the_clips():
    rate, words = wer(["a", "b c d e f g h i j"], ["x", "b c d e f g h i j"])
    assert (rate, words) == (0.1, 10)


def test_silence_is_all_wrong():
    assert wer(["a b c"], [""]) == (1, 3)


def test_a_score_without_a_truth_is_refused():
    with pytest.raises(ValueError, match="without words"):
        wer(["..."], ["anything"])
    with pytest.raises(ValueError, match="without words"):
        wer([], [])
    with pytest.raises(ValueError, match="2 references"):
        wer(["a", "b"], ["a"])
