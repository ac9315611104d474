import re

from nightgate.transcription.clips import passages


def test_every_passage_can_be_scored_without_doubt():
    """No digits, capitals in a row or abbreviations: what is written is exactly what a voice says."""
    for passage in passages():
        assert not re.search(r"\d|[A-Z]{2}|\b(?:Mr|Mrs|Dr|St|etc)\b|[^\w\s,.'?-]", passage.text), passage.id


def test_every_passage_has_its_own_id_and_a_source():
    found = passages()
    assert len({passage.id for passage in found}) == len(found)
    assert len({passage.text for passage in found}) == len(found)
    assert all(re.fullmatch(r"[a-z-]+", passage.id) and re.search(r", 1\d{3}$", passage.source) for passage in found)


def test_passages_fill_one_window_of_whisper_and_not_two():
    """The voice says about 3.4 words a second: 40 to 80 words are 12 to 24 seconds."""
    assert all(40 <= len(passage.text.split()) <= 80 for passage in passages())
