"""Other people's corpora as they come: Hugging Face's audio folder, Common Voice, LibriSpeech, Kaldi."""

import pytest
from support.sounds import wav

from nightgate.errors import InputError
from nightgate.transcription.clips.manifest import read_manifest


@pytest.fixture
def put(tmp_path):
    """A function that writes files: text as it is given, and audio of so many seconds where a number is."""

    def write(files):
        for name, content in files.items():
            file = tmp_path / name
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(
                content
                if isinstance(content, bytes)
                else content.encode()
                if isinstance(content, str)
                else wav(content)
            )
        return tmp_path

    return write


def refused(source, *exclude):
    with pytest.raises(InputError) as caught:
        read_manifest(source, exclude)
    assert caught.value.next_step
    return caught.value.what


HUGGING_FACE = {
    "train/a.mp3": 1.5,
    "b.wav": 0.5,
    "metadata.csv": '\N{ZERO WIDTH NO-BREAK SPACE}file_name,transcription,speaker\r\nb.wav,"one, two",7\r\n\r\ntrain/a.mp3,drei,8\r\n',
}


@pytest.mark.parametrize("given", ["", "metadata.csv"])
def test_an_audio_folder_of_hugging_face_is_read(put, given):
    folder = put(HUGGING_FACE)
    first, second = read_manifest(folder / given)
    assert (first.id, first.audio, first.text, first.place) == (
        "b",
        folder / "b.wav",
        "one, two",
        f"{folder}/metadata.csv:2",
    )
    assert (second.id, second.audio, second.text) == ("a", folder / "train/a.mp3", "drei")


def test_its_metadata_may_be_jsonl(put):
    (entry,) = read_manifest(put({"b.wav": 0.5, "metadata.jsonl": '{"file_name": "b.wav", "text": "one"}'}))
    assert (entry.id, entry.text) == ("b", "one")
    with pytest.raises(InputError, match="metadata.jsonl:1: the name of the audio is not valid Unicode"):
        read_manifest(put({"metadata.jsonl": '{"file_name": "b\\u0000.wav", "text": "one"}'}))


def test_columns_without_a_name_say_nothing(put):
    (entry,) = read_manifest(put({"b.wav": 0.5, "list.csv": ",file_name,text,,\n0,b.wav,one,,\n"}) / "list.csv")
    assert (entry.id, entry.text) == ("b", "one")


def test_audio_and_texts_that_its_metadata_do_not_name_are_named(put):
    folder = put({**HUGGING_FACE, "test/c.opus": 0.5, "b.txt": "one", "notes.txt": "about this set"})
    said = refused(folder)
    assert "2 of 4 clips cannot be used" in said
    assert f"{folder}/test/c.opus stands in no line of metadata.csv" in said
    assert f"{folder}/b.txt is not read: the text stands in metadata.csv" in said
    assert len(read_manifest(folder, ["c", "b.txt"])) == len(read_manifest(folder / "metadata.csv")) == 2


def test_two_descriptions_of_one_folder_are_refused(put):
    folder = put({**HUGGING_FACE, "metadata.jsonl": '{"file_name": "b.wav", "text": "one"}'})
    assert "holds metadata.csv and metadata.jsonl" in refused(folder)


def test_metadata_without_audio_do_not_hide_the_transcripts(put):
    folder = put({"b.wav": 0.5, "b.txt": "one", "metadata.csv": "speaker,age\n7,31\n"})
    assert [entry.text for entry in read_manifest(folder)] == ["one"]
    assert "its first line names no column of audio" in refused(folder / "metadata.csv")


@pytest.mark.parametrize(
    ("table", "says"),
    [
        ("file_name,text\nb.wav,one, two\n", "metadata.csv:2: 3 cells under 2 columns"),
        ("file_name,text\nb.wav\n", "metadata.csv:2: 1 cells under 2 columns"),
        ("file_name,speaker\nb.wav,7\n", "metadata.csv:2: text is missing"),
        ("file_name,text,text\nb.wav,one,two\n", "metadata.csv: two columns are called 'text'"),
        ('file_name,text\nb.wav,"one\n', "metadata.csv:2: unexpected end of data"),
        ('file_name,text\nb.wav,"one"x\n', "metadata.csv:2: ',' expected after '\"'"),
        ("file_name,text,start\nb.wav,one,0.2\n", "metadata.csv:2: start would change what is transcribed"),
        ("file_name,text,duration\nb.wav,one,half\n", "metadata.csv:2: duration must be a length"),
        ("file_name,text,offset\nb.wav,one,0.6\n", "b.wav lasts 0.50 s, and the manifest cuts from 0.60 s to its end"),
        ("file_name,text\nb.wav,caf\udce9\n", "metadata.csv is not UTF-8"),
        ("file_name,text\n", "metadata.csv holds no clip"),
        ("file_name,text\nb\0.wav,one\n", "metadata.csv:2: "),
    ],
)
def test_a_bad_table_is_refused_with_its_line(put, table, says):
    folder = put({"b.wav": 0.5, "metadata.csv": table.encode(errors="surrogateescape")})
    assert says in refused(folder / "metadata.csv")


def test_cells_are_typed(put):
    table = "file_name,text,offset,duration,language\nb.wav,,0.1,0.25,\nb.wav,one,,0.5,de\n"
    silent, whole = read_manifest(put({"b.wav": 0.5, "list.csv": table}) / "list.csv")
    assert (silent.id, silent.text, silent.offset, silent.duration, silent.language) == (
        "b@0.1-0.35",
        "",
        0.1,
        0.25,
        None,
    )
    assert (whole.text, whole.offset, whole.duration, whole.language) == ("one", None, 0.5, "de")


def test_a_table_of_common_voice_is_read(put):
    table = 'client_id\tpath\tsentence_id\tsentence\tup_votes\tlocale\nf00\tclips/x.mp3\t17\t"Ja", sagte sie.\t2\tde\n'
    (entry,) = read_manifest(put({"clips/x.mp3": 1, "validated.tsv": table}) / "validated.tsv")
    assert (entry.id, entry.text, entry.language) == ("x", '"Ja", sagte sie.', "de")


LIBRISPEECH = {
    "84/121123/84-121123.trans.txt": "84-121123-0000 GO DO YOU HEAR\n84-121123-0001 BUT IN LESS\n",
    "84/121123/84-121123-0000.flac": 0.5,
    "84/121123/84-121123-0001.flac": 1.5,
    "174/50561/174-50561.trans.txt": "174-50561-0000 FORGOTTEN TOO\n",
    "174/50561/174-50561-0000.wav": 0.7,
    "SPEAKERS.TXT": "; about the speakers",
    "README.TXT": "LibriSpeech",
}


def test_a_tree_of_librispeech_is_read(put):
    folder = put(LIBRISPEECH)
    found = read_manifest(folder)
    assert [(entry.id, entry.text) for entry in found] == [
        ("174-50561-0000", "FORGOTTEN TOO"),
        ("84-121123-0000", "GO DO YOU HEAR"),
        ("84-121123-0001", "BUT IN LESS"),
    ]
    assert found[2].audio == folder / "84/121123/84-121123-0001.flac"
    assert found[2].place == f"{folder}/84/121123/84-121123.trans.txt:2"
    assert read_manifest(folder / "84/121123/84-121123.trans.txt") == found[1:]


def test_a_tree_behind_a_link_is_walked_once(put, tmp_path_factory):
    elsewhere = tmp_path_factory.mktemp("linked")
    folder = put(LIBRISPEECH)
    (elsewhere / "again").symlink_to(elsewhere)
    (elsewhere / "84").symlink_to(folder / "84")
    (folder / "84/121123/loop").symlink_to(folder / "84/121123")
    assert [entry.id for entry in read_manifest(elsewhere)] == ["84-121123-0000", "84-121123-0001"]


def test_what_does_not_agree_in_librispeech_is_named(put):
    folder = put(LIBRISPEECH | {"84/121123/84-121123-0002.flac": 1, "84/121123/84-121123-0001.wav": 1})
    (folder / "84/121123/84-121123-0000.flac").unlink()
    said = refused(folder)
    assert "trans.txt:1: one audio file called 84-121123-0000 should lie beside it, and there is none" in said
    assert (
        "trans.txt:2: one audio file called 84-121123-0001 should lie beside it, and there is 84-121123-0001.flac, 84"
        in said
    )
    assert "84-121123-0002.flac stands in no line of any *.trans.txt" in said


KALDI = {
    "rec1.wav": 2.5,
    "in/rec2.flac": 0.5,
    "wav.scp": "rec2 in/rec2.flac\nrec1 rec1.wav\n",
    "text": "rec1 one two\nrec2\n",
    "utt2spk": "rec1 7\nrec2 8\n",
    "utt2lang": "rec1 de\n",
}


@pytest.mark.parametrize("given", ["", "wav.scp"])
def test_a_data_folder_of_kaldi_is_read(put, given):
    folder = put(KALDI)
    first, second = read_manifest(folder / given)
    assert (first.id, first.audio, first.text, first.language) == ("rec1", folder / "rec1.wav", "one two", "de")
    assert (second.id, second.audio, second.text, second.language) == ("rec2", folder / "in/rec2.flac", "", None)
    assert (first.offset, first.place) == (None, f"{folder}/text:1")


def test_its_segments_are_cut(put):
    segments = "u1 rec1 0.25 1.75\nu3 rec1 1.5 -1\nu2 rec2 0.00 0.50\n"
    found = read_manifest(put({**KALDI, "segments": segments, "text": "u1 one\nu2 two\nu3 three\n"}))
    assert [(entry.id, entry.audio.name, entry.offset, entry.duration) for entry in found] == [
        ("u1", "rec1.wav", 0.25, 1.5),
        ("u2", "rec2.flac", 0.0, 0.5),
        ("u3", "rec1.wav", 1.5, None),
    ]


@pytest.mark.parametrize(
    ("files", "says"),
    [
        (
            {"wav.scp": "rec1 touch RAN |\nrec2 in/rec2.flac\n"},
            "wav.scp:1: wav.scp names a command, and commands are not run",
        ),
        ({"wav.scp": "rec1 | touch RAN\nrec2 in/rec2.flac\n"}, "wav.scp:1: wav.scp names a command"),
        ({"wav.scp": "rec1 all.ark:17\nrec2 in/rec2.flac\n"}, "wav.scp:1: all.ark:17 is no audio file"),
        ({"wav.scp": "rec1 -\nrec2 in/rec2.flac\n"}, "wav.scp:1: - is no audio file"),
        ({"wav.scp": "rec1\nrec2 in/rec2.flac\n"}, "wav.scp:1: nothing is no audio file"),
        ({"wav.scp": "rec1 rec1.wav\nrec1 in/rec2.flac\n"}, "wav.scp:2: rec1 stands at "),
        ({"wav.scp": "rec1 gone.wav\nrec2 in/rec2.flac\n"}, "text:1: there is no audio file "),
        ({"text": "rec1 one\n"}, "wav.scp:1: the utterance rec2 stands in no line of text"),
        ({"text": "rec1 one\nrec2\nrec3 three\n"}, "text:3: there is no audio of the utterance rec3"),
        ({"text": "rec1 <noise>\nrec2\n"}, "text:1: there is no word outside brackets"),
        ({"segments": "rec1 rec9 0 1\nrec2 rec2 0 0.5\n"}, "segments:1: there is no recording 'rec9'"),
        ({"segments": "rec1\nrec2 rec2 0 0.5\n"}, "segments:1: there is no recording ''"),
        (
            {"segments": "rec1 rec1 1 1\nrec2 rec2 0 0.5\n"},
            "segments:1: there is no segment of up to an hour from 1 s to 1 s",
        ),
        ({"segments": "rec1 rec1 0 3601\nrec2 rec2 0 0.5\n"}, "segments:1: there is no segment of up to an hour"),
        ({"segments": "rec1 rec1 -1 1\nrec2 rec2 0 0.5\n"}, "segments:1: there is no segment"),
        ({"segments": "rec1 rec1 nan -1\nrec2 rec2 0 0.5\n"}, "segments:1: there is no segment"),
        ({"segments": "rec1 rec1 0 1 0\nrec2 rec2 0 0.5\n"}, "segments:1: a segment is <utterance>"),
        (
            {"segments": "rec1 rec1 0 4\nrec2 rec2 0 0.5\n"},
            "rec1.wav lasts 2.50 s, and the manifest cuts from 0.00 s to 4.00 s",
        ),
        (
            {"reco2file_and_channel": "rec1 rec1 A\nrec2 rec1 B\n"},
            "reco2file_and_channel:2: rec2 is one of several channels",
        ),
    ],
)
def test_what_does_not_fit_in_kaldi_is_refused_and_no_command_is_run(put, monkeypatch, files, says):
    folder = put({**KALDI, **files})
    monkeypatch.chdir(folder)
    assert says in refused(folder)
    assert not (folder / "RAN").exists()


def test_a_kaldi_folder_without_texts_is_refused(put):
    folder = put(KALDI)
    (folder / "text").unlink()
    assert f"{folder}/text is missing" in refused(folder)


def test_kaldi_channels_that_are_all_the_first_are_nothing_special(put):
    assert len(read_manifest(put({**KALDI, "reco2file_and_channel": "rec1 rec1 A\nrec2 rec2 A\n"}))) == 2
