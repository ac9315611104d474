"""The clip sets as they are made: the real voice, real files, a child process, the cache."""

import json

import numpy as np
import pytest
import soundfile

from nightgate.artifacts.cache import Cache
from nightgate.errors import ArtifactError, InputError
from nightgate.suite import parse_overrides
from nightgate.transcription.clips.corpus import CLIPS
from nightgate.transcription.clips.folder import read_clips
from nightgate.transcription.clips.sets import clip_set, user_clip_set


@pytest.fixture(scope="module")
def session_cache(tmp_path_factory):
    return Cache(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def smoke(session_cache, home):
    return clip_set(60, session_cache)


def test_the_smoke_set_is_mixed_and_short(smoke):
    clips = read_clips(smoke.path)
    assert 5 <= len(clips) <= 6
    assert [clip["id"] for clip in clips] == [clip.id for clip in CLIPS[: len(clips)]]
    seconds = [clip["seconds"] for clip in clips]
    assert 60 <= sum(seconds) < 70
    assert 2.9 < min(seconds) < 3.5
    assert max(seconds) <= 25
    assert smoke.facts["conditions"] == {"clean": 3, "noisy": 1, "silence": 1}
    assert smoke.facts["seconds"] == pytest.approx(sum(seconds))
    assert (smoke.facts["shortest_seconds"], smoke.facts["longest_seconds"]) == (min(seconds), max(seconds))


def test_every_clip_is_audio_as_whisper_takes_it(smoke):
    for clip in read_clips(smoke.path):
        audio = np.load(smoke.path / clip["file"])
        assert (audio.dtype, audio.ndim) == (np.float32, 1)
        assert len(audio) == clip["seconds"] * 16_000
        assert 0.05 < np.abs(audio).max() <= 1
        assert clip["source"]
        words_per_second = len(clip["text"].split()) / (clip["seconds"] - clip.get("silence_seconds", 0))
        assert 2 < words_per_second < 5  # nothing was swallowed, nothing said twice


def test_the_voice_says_the_same_again(smoke, tmp_path, home):
    (first,) = read_clips(clip_set(5, Cache(tmp_path)).path)
    assert first == read_clips(smoke.path)[0]


def test_a_set_is_made_once(smoke, session_cache):
    again = clip_set(60, session_cache)
    assert (again.hit, again.digest, again.facts) == (True, smoke.digest, smoke.facts)


def test_the_voice_reports_to_nobody(smoke, home):
    """onnxruntime keeps what it is about to send in a database under HOME."""
    assert not list(home.rglob("*onnxruntime*"))


def tone(seconds, rate, channels=1):
    wave = 0.5 * np.sin(2 * np.pi * 440 * np.arange(round(seconds * rate)) / rate)
    return np.repeat(wave[:, None], channels, axis=1)


@pytest.fixture
def own(tmp_path):
    """A folder with a wav, a flac, and a manifest that names both."""
    folder = tmp_path / "own"
    folder.mkdir()
    soundfile.write(folder / "high.wav", tone(1.5, 44_100, 2), 44_100)
    soundfile.write(folder / "0017.flac", tone(0.5, 8_000), 8_000)
    (folder / "high.txt").write_text("one two")
    (folder / "0017.txt").write_text("three")
    rows = [
        {"audio_filepath": "high.wav", "text": "one two", "duration": 1.5},
        {"audio_filepath": "0017.flac", "text": "three"},
    ]
    (folder / "clips.jsonl").write_text("\n".join(map(json.dumps, rows)))
    return folder


def test_a_folder_becomes_a_clip_set(own, tmp_path):
    made = user_clip_set(own, (), Cache(tmp_path / "cache"))
    second, first = read_clips(made.path)
    assert (first["id"], first["text"], first["seconds"], first["source"]) == ("high", "one two", 1.5, "high.wav")
    assert (second["id"], second["seconds"]) == ("0017", 0.5)
    for clip in (first, second):
        audio = np.load(made.path / clip["file"])
        assert (audio.dtype, audio.shape) == (np.float32, (clip["seconds"] * 16_000,))
    assert made.facts.items() >= {"count": 2, "repeated": 0, "seconds": 2.0, "shortest_seconds": 0.5}.items()


def test_a_manifest_gives_the_same_clips_in_its_own_order(own, tmp_path):
    cache = Cache(tmp_path / "cache")
    by_folder = {clip["id"]: clip["sha256"] for clip in read_clips(user_clip_set(own, (), cache).path)}
    by_manifest = {
        clip["id"]: clip["sha256"] for clip in read_clips(user_clip_set(own / "clips.jsonl", (), cache).path)
    }
    assert list(by_manifest) == ["high", "0017"]
    assert by_manifest == by_folder


def test_a_changed_byte_makes_the_set_anew(own, tmp_path):
    cache = Cache(tmp_path / "cache")
    first = user_clip_set(own, (), cache)
    assert user_clip_set(own, (), cache).hit
    (own / "0017.txt").write_text("four")
    second = user_clip_set(own, (), cache)
    soundfile.write(own / "0017.flac", 0.9 * tone(0.5, 8_000), 8_000)
    third = user_clip_set(own, (), cache)
    assert not second.hit and not third.hit
    assert len({made.facts["sha256"] for made in (first, second, third)}) == 3


def test_every_bad_file_is_named_and_the_next_step_leaves_them_out(own, tmp_path):
    cache = Cache(tmp_path / "cache")
    (own / "0017.flac").write_bytes((own / "0017.flac").read_bytes()[:-30])
    for name in ("cut", "empty", "bracket", "no"):
        soundfile.write(own / f"{name}.wav", tone(1, 16_000), 16_000)
        (own / f"{name}.txt").write_text("[laughter]" if name == "bracket" else "one")
    (own / "cut.wav").write_bytes((own / "cut.wav").read_bytes()[:-1000])
    (own / "empty.wav").write_bytes(b"")
    soundfile.write(own / "no.wav", tone(0.05, 16_000), 16_000)
    with pytest.raises(ArtifactError) as caught:
        user_clip_set(own, (), cache)
    said = str(caught.value)
    assert "5 of 6 clips cannot be used" in said
    for name, reason in [
        ("0017.flac", "is truncated or damaged"), ("cut.wav", "is truncated: its header promises 32000 bytes"),
        ("empty.wav", "is empty"), ("bracket.wav", "has a text without a word that counts"), ("no.wav", "lasts 50 ms"),
    ]:  # fmt: skip
        assert f"{own / name} {reason}" in said
    assert "mend them, or leave them out with --set " in said
    override = said.split("--set ")[1].strip("'")
    exclude = parse_overrides([override])["transcription.exclude"]
    assert exclude == ["0017", "bracket", "cut", "empty", "no"]  # text, although YAML would read 0017 and no otherwise
    assert [clip["id"] for clip in read_clips(user_clip_set(own, exclude, cache).path)] == ["high"]
    assert [entry.facts["count"] for entry in cache.entries()] == [1]  # the set that failed left nothing


def test_of_many_bad_files_ten_are_named(own, tmp_path):
    for number in range(13):
        (own / f"bad{number:02}.wav").touch()
        (own / f"bad{number:02}.txt").write_text("one")
    with pytest.raises(ArtifactError, match=r"bad09.wav is empty; and 3 more\. .*,bad09\]' and so on$"):
        user_clip_set(own, (), Cache(tmp_path / "cache"))


def test_a_file_that_went_is_named(own, tmp_path, monkeypatch):
    from nightgate.transcription.clips import sets as clips

    entries = clips.read_manifest(own)
    (own / "high.wav").unlink()
    monkeypatch.setattr(clips, "read_manifest", lambda source: entries)
    with pytest.raises(ArtifactError, match=r"1 of 2 clips .*high\.wav cannot be read \(No such file"):
        user_clip_set(own, (), Cache(tmp_path / "cache"))


def test_a_wrong_duration_and_a_wrong_name_are_refused(own, tmp_path):
    manifest = own / "clips.jsonl"
    manifest.write_text(manifest.read_text().replace('"duration": 1.5', '"duration": 2.5'))
    with pytest.raises(ArtifactError, match=r"high\.wav lasts 1\.50 s, and the manifest says 2\.50 s"):
        user_clip_set(manifest, (), Cache(tmp_path / "cache"))
    assert read_clips(user_clip_set(manifest, ["high"], Cache(tmp_path / "cache")).path)[0]["id"] == "0017"
    with pytest.raises(InputError, match="did you mean 'high'"):
        user_clip_set(manifest, ["hihg"], Cache(tmp_path / "cache"))
