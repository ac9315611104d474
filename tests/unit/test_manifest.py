"""The user's folder or JSONL manifest: what is read from it, and what is said of one that does not fit."""

import json
import os
import subprocess
import sys

import pytest

from nightgate.errors import InputError
from nightgate.transcription.clips.manifest import read_manifest, without


@pytest.fixture
def clips(tmp_path):
    """A function that writes empty audio files: their content is not looked at here."""

    def write(*names):
        for name in names:
            file = tmp_path / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.touch()
        return tmp_path

    return write


def manifest(folder, *lines):
    file = folder / "clips.jsonl"
    file.write_bytes(b"\n".join(line if isinstance(line, bytes) else json.dumps(line).encode() for line in lines))
    return file


def row(name="a.wav", text="one two", **more):
    return {"audio_filepath": name, "text": text, **more}


def test_a_folder_is_read_in_the_order_of_the_names(clips):
    folder = clips("b.wav", "a.FLAC", "a.txt", "b.txt", "notes.txt", "song.mp3", ".hidden.wav", "deeper/c.wav")
    (folder / "a.txt").write_text("\N{ZERO WIDTH NO-BREAK SPACE}one\n  two\n", encoding="utf-8")
    (folder / "b.txt").write_text("drei Stühle", encoding="utf-8")
    first, second = read_manifest(folder)
    assert (first.id, first.audio, first.text, first.duration) == ("a", folder / "a.FLAC", "one two", None)
    assert (second.id, second.text, second.place) == ("b", "drei Stühle", str(folder / "b.txt"))


def test_a_jsonl_is_read_in_its_order(clips, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("elsewhere") / "z.flac"
    elsewhere.touch()
    folder = clips("in/a.wav")
    source = manifest(folder, row(str(elsewhere), duration=3), b"  \r", row("in/a.wav", " one \t two ", speaker=7), b"")
    first, second = read_manifest(source)
    assert (first.id, first.audio, first.duration, first.place) == ("z", elsewhere, 3.0, f"{source}:1")
    assert (second.id, second.audio, second.text, second.place) == ("a", folder / "in/a.wav", "one two", f"{source}:3")
    assert second.duration is None


def test_where_stems_clash_the_path_is_the_name(clips):
    folder = clips("in/a.wav", "out/a.wav", "b.wav")
    source = manifest(folder, row("in/a.wav"), row("out/a.wav"), row("b.wav"))
    assert [entry.id for entry in read_manifest(source)] == ["in/a.wav", "out/a.wav", "b"]


def test_where_both_formats_lie_side_by_side_the_file_name_is_the_name(clips):
    folder = clips("a.wav", "a.flac")
    (folder / "a.txt").write_text("one")
    assert [entry.id for entry in read_manifest(folder)] == ["a.flac", "a.wav"]


@pytest.mark.parametrize(("lines", "says"), [
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
    ([row(text="")], ":1: there is no word"),
    ([row(text=" ... \n - ")], ":1: there is no word"),
    ([row(text="one \ud800")], ":1: the text or the name of the audio is not valid Unicode"),
    ([row("b.wav")], ":1: there is no audio file"),
    ([row("a.wav\0")], ":1: 'a.wav\\x00' is neither .wav nor .flac"),
    ([row("\0.wav")], ":1: there is no audio file"),
    ([row("\ud800.wav")], ":1: there is no audio file"),
    ([row("x" * 9000 + ".wav")], ":1: there is no audio file"),
    ([row("folder.wav")], ":1: there is no audio file"),
    ([row("a.mp3")], ":1: a.mp3 is neither .wav nor .flac"),
    ([row(""), row()], ":1:  is neither .wav nor .flac"),
    ([row(), row("./a.wav", "again")], ":2: "),
    ([b'{"text": "caf\xe9"}'], ":1 is not UTF-8"),
    ([row(), b"\xff\xfe{\0"], ":2 is not UTF-8"),
    ([row(text="word " * 300_000)], ":1 is longer than 1048576 bytes"),
])  # fmt: skip
def test_a_bad_manifest_is_refused_with_line_and_next_step(clips, lines, says):
    folder = clips("a.wav", "a.mp3")
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


@pytest.mark.parametrize(("text", "says"), [
    (b"", "there is no word"), (b"caf\xe9", "not UTF-8"), (b"word " * 300_000, "longer than"),
])  # fmt: skip
def test_a_bad_transcript_names_the_file(clips, text, says):
    folder = clips("a.wav")
    (folder / "a.txt").write_bytes(text)
    with pytest.raises(InputError, match=rf"a\.txt.* {says}"):
        read_manifest(folder)


def test_a_file_name_that_is_not_utf8_is_refused(clips):
    folder = clips("a.wav")
    for suffix in (b".wav", b".txt"):
        with open(os.path.join(os.fsencode(folder), b"caf\xe9" + suffix), "w") as file:
            file.write("one")
    (folder / "a.txt").write_text("one")
    with pytest.raises(InputError, match="not valid Unicode") as caught:
        read_manifest(folder)
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("name", ["nowhere", "a\0b"])
def test_a_source_that_is_not_there_is_refused(tmp_path, name):
    with pytest.raises(InputError, match="no folder or manifest"):
        read_manifest(tmp_path / name)


def test_an_empty_folder_is_refused(tmp_path):
    with pytest.raises(InputError, match="holds no clip"):
        read_manifest(tmp_path)


def test_an_audio_file_as_manifest_is_refused(tmp_path):
    (tmp_path / "a.wav").write_bytes(b"RIFF\xa4\xd9\0\0WAVEfmt ")
    with pytest.raises(InputError, match="a.wav:1 is not UTF-8"):
        read_manifest(tmp_path / "a.wav")


@pytest.fixture
def three(clips):
    folder = clips("in/a.wav", "out/a.wav", "0017.wav")
    return read_manifest(manifest(folder, row("in/a.wav"), row("out/a.wav"), row("0017.wav")))


def test_excluded_clips_are_left_out(three):
    assert [entry.id for entry in without(three, ["out/a.wav"])] == ["in/a.wav", "0017"]
    assert without(three, []) == three


def test_an_excluded_name_must_be_there(three):
    with pytest.raises(InputError, match=r"no clip '017'; did you mean '0017'\?"):
        without(three, ["in/a.wav", "017"])
    with pytest.raises(InputError, match=r"no clip 'zzz'\. Next step: use names like 'in/a.wav'"):
        without(three, ["zzz"])


def test_something_must_be_left(three):
    with pytest.raises(InputError, match="leaves no clip"):
        without(three, [entry.id for entry in three])


def test_reading_a_manifest_costs_no_heavy_import():
    """The settings are validated with it wherever a DAG is parsed."""
    code = "import sys, nightgate.transcription.clips.manifest; print([n for n in ('numpy', 'soundfile', 'soxr') if n in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
