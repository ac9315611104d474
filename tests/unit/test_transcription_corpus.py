"""What the packaged clips say and how they are composed, without the voice."""

import re

import numpy as np
import pytest

from nightgate.transcription.clips import speech
from nightgate.transcription.clips.corpus import CLIPS, passages
from nightgate.transcription.clips.folder import read_clips
from nightgate.transcription.clips.noise import add_noise, pink_noise

WORDS_PER_SECOND = 3.4  # of the packaged voice


def test_every_passage_can_be_scored_without_doubt():
    """No digits, capitals in a row or abbreviations: what is written is exactly what a voice says."""
    for passage in passages():
        assert not re.search(r"\d|[A-Z]{2}|\b(?:Mr|Mrs|Dr|St|etc)\b|[^\w\s,.'?-]", passage.text), passage.id


def test_every_passage_has_its_own_id_and_a_source():
    found = passages()
    assert len({passage.id for passage in found}) == len(found)
    assert len({passage.text for passage in found}) == len(found)
    assert all(re.fullmatch(r"[a-z-]+", passage.id) and re.search(r", 1\d{3}$", passage.source) for passage in found)


def test_every_passage_is_spoken_once():
    spoken = [name for clip in CLIPS for name in clip.passages]
    assert sorted(spoken) == sorted(passage.id for passage in passages())
    assert len({clip.id for clip in CLIPS}) == len(CLIPS)


def test_noise_and_silence_are_not_mixed():
    """A clip stands for one condition, so that the conditions can be told apart."""
    assert not [clip.id for clip in CLIPS if clip.snr_db is not None and clip.silence_seconds]
    assert {clip.snr_db for clip in CLIPS} == {None, 10, 20}


def seconds(clip):
    words = {passage.id: len(passage.text.split()) for passage in passages()}
    return sum(words[name] for name in clip.passages) / WORDS_PER_SECOND + clip.silence_seconds


def test_the_first_minute_holds_a_bit_of_everything():
    first = CLIPS[:5]
    assert 50 < sum(map(seconds, first)) < 75
    assert all(seconds(clip) < 25 for clip in first)
    assert min(map(seconds, first)) < 4
    assert any(clip.snr_db for clip in first)
    assert any(clip.silence_seconds for clip in first)


def test_the_whole_set_goes_from_one_sentence_to_a_minute():
    lengths = list(map(seconds, CLIPS))
    assert sum(lengths) > 490
    assert 55 < max(lengths) < 62
    assert sum(length < 8 for length in lengths) >= 3
    assert sum(12 <= length <= 30 for length in lengths) >= 7
    assert sum(length >= 40 for length in lengths) >= 4
    assert sum(clip.snr_db is not None for clip in CLIPS) >= 4
    assert sum(clip.silence_seconds >= 8 for clip in CLIPS) >= 3


def voiced(text):
    """A stand-in for the voice: a tone, one second for three words."""
    samples = 16_000 * len(text.split()) // 3
    return (0.5 * np.sin(np.arange(samples) * 0.2)).astype(np.float32)


@pytest.fixture
def spoken(tmp_path, monkeypatch):
    monkeypatch.setattr(speech, "speaker", lambda: voiced)

    def speak(audio_seconds):
        folder = tmp_path / str(audio_seconds)
        folder.mkdir()
        facts = speech.speak(speech.SpeechRequest(folder, audio_seconds))
        return folder, facts, read_clips(folder)

    return speak


def test_a_longer_set_begins_with_the_shorter_one(spoken):
    _, short, first = spoken(60)
    _, long, all_of_them = spoken(400)
    assert all_of_them[: len(first)] == first
    assert short.sha256 != long.sha256


def test_the_set_repeats_when_more_is_asked_than_there_is(spoken):
    folder, facts, clips = spoken(900)
    assert facts.count == len(clips) > len(CLIPS)
    assert facts.repeated == len(clips) - len(CLIPS)
    assert clips[len(CLIPS)] == clips[0].model_copy(update={"id": f"{CLIPS[0].id}-2"})
    assert len(list(folder.glob("*.npy"))) == len(CLIPS)
    assert facts.seconds == pytest.approx(sum(clip.seconds for clip in clips))
    made_of = [CLIPS[place % len(CLIPS)] for place in range(len(clips))]
    noisy, silence = sum(one.snr_db is not None for one in made_of), sum(one.silence_seconds > 0 for one in made_of)
    assert facts.conditions == {"clean": facts.count - noisy - silence, "noisy": noisy, "silence": silence}


def test_silence_stands_where_it_is_written(spoken):
    folder, _, clips = spoken(300)
    clip = next(clip for clip in clips if clip.id == "pause-10s")
    audio = np.load(folder / clip.file)
    before = len(voiced("Early to bed and early to rise makes a man healthy, wealthy and wise."))
    assert clip.silence_seconds == 10
    assert not audio[before : before + 10 * 16_000].any()
    assert audio[:before].any()
    assert audio[before + 10 * 16_000 :].any()


@pytest.mark.parametrize("snr_db", [20, 10, -3])
def test_the_noise_has_the_ratio_it_names(snr_db):
    speech_alone = np.concatenate([voiced("one two three " * 5), np.zeros(16_000, dtype=np.float32)])
    mixed = add_noise(speech_alone, snr_db, seed=3).astype(np.float64)
    scale = (mixed @ speech_alone) / (speech_alone @ speech_alone)  # what turning down left of the speech
    noise = mixed / scale - speech_alone
    assert 10 * np.log10(np.mean(speech_alone**2) / np.mean(noise**2)) == pytest.approx(snr_db, abs=0.2)
    assert (mixed.dtype, np.abs(mixed).max() <= 1) == (np.float64, True)


def test_a_mix_that_would_clip_is_turned_down():
    loud = np.where(np.arange(16_000) % 80 < 40, 1, -1).astype(np.float32)
    mixed = add_noise(loud, 10, seed=0)
    assert np.abs(mixed).max() == pytest.approx(1)
    assert (np.abs(mixed) == 1).sum() == 1  # clipping would leave many


def test_noise_is_pink_and_its_own_seed_decides_it():
    noise = pink_noise(160_000, seed=1)
    assert np.array_equal(noise, pink_noise(160_000, seed=1))
    assert not np.array_equal(noise, pink_noise(160_000, seed=2))
    power = np.abs(np.fft.rfft(noise)) ** 2
    hz = np.fft.rfftfreq(160_000, 1 / 16_000)
    octaves = [power[(hz >= low) & (hz < 2 * low)].sum() for low in (100, 400, 1600)]
    assert octaves == pytest.approx([octaves[0]] * 3, rel=0.15)  # as much in each octave
    assert power[hz < 50].max() < 1e-9 * power.max()
