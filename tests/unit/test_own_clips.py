"""What the child makes of the user's files, in this process."""

import hashlib
import json

import numpy as np
import pytest
import soundfile

from nightgate.errors import ArtifactError
from nightgate.transcription.clips import own, sets
from nightgate.transcription.clips.content import Content
from nightgate.transcription.clips.entry import Entry, unusable
from nightgate.transcription.clips.folder import read_clips

RATE = 16_000
RISING = np.linspace(-0.9, 0.9, 2 * RATE, dtype=np.float32)  # no two parts are alike


@pytest.fixture
def convert(tmp_path):
    """A function that converts rows of (file, samples or None, text, offset, duration); returns facts and clips."""
    made = tmp_path / "made"
    made.mkdir()

    def run(*rows):
        asked = []
        for number, (name, samples, text, *span) in enumerate(rows):
            path = tmp_path / name
            if samples is not None:
                soundfile.write(path, samples, RATE, subtype="FLOAT")
            offset, duration = span or (None, None)
            digest = hashlib.sha256(path.read_bytes()).hexdigest() if path.exists() else None
            language = "de" if text else None
            asked.append(own.OwnClip(f"{number}-{name}", str(path), name, text, offset, duration, language, digest))
        facts = own.convert(own.OwnRequest(made, asked))
        return facts, read_clips(made), made

    return run


def test_clips_stand_in_the_order_of_the_request_and_not_in_that_of_the_files(convert):
    facts, clips, folder = convert(
        ("a.wav", RISING, "late", 1.5, None),
        ("b.wav", RISING[:8000], ""),
        ("a.wav", None, "early", 0.25, 0.5),
        ("a.wav", None, "all"),
    )
    assert [clip.id for clip in clips] == ["0-a.wav", "1-b.wav", "2-a.wav", "3-a.wav"]
    assert [clip.file for clip in clips] == [f"0000{number}.npy" for number in range(4)]
    parts = [RISING[24_000:], RISING[:8000], RISING[4000:12_000], RISING]
    for clip, part in zip(clips, parts, strict=True):
        assert np.array_equal(np.load(folder / clip.file), part)
        assert clip.seconds == len(part) / RATE
    assert (clips[0].text, clips[0].source, clips[0].offset, clips[0].language) == ("late", "a.wav", 1.5, "de")
    assert (clips[1].offset, clips[1].language, clips[1].channel) == (None, None, None)
    assert '"offset": null' not in (folder / "clips.json").read_text()
    assert (facts.count, facts.seconds, facts.one_channel) == (4, 3.5, None)


def test_a_channel_that_was_taken_is_told(convert):
    upside_down = np.stack([-0.5 * RISING, RISING], axis=1)
    facts, clips, folder = convert(("a.wav", upside_down, "one"), ("b.wav", RISING, "two"))
    assert (clips[0].channel, clips[1].channel, facts.one_channel) == (1, None, {"0-a.wav": 1})
    assert np.array_equal(np.load(folder / clips[0].file), RISING)


def test_each_clip_that_cannot_be_used_has_its_own_reason(convert, tmp_path):
    with pytest.raises(ArtifactError) as caught:
        convert(
            ("a.wav", RISING, "one", 1.0, 3.0),
            ("loud.wav", 9 * RISING, "two"),
            ("a.wav", None, "three", 0.5, 1.0),
            ("gone.wav", None, "four"),
        )
    assert caught.value.what == (
        f"3 of 4 clips cannot be used: {tmp_path}/a.wav lasts 2.00 s, and the manifest cuts from 1.00 s to 4.00 s; "
        f"{tmp_path}/loud.wav holds samples up to 8.1 where full scale is 1; "
        f"{tmp_path}/gone.wav cannot be read (No such file or directory)"
    )
    assert (
        caught.value.next_step
        == "mend them, or leave them out with --set 'transcription.exclude=[0-a.wav,1-loud.wav,3-gone.wav]'"
    )


def test_a_file_that_is_damaged_behind_a_segment_has_only_the_later_ones_refused(convert, tmp_path):
    soundfile.write(tmp_path / "a.flac", np.random.default_rng(1).normal(size=20 * RATE) / 9, RATE)
    whole = (tmp_path / "a.flac").read_bytes()
    (tmp_path / "a.flac").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ArtifactError, match="2 of 3 clips .*exclude=.0-a.flac,2-a.flac.'"):
        convert(("a.flac", None, "all"), ("a.flac", None, "early", 0.5, 1.0), ("a.flac", None, "late", 15.0, 1.0))


def test_a_file_that_changes_meanwhile_is_refused(tmp_path):
    soundfile.write(tmp_path / "a.wav", RISING, RATE)
    clip = own.OwnClip("a", str(tmp_path / "a.wav"), "a.wav", "", None, None, None, "0" * 64)
    with pytest.raises(ArtifactError, match=r"1 of 1 clips cannot be used: .*a\.wav changed while it was read"):
        own.convert(own.OwnRequest(tmp_path, [clip]))


def test_the_eleventh_is_counted_and_not_named():
    bad = {str(number): f"{number} is bad" for number in range(12)}
    what, next_step = unusable(dict(list(bad.items())[:10]), 40)
    assert what.startswith("10 of 40 clips cannot be used: 0 is bad; ") and what.endswith("9 is bad")
    assert (
        next_step
        == """mend them, or leave them out with --set 'transcription.exclude=["0","1","2","3","4","5","6","7","8","9"]'"""
    )
    what, next_step = unusable(bad, 40)
    assert what.endswith("9 is bad; and 2 more")
    assert next_step.endswith(" and so on")
    assert unusable({"x" * 256: "x is bad"}, 2) == ("1 of 2 clips cannot be used: x is bad", "mend it")


@pytest.mark.parametrize(
    ("entry", "content", "seconds"),
    [
        ({"duration": 1.5, "offset": 2.0}, Content("WAV", None, 0, 60.0), 1.5),
        ({"offset": 2.0}, Content("WAV", None, 0, 60.0), 58.0),
        ({}, Content("WAV", None, 0, 60.0), 60.0),
        ({}, Content("MP3"), 8 * 16_000 / 64_000),
    ],
)
def test_the_room_that_a_clip_takes_is_known_beforehand(tmp_path, entry, content, seconds):
    (tmp_path / "a").write_bytes(bytes(16_000))
    assert sets._bytes(Entry("a", tmp_path / "a", **entry), content) == seconds * 64_000


def test_the_version_of_ffmpeg_decides_only_where_it_decodes(tmp_path, monkeypatch):
    keys = []

    class Kept:
        def get(self, kind, key, build, needs):
            keys.append(json.loads(json.dumps(key)))

    soundfile.write(tmp_path / "a.wav", RISING, RATE)
    (tmp_path / "a.txt").write_text("one")
    monkeypatch.setattr(sets, "_ffmpeg_version", lambda: "ffmpeg version 9")
    sets.user_clip_set(tmp_path, (), Kept())
    monkeypatch.setattr("nightgate.transcription.clips.content.shutil.which", lambda program: f"/bin/{program}")
    (tmp_path / "b.m4a").write_bytes(b"\0\0\0\x1cftypM4A " + bytes(30))
    (tmp_path / "b.txt").write_text("two")
    sets.user_clip_set(tmp_path, (), Kept())
    assert "ffmpeg" not in keys[0]
    assert keys[1]["ffmpeg"] == "ffmpeg version 9"
    assert [clip["id"] for clip in keys[1]["clips"]] == ["a", "b"]
    assert "path" not in keys[1]["clips"][0]
