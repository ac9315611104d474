"""The clip sets as they are made: the real voice, real files, a child process, the cache."""

import json
import subprocess
import sys

import numpy as np
import pytest
import soundfile
from support.programs import program

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
    assert [clip.id for clip in clips] == [clip.id for clip in CLIPS[: len(clips)]]
    seconds = [clip.seconds for clip in clips]
    assert 60 <= sum(seconds) < 70
    assert 2.9 < min(seconds) < 3.5
    assert max(seconds) <= 25
    assert smoke.facts["conditions"] == {"clean": 3, "noisy": 1, "silence": 1}
    assert smoke.facts["seconds"] == pytest.approx(sum(seconds))
    assert (smoke.facts["shortest_seconds"], smoke.facts["longest_seconds"]) == (min(seconds), max(seconds))


def test_every_clip_is_audio_as_whisper_takes_it(smoke):
    for clip in read_clips(smoke.path):
        audio = np.load(smoke.path / clip.file)
        assert (audio.dtype, audio.ndim) == (np.float32, 1)
        assert len(audio) == clip.seconds * 16_000
        assert 0.05 < np.abs(audio).max() <= 1
        assert clip.source
        words_per_second = len(clip.text.split()) / (clip.seconds - (clip.silence_seconds or 0))
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
    assert (first.id, first.text, first.seconds, first.source) == ("high", "one two", 1.5, "high.wav")
    assert (second.id, second.seconds) == ("0017", 0.5)
    for clip in (first, second):
        audio = np.load(made.path / clip.file)
        assert (audio.dtype, audio.shape) == (np.float32, (clip.seconds * 16_000,))
    assert made.facts.items() >= {"count": 2, "repeated": 0, "seconds": 2.0, "shortest_seconds": 0.5}.items()


def test_a_manifest_gives_the_same_clips_in_its_own_order(own, tmp_path):
    cache = Cache(tmp_path / "cache")
    by_folder = {clip.id: clip.sha256 for clip in read_clips(user_clip_set(own, (), cache).path)}
    by_manifest = {clip.id: clip.sha256 for clip in read_clips(user_clip_set(own / "clips.jsonl", (), cache).path)}
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
    for name in ("cut", "empty", "bracket", "no", "loud"):
        soundfile.write(own / f"{name}.wav", tone(1, 16_000), 16_000)
        (own / f"{name}.txt").write_text("[laughter]" if name == "bracket" else "one")
    (own / "cut.wav").write_bytes((own / "cut.wav").read_bytes()[:-1000])
    (own / "empty.wav").write_bytes(b"")
    soundfile.write(own / "no.wav", tone(0.05, 16_000), 16_000)
    soundfile.write(own / "loud.wav", 9 * tone(0.5, 16_000), 16_000, subtype="FLOAT")
    exclude = []
    for kind, found in [
        (
            InputError,
            {
                "bracket": f"{own / 'bracket.txt'}: there is no word outside brackets",
                "cut": f"{own / 'cut.wav'} is truncated: its header promises 32000 bytes",
                "empty": f"{own / 'empty.wav'} is empty",
                "no": f"{own / 'no.wav'} lasts 50 ms",
            },
        ),
        (
            ArtifactError,
            {
                "0017": f"{own / '0017.flac'} is truncated or damaged",
                "loud": f"{own / 'loud.wav'} holds samples up to 4.5",
            },
        ),
    ]:
        with pytest.raises(kind) as caught:
            user_clip_set(own, exclude, cache)
        said = str(caught.value)
        assert f"{len(found)} of {7 - len(exclude)} clips cannot be used" in said
        assert all(reason in said for reason in found.values())
        assert "mend them, or leave them out with --set " in said
        override = said.split("--set ")[1].strip("'")
        names = parse_overrides([override])["transcription.exclude"]
        assert names == list(found)  # text, although YAML would read 0017 and no otherwise
        exclude += names
    assert [clip.id for clip in read_clips(user_clip_set(own, exclude, cache).path)] == ["high"]
    assert [entry.facts["count"] for entry in cache.entries()] == [1]  # the set that failed left nothing


def test_what_cannot_be_used_ends_with_2_and_a_line_to_paste(own):
    """Three recordings without a transcript beside five with one were not counted. The names in brackets must be shown."""
    for name in ("x", "y"):
        soundfile.write(own / f"{name}.mp3", tone(1.5, 16_000), 16_000)
    command = [sys.executable, "-m", "nightgate.cli", "measure", "transcription", "--set", f"transcription.clips={own}"]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 2
    assert f"2 of 4 clips cannot be used: {own}/x.mp3 has no transcript beside it; {own}/y.mp3 has no" in done.stderr
    assert "leave them out with --set 'transcription.exclude=[x,y]'\n" in done.stderr
    assert done.stderr.endswith("nightgate: exit code 2: bad input, nothing was started\n")


def test_of_many_bad_files_ten_are_named(own, tmp_path):
    for number in range(13):
        soundfile.write(own / f"bad{number:02}.wav", 9 * tone(0.5, 16_000), 16_000, subtype="FLOAT")
        (own / f"bad{number:02}.txt").write_text("one")
    with pytest.raises(
        ArtifactError, match=r"bad09.wav holds samples up to 4.5 .*; and 3 more\. .*,bad09\]' and so on$"
    ):
        user_clip_set(own, (), Cache(tmp_path / "cache"))


def test_a_file_that_went_is_named(own, tmp_path, monkeypatch):
    from nightgate.transcription.clips import sets as clips

    entries = clips.read_manifest(own)
    (own / "high.wav").unlink()
    monkeypatch.setattr(clips, "read_manifest", lambda source, exclude: entries)
    with pytest.raises(ArtifactError, match=r"1 of 2 clips .*high\.wav cannot be read \(No such file"):
        user_clip_set(own, (), Cache(tmp_path / "cache"))


def test_a_wrong_duration_and_a_wrong_name_are_refused(own, tmp_path):
    manifest = own / "clips.jsonl"
    manifest.write_text(manifest.read_text().replace('"duration": 1.5', '"duration": 2.5'))
    with pytest.raises(InputError, match=r"high\.wav lasts 1\.50 s, and the manifest says 2\.50 s"):
        user_clip_set(manifest, (), Cache(tmp_path / "cache"))
    assert read_clips(user_clip_set(manifest, ["high"], Cache(tmp_path / "cache")).path)[0].id == "0017"
    with pytest.raises(InputError, match="did you mean 'high'"):
        user_clip_set(manifest, ["hihg"], Cache(tmp_path / "cache"))


def test_segments_become_clips_with_what_was_said_of_them(own, tmp_path):
    rise = 0.5 * np.sin(2 * np.pi * np.cumsum(np.linspace(200, 3000, 4 * 44_100)) / 44_100)
    soundfile.write(own / "talk.wav", rise, 44_100)
    rows = [
        {"audio_filepath": "talk.wav", "text": "late", "offset": 3, "lang": "de"},
        {"audio_filepath": "high.wav", "text": "one two"},
        {"audio_filepath": "talk.wav", "text": "", "offset": 0.5, "duration": 1.5},
    ]
    (own / "clips.jsonl").write_text("\n".join(map(json.dumps, rows)))
    made = user_clip_set(own / "clips.jsonl", (), Cache(tmp_path / "cache"))
    late, whole, early = read_clips(made.path)
    assert (late.id, late.seconds, late.offset, late.language, late.source) == (
        "talk@3-end",
        1,
        3,
        "de",
        "talk.wav",
    )
    assert (early.id, early.seconds, early.text, early.offset) == ("talk@0.5-2", 1.5, "", 0.5)
    assert (whole.offset, whole.language, whole.channel) == (None, None, None)

    def middle_hz(clip):
        part = np.load(made.path / clip.file)
        part = part[len(part) // 2 - 800 : len(part) // 2 + 800] * np.hanning(1600)
        return np.abs(np.fft.rfft(part, 16_000)).argmax()

    assert middle_hz(late) == pytest.approx(200 + 2800 * 3.5 / 4, abs=30)
    assert middle_hz(early) == pytest.approx(200 + 2800 * 1.25 / 4, abs=30)
    assert made.facts["seconds"] == 4.0


def test_a_recording_whose_channels_cancel_out_is_heard_and_said_so(own, tmp_path):
    wave = tone(1.0, 16_000)[:, 0]
    soundfile.write(own / "0017.flac", np.stack([0.5 * wave, -wave], axis=1), 16_000)
    made = user_clip_set(own, (), Cache(tmp_path / "cache"))
    clip = read_clips(made.path)[0]
    assert (clip.id, clip.channel, made.facts["one_channel"]) == ("0017", 1, {"0017": 1})
    assert np.abs(np.load(made.path / clip.file)).max() == pytest.approx(0.5, abs=0.01)


def ffmpeg(*arguments):
    subprocess.run([program("ffmpeg"), "-nostdin", "-v", "error", "-y", *map(str, arguments)], check=True)


WRITTEN = {
    "aac.m4a": ["-c:a", "aac"],
    "alac.m4a": ["-c:a", "alac"],
    "no-count.mp3": ["-write_xing", "0", "-q:a", "5"],
    "a.opus": [],
    "vorbis.ogg": ["-c:a", "libvorbis"],
    "speex.ogg": ["-c:a", "libspeex", "-ar", "16000"],
    "opus.webm": ["-c:a", "libopus"],
    "a.wma": [],
    "adts.aac": [],
    "mp3.wav": ["-c:a", "libmp3lame"],
    "rf64.wav": ["-rf64", "always"],
    "adpcm.wav": ["-c:a", "adpcm_ms"],
    "wma.wav": ["-c:a", "wmav2"],
    "a.aiff": [],
    "pipe.flac": [],
}


def test_what_ffmpeg_writes_is_read(own, tmp_path):
    for name, how in WRITTEN.items():
        ffmpeg("-i", own / "high.wav", *how, own / name)
        (own / name).with_suffix(".txt").write_text("four")
    made = user_clip_set(own, ["0017", "high"], Cache(tmp_path / "cache"))
    clips = {clip.source: clip for clip in read_clips(made.path)}
    assert sorted(clips) == sorted(WRITTEN)
    for name, clip in clips.items():
        heard = np.load(made.path / clip.file)
        assert clip.seconds == pytest.approx(1.5, abs=0.1), name
        assert np.abs(np.fft.rfft(heard[:16_000])).argmax() == pytest.approx(440, abs=2), name
        assert 0.4 < np.abs(heard[4000:-4000]).max() < 0.6, name


def test_what_ffmpeg_calls_damaged_is_refused(own, tmp_path):
    ffmpeg("-i", own / "high.wav", "-movflags", "faststart", own / "cut.m4a")
    ffmpeg("-i", own / "high.wav", own / "gone.m4a")
    ffmpeg("-i", own / "high.wav", "-i", own / "high.wav", "-map", "0:a", "-map", "1:a", own / "two.m4a")
    ffmpeg("-f", "lavfi", "-i", "color=s=64x64:d=1", own / "mute.mp4")
    for name in ("cut", "gone"):
        file = own / f"{name}.m4a"
        file.write_bytes(file.read_bytes()[: file.stat().st_size * 2 // 3])
    (own / "list.m4a").write_bytes(b"#EXTM3U\n#EXTINF:1,\n/etc/hostname\n")
    for name in ("cut", "gone", "two", "mute", "list"):
        (own / f"{name}.txt").write_text("four")
    with pytest.raises(InputError, match=r"list\.m4a is text and not audio"):
        user_clip_set(own, (), Cache(tmp_path / "cache"))
    with pytest.raises(ArtifactError) as caught:
        user_clip_set(own, ["list"], Cache(tmp_path / "cache"))
    for what in (
        "4 of 6 clips",
        "cut.m4a is truncated or damaged (ffmpeg, which reads it as MP4",
        "gone.m4a is truncated or damaged",
        "two.m4a holds several sound tracks in MP4",
        "mute.mp4 holds MP4 without a sound track",
    ):
        assert what in caught.value.what
