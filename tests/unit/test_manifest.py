"""The user's folder or JSONL manifest: what is read from it, and what is said of one that does not fit."""

import json
import os
import subprocess
import sys

import pytest
from support.sounds import wav

from nightgate.errors import InputError
from nightgate.transcription.clips.manifest import read_manifest


@pytest.fixture
def clips(tmp_path):
    """A function that writes files: half a second of wav, whatever they are called, and one word into each .txt."""

    def write(*names):
        for name in names:
            file = tmp_path / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(b"word" if name.lower().endswith(".txt") else wav())
        return tmp_path

    return write


def manifest(folder, *lines):
    file = folder / "clips.jsonl"
    file.write_bytes(b"\n".join(line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines))
    return file


def row(name="a.wav", text="one two", **more):
    return {"audio_filepath": name, "text": text, **more}


def test_a_folder_is_read_in_the_order_of_the_names(clips):
    folder = clips(
        "b.wav", "a.FLAC", "c.m4a", "a.txt", "b.txt", "c.TXT", "README.txt", ".hidden.wav", "deeper/list.csv"
    )
    (folder / "a.txt").write_text("\N{ZERO WIDTH NO-BREAK SPACE}one\n  two\n", encoding="utf-8")
    (folder / "b.txt").write_text("drei Stühle", encoding="utf-8")
    first, second, third = read_manifest(folder)
    assert (first.id, first.audio, first.text, first.duration) == ("a", folder / "a.FLAC", "one two", None)
    assert (second.id, second.text, second.place) == ("b", "drei Stühle", str(folder / "b.txt"))
    assert (third.id, third.audio, third.text) == ("c", folder / "c.m4a", "word")


def test_every_file_of_a_folder_that_is_not_used_is_named(clips):
    """Three recordings of another format beside five of the usual one were left out without a word."""
    folder = clips("a.wav", "a.txt", "a.TXT", "song.mp3", "lost.txt", "deeper/c.wav", "deeper/d.opus")
    (folder / "gone.wav").symlink_to(folder / "nowhere")
    (folder / "gone.txt").write_text("three")
    with pytest.raises(InputError) as caught:
        read_manifest(folder)
    for what in (
        "5 of 6 clips cannot be used",
        "a.txt is not read: a.TXT lies beside",
        "song.mp3 has no transcript beside it",
        "lost.txt is beside no audio file",
        "deeper holds 2 audio files",
        f"gone.txt: there is no audio file {folder / 'gone.wav'}",
    ):
        assert what in caught.value.what
    exclude = caught.value.next_step.split("exclude=[")[1].removesuffix("]").rstrip("]'").split(",")
    assert sorted(exclude) == ["a.txt", "deeper", "gone", "lost", "song"]
    assert [entry.id for entry in read_manifest(folder, exclude)] == ["a"]


def test_a_manifest_beside_audio_without_transcripts_is_pointed_to(clips):
    folder = clips("a.wav")
    source = manifest(folder, row())
    with pytest.raises(InputError, match=rf"write what is said into a\.txt, or give {source}, or leave it out"):
        read_manifest(folder)


def test_a_jsonl_is_read_in_its_order(clips, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "z.flac"
    elsewhere.write_bytes(wav(3))
    folder = clips("in/a.wav")
    source = manifest(folder, row(str(elsewhere), duration=3), b"  \r", row("in/a.wav", " one \t two ", speaker=7), b"")
    first, second = read_manifest(source)
    assert (first.id, first.audio, first.duration, first.place) == ("z", elsewhere, 3.0, f"{source}:1")
    assert (second.id, second.audio, second.text, second.place) == ("a", folder / "in/a.wav", "one two", f"{source}:3")
    assert (second.offset, second.duration, second.language) == (None, None, None)


def test_segments_of_one_file_are_cut_by_offset_and_duration(clips):
    """An offset was not looked at, and whole files were scored against a part of their words."""
    source = manifest(
        clips("a.wav"), row(offset=0.25), row(offset=0, duration=0.25), row(offset=0.1, duration=0.2), row()
    )
    found = read_manifest(source)
    assert [(entry.id, entry.offset, entry.duration) for entry in found] == [
        ("a@0.25-end", 0.25, None),
        ("a@0-0.25", 0.0, 0.25),
        ("a@0.1-0.3", 0.1, 0.2),
        ("a", None, None),
    ]


@pytest.mark.parametrize(
    ("more", "says"),
    [
        ({"offset": 0.6}, "a.wav lasts 0.50 s, and the manifest cuts from 0.60 s to its end"),
        ({"offset": 0.2, "duration": 0.5}, "a.wav lasts 0.50 s, and the manifest cuts from 0.20 s to 0.70 s"),
        ({"offset": 0.45}, "a.wav lasts 50 ms, and Whisper hears nothing below 100 ms"),
        ({"duration": 0.7}, "a.wav lasts 0.50 s, and the manifest says 0.70 s"),
        ({"duration": 0.3}, "a.wav lasts 0.50 s, and the manifest says 0.30 s"),
    ],
)
def test_a_length_that_is_not_the_files_is_seen_in_its_header(clips, more, says):
    with pytest.raises(InputError, match=says):
        read_manifest(manifest(clips("a.wav"), row(**more)))


@pytest.mark.parametrize("name", ["audio_filepath", "file_name", "audio", "path", "audio_path"])
@pytest.mark.parametrize("says", ["text", "transcript", "sentence", "transcription"])
def test_audio_and_text_go_by_several_names(clips, name, says):
    (entry,) = read_manifest(manifest(clips("a.wav"), {name: "a.wav", says: "one"}))
    assert (entry.audio.name, entry.text) == ("a.wav", "one")


def test_names_that_say_the_same_are_one(clips):
    line = row(text="one two", sentence=" one  two", path="a.wav", language="de", locale="DE_at", target_lang="fr")
    with pytest.raises(InputError, match="language and locale and target_lang name different languages"):
        read_manifest(manifest(clips("a.wav"), line))
    (entry,) = read_manifest(manifest(clips("a.wav"), line | {"target_lang": ""}))
    assert (entry.text, entry.language) == ("one two", "de")


@pytest.mark.parametrize(
    "harmless",
    [
        "id",
        "speaker",
        "source",
        "sentence_id",
        "audio_duration",
        "num_channels",
        "sample_rate",
        "pred_text",
        "gender",
        "split",
        "transcript_id",
    ],
)
def test_what_says_something_about_a_clip_is_left_alone(clips, harmless):
    assert [entry.id for entry in read_manifest(manifest(clips("a.wav"), row(**{harmless: "17"})))] == ["a"]


@pytest.mark.parametrize(
    "key",
    [
        "start",
        "end",
        "start_time",
        "endTime",
        "begin",
        "audio_offset",
        "offset_ms",
        "channel",
        "channel_selector",
        "from",
        "to",
        "seek",
    ],
)
def test_a_key_that_changes_what_is_transcribed_is_refused_by_name(clips, key):
    with pytest.raises(InputError, match=f":1: {key} would change what is transcribed") as caught:
        read_manifest(manifest(clips("a.wav"), row(**{key: 1})))
    assert ("offset and duration" in caught.value.next_step) != ("channel" in key)
    assert read_manifest(manifest(clips("a.wav"), row(**{key: None})))


@pytest.mark.parametrize("key", ["timestamp", "segments", "audio_segment", "timeSpan", "range"])
@pytest.mark.parametrize("value", [[0.1, 0.4], {"start": 0.1}])
def test_times_in_one_value_are_refused_by_name(clips, key, value):
    with pytest.raises(InputError, match=f":1: {key} would change what is transcribed"):
        read_manifest(manifest(clips("a.wav"), row(**{key: value})))
    assert read_manifest(manifest(clips("a.wav"), row(**{key: "2024-01-01"}))), "this is no part of the file"


@pytest.mark.parametrize("key", ["dur", "duration_ms", "length", "audio_len", "clipDuration"])
def test_a_length_under_another_name_is_refused_where_an_offset_waits_for_it(clips, key):
    """The clip would reach to the end of the file, and the words of all others would be errors."""
    with pytest.raises(InputError, match=f":1: offset stands without duration, and {key} is not followed"):
        read_manifest(manifest(clips("a.wav"), row(offset=0.1, **{key: 0.2})))
    (entry,) = read_manifest(manifest(clips("a.wav"), row(offset=0.1, duration=0.2, **{key: 0.5})))
    assert (entry.offset, entry.duration) == (0.1, 0.2)
    if "duration" not in key.lower():
        assert read_manifest(manifest(clips("a.wav"), row(**{key: 0.5})))


def test_faults_in_several_rows_of_one_file_are_each_told(clips):
    source = manifest(clips("a.wav"), row(offset=-1), row(offset=0.1, duration=0.2), row(task="translate"))
    with pytest.raises(InputError) as caught:
        read_manifest(source)
    for what in ("2 of 3 clips cannot be used", "clips.jsonl:1: offset must be", "clips.jsonl:3: task is 'translate'"):
        assert what in caught.value.what
    assert "transcription.exclude=[clips.jsonl:1,clips.jsonl:3]" in caught.value.next_step
    assert [entry.id for entry in read_manifest(source, ["clips.jsonl:1", "clips.jsonl:3"])] == ["a@0.1-0.3"]


def test_a_text_that_is_explicitly_empty_is_silence(clips):
    folder = clips("a.wav", "b.wav", "b.txt")
    (folder / "a.txt").write_text(" \n")
    assert [entry.text for entry in read_manifest(folder)] == ["", "word"]
    assert [entry.text for entry in read_manifest(manifest(folder, row(text=""), row("b.wav")))] == ["", "one two"]
    with pytest.raises(InputError, match="no clip has a text"):
        read_manifest(folder, ["b"])


def test_where_stems_clash_the_path_is_the_name(clips):
    folder = clips("in/a.wav", "out/a.wav", "b.wav")
    source = manifest(folder, row("in/a.wav"), row("out/a.wav"), row("b.wav"))
    assert [entry.id for entry in read_manifest(source)] == ["in/a.wav", "out/a.wav", "b"]


def test_where_both_formats_lie_side_by_side_the_file_name_is_the_name(clips):
    folder = clips("a.wav", "a.flac", "a.txt")
    assert [entry.id for entry in read_manifest(folder)] == ["a.flac", "a.wav"]


@pytest.mark.parametrize(
    ("lines", "says"),
    [
        ([], "holds no clip"),
        ([b"\n \n"], "holds no clip"),
        ([b"{'audio_filepath': 'a.wav'}"], ":1: the line is not JSON"),
        ([row(), b'{"audio_filepath":'], ":2: the line is not JSON"),
        ([b"[" * 100_000], ":1: the line is not JSON (it is nested too deeply)"),
        ([b'{"text": "a", "n": ' + b"9" * 5000 + b"}"], ":1: the line is not JSON"),
        ([b"[1]"], ":1: the line is no JSON object"),
        ([b"null"], ":1: the line is no JSON object"),
        ([{"text": "one"}], ":1: audio_filepath is missing"),
        ([{"audio_filepath": "a.wav"}], ":1: text is missing"),
        ([row(3)], ":1: audio_filepath must be a string"),
        ([row(text=["one"])], ":1: text must be a string"),
        ([row(text=None)], ":1: text must be a string"),
        ([row(duration="3")], ":1: duration must be a length"),
        ([row(duration=True)], ":1: duration must be a length"),
        ([row(duration=0)], ":1: duration must be a length"),
        ([row(duration=-1.5)], ":1: duration must be a length"),
        ([row(duration=float("nan"))], ":1: duration must be a length"),
        ([row(duration=float("inf"))], ":1: duration must be a length"),
        ([row(duration=10**400)], ":1: duration must be a length"),
        ([row(text=" ... \n - ")], ":1: there is no word in the text '... -'"),
        ([row(text="[laughter] (door)")], ":1: there is no word outside brackets in the text '[laughter] (door)'"),
        ([row(text="（笑）")], ":1: there is no word outside brackets"),
        ([row(sentence="one")], ":1: text and sentence say different things"),
        ([row(path="b.wav")], ":1: audio_filepath and path say different things"),
        ([row(transcript=3)], ":1: transcript must be a string"),
        ([row(Offset=1)], ":1: Offset would change what is transcribed"),
        ([row(durations=1)], ":1: there is no key 'durations'; did you mean 'duration'?"),
        ([row(text_filepath="a.txt")], ":1: text_filepath is not followed"),
        ([row(language="en", lang="de")], ":1: language and lang name different languages"),
        ([row(source_lang="de", target_lang="en")], ":1: source_lang and target_lang name different languages"),
        ([row(language=3)], ":1: language must be a string"),
        ([row(taskname="s2t_translation")], ":1: taskname is 's2t_translation', and clips are transcribed only"),
        ([row(offset=-0.1)], ":1: offset must be a place in the file, in seconds"),
        ([row(offset="1")], ":1: offset must be a place"),
        ([row(offset=float("nan"))], ":1: offset must be a place"),
        ([row(offset=True)], ":1: offset must be a place"),
        ([row(offset=10**400)], ":1: offset must be a place"),
        (
            [b'{"audio_filepath": "a.wav", "text": "one", "text": "two"}'],
            ":1: the line is not JSON (the key 'text' comes twice)",
        ),
        ([row(text="one \ud800")], ":1: the text is not valid Unicode"),
        ([row("b.wav")], ":1: there is no audio file"),
        ([row("a.wav\0")], ":1: the name of the audio is not valid Unicode"),
        ([row("\0.wav")], ":1: the name of the audio is not valid Unicode"),
        ([row("\ud800.wav")], ":1: the name of the audio is not valid Unicode"),
        ([row("x" * 9000 + ".wav")], ":1: there is no audio file"),
        ([row("folder.wav")], ":1: there is no audio file"),
        ([row(""), row()], ":1: there is no audio file"),
        ([row(), row(offset=0), row(offset=0.0)], ":3: "),
        ([row(), row("./a.wav", "again")], ":2: "),
        ([b'{"text": "caf\xe9"}'], ":1 is not UTF-8"),
        ([row(), b"\xff\xfe{\0"], ":2 is not UTF-8"),
        ([row(text="word " * 300_000)], ":1 is longer than 1048576 bytes"),
    ],
)
def test_a_bad_manifest_is_refused_with_line_and_next_step(clips, lines, says):
    folder = clips("a.wav")
    (folder / "folder.wav").mkdir()
    with pytest.raises(InputError) as caught:
        read_manifest(manifest(folder, *lines))
    assert f"clips.jsonl{says}" in caught.value.what or f"clips.jsonl {says}" in caught.value.what
    assert caught.value.next_step
    assert len(str(caught.value)) < 1500
    assert str(caught.value).isprintable()


def test_a_file_named_twice_is_told_where(clips):
    source = manifest(clips("a.wav"), row(), row("../" + clips().name + "/a.wav", "again"))
    with pytest.raises(InputError, match=r"clips\.jsonl:2: .* stands at .*clips\.jsonl:1 already"):
        read_manifest(source)


def test_a_folder_without_a_transcript_names_the_file_to_write(clips):
    with pytest.raises(InputError, match=r"a\.wav has no transcript beside it\. Next step: .*a\.txt"):
        read_manifest(clips("a.wav"))


@pytest.mark.parametrize(
    ("text", "says"),
    [
        (b"[noise]", "there is no word outside brackets"),
        (b"caf\xe9", "not UTF-8"),
        (b"word " * 300_000, "longer than"),
    ],
)
def test_a_bad_transcript_names_the_file(clips, text, says):
    folder = clips("a.wav")
    (folder / "a.txt").write_bytes(text)
    with pytest.raises(InputError, match=rf"a\.txt.* {says}"):
        read_manifest(folder)


def test_a_file_name_that_is_not_utf8_is_refused(clips):
    folder = clips("a.wav", "a.txt")
    for suffix in (b".wav", b".txt"):
        with open(os.path.join(os.fsencode(folder), b"caf\xe9" + suffix), "w") as file:
            file.write("one")
    with pytest.raises(InputError, match="not valid Unicode") as caught:
        read_manifest(folder)
    assert str(caught.value).isprintable()


def test_what_may_not_be_read_is_not_called_absent(clips, monkeypatch):
    """Where the tests run as root, nothing is forbidden."""
    source = manifest(clips("a.wav"), row())
    real = os.stat

    def forbidden(path, *more, **named):
        if str(path).endswith("a.wav"):
            raise PermissionError(13, "Permission denied", str(path))
        return real(path, *more, **named)

    monkeypatch.setattr(os, "stat", forbidden)
    with pytest.raises(
        InputError, match=r"a\.wav cannot be read \(Permission denied\)\. Next step: check the permissions"
    ):
        read_manifest(source)


@pytest.mark.parametrize("name", ["nowhere", "a\0b"])
def test_a_source_that_is_not_there_is_refused(tmp_path, name):
    with pytest.raises(InputError, match="no folder or manifest"):
        read_manifest(tmp_path / name)


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(InputError, match="holds no clip"):
        read_manifest(tmp_path)


def test_an_audio_file_as_manifest_is_refused(clips):
    with pytest.raises(InputError, match="a.wav is an audio file and no manifest"):
        read_manifest(clips("a.wav") / "a.wav")


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "is empty"),
        (wav()[:-2], "is truncated: its header promises 1000 bytes of samples, and 998 are there"),
        (wav()[:20], "is truncated or damaged: its chunk b'fmt ' promises 16 bytes, and 0 are there"),
        (wav(0.05), "lasts 50 ms"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 12345\n", "is a Git LFS pointer"),
        (b"<!DOCTYPE html><html>", "is a web page or XML"),
        (b"PK\x03\x04" + bytes(30), "is a zip archive"),
        (b"hello\n", r"is text and not audio: it begins with 'hello\\n'"),
        (b"RIFF\0\1\0\0AVI LIST", "holds 'AVI' in RIFF and not a wav"),
        (b"NIST_1A\n   1024\n", "holds NIST SPHERE"),
        (bytes(range(200, 256)), "holds no audio format that is known here: it begins with the bytes c8 c9 ca"),
    ],
)
def test_a_file_that_is_no_audio_is_named_before_anything_starts(clips, data, says):
    folder = clips("a.wav", "a.txt", "b.wav", "b.txt")
    (folder / "a.wav").write_bytes(data)
    with pytest.raises(InputError, match=f"a.wav {says}.*leave it out with --set 'transcription.exclude=.a.'"):
        read_manifest(folder)
    assert len(read_manifest(folder, ["a"])) == 1


def test_what_needs_ffmpeg_says_so_where_it_is_not_installed(clips, monkeypatch):
    folder = clips("a.m4a", "a.txt")
    (folder / "a.m4a").write_bytes(b"\0\0\0\x1cftypM4A " + bytes(30))
    monkeypatch.setenv("PATH", str(folder))
    with pytest.raises(
        InputError, match=r"a.m4a holds MP4, which ffmpeg decodes, and ffmpeg is not installed: install it"
    ):
        read_manifest(folder)


@pytest.fixture
def three(clips):
    folder = clips("in/a.wav", "out/a.wav", "0017.wav")
    return manifest(folder, row("in/a.wav"), row("out/a.wav"), row("0017.wav"))


def test_excluded_clips_are_left_out(three):
    assert [entry.id for entry in read_manifest(three, ["out/a.wav"])] == ["in/a.wav", "0017"]


def test_an_excluded_name_must_be_there(three):
    with pytest.raises(InputError, match=r"no clip '017'; did you mean '0017'\?"):
        read_manifest(three, ["in/a.wav", "017"])
    with pytest.raises(InputError, match=r"no clip 'zzz'\. Next step: use names like 'in/a.wav'"):
        read_manifest(three, ["zzz"])


def test_something_must_be_left(three):
    with pytest.raises(InputError, match="leaves no clip"):
        read_manifest(three, ["in/a.wav", "out/a.wav", "0017"])


def test_reading_a_manifest_costs_no_heavy_import():
    """The settings are validated with it wherever a DAG is parsed."""
    code = "import sys, nightgate.transcription.clips.manifest; print([n for n in ('numpy', 'soundfile', 'soxr') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
