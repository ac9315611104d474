"""Mutated manifests: whatever stands in one, it is read or refused as the user's mistake."""

import json
import random

import pytest
from support.sounds import wav

from nightgate.errors import InputError
from nightgate.transcription.clips.manifest import read_manifest

ROUNDS = 4_000
SEED = 20_240_229
ROWS = [
    {"audio_filepath": "a.wav", "text": "one two three", "duration": 1.5},
    {"audio_filepath": "b.flac", "text": "four, five"},
    {"audio_filepath": "deeper/a.wav", "text": "sechs Stühle", "duration": 12, "speaker": {"id": 3}},
]
WHOLE = [json.dumps(row, ensure_ascii=False).encode() for row in ROWS]
WORDS = [
    b"\0",
    b"\xff",
    b"\xed\xa0\x80",
    b'"\\ud800"',
    b"\\ud83d",
    b"\r",
    b"\n",
    b"\xe2\x80\xa8",
    b"\xef\xbb\xbf",
    b"NaN",
    b"Infinity",
    b"-1e999",
    b"1e-400",
    b"9" * 400,
    b"9" * 5000,
    b"null",
    b"true",
    b"{}",
    b"[]",
    b'""',
    b"[" * 3000,
    b'{"text":' * 3000,
    b'"audio_filepath": "/dev/zero.wav", ',
    b'"text": [], ',
    b'"duration": "1", ',
    b"../" * 2000,
]


LAYOUTS = {
    "metadata.csv": b'file_name,text,offset\na.wav,"one, two",\nb.flac,three,0.5\ndeeper/a.wav,,\n',
    "list.tsv": b"path\tsentence\tlocale\na.wav\tone\ten\nb.flac\ttwo\tde\n",
    "a.trans.txt": b"a ONE TWO\nb THREE\n",
    "wav.scp": b"a a.wav\nb b.flac\n",
    "text": b"u1 one two\nu2 three\n",
    "segments": b"u1 a 0.25 1.5\nu2 b 0 -1\n",
}


def mutated(chance: random.Random, whole: list[bytes] = WHOLE) -> bytes:
    lines = [*whole]
    if chance.random() < 0.3:
        chance.shuffle(lines)
        lines = lines[: chance.randint(0, 3)] + chance.choices(whole, k=chance.randint(0, 2))
    data = bytearray(b"\n".join(lines))
    for _ in range(chance.randint(0, 4)):
        place = chance.randrange(len(data) + 1)
        match chance.randrange(6):
            case 0 if place < len(data):
                data[place] ^= 1 << chance.randrange(8)
            case 1:
                del data[place : place + chance.randint(1, 60)]
            case 2:
                del data[place:]
            case 3:
                data[place:place] = chance.choice(WORDS)
            case 4:  # a value of the right place, but of another kind
                colon = data.find(b": ", place)
                if colon >= 0:
                    end = min(at for at in (data.find(b, colon) % (len(data) + 1) for b in (b",", b"}")))
                    data[colon + 2 : end] = chance.choice(WORDS)
            case 5:
                data[place:place] = chance.randbytes(chance.randint(1, 12))
    return bytes(data)


def test_a_mutated_manifest_is_read_or_refused(tmp_path):
    for name, seconds in {"a.wav": 1.5, "b.flac": 3, "deeper/a.wav": 12}.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(wav(seconds))
    source, chance = tmp_path / "clips.jsonl", random.Random(SEED)
    read, reasons = 0, set()
    for _ in range(ROUNDS):
        source.unlink(missing_ok=True)  # a new file is several times cheaper than emptying one
        source.write_bytes(mutated(chance))
        try:
            entries = read_manifest(source)
        except InputError as error:
            assert error.next_step
            assert str(error).isprintable(), ascii(str(error))
            reasons.add(error.next_step)
        else:
            read += 1
            assert len({entry.id for entry in entries}) == len(entries) > 0
            for entry in entries:
                assert entry.audio.is_file()
                assert not entry.text or any(letter.isalnum() for letter in entry.text.encode().decode())
                assert entry.duration is None or 0 < entry.duration <= 3600
                assert entry.offset is None or 0 <= entry.offset < 12
    # the mutations reach past the parser, and both outcomes are common
    assert ROUNDS / 20 < read < ROUNDS * 0.8
    assert len(reasons) >= 7, reasons


def test_a_mutated_transcript_is_read_or_refused(tmp_path):
    chance = random.Random(SEED)
    (tmp_path / "a.wav").write_bytes(wav())
    for _ in range(300):
        (tmp_path / "a.txt").write_bytes(mutated(chance) if chance.random() < 0.5 else chance.randbytes(20))
        try:
            (entry,) = read_manifest(tmp_path)
        except InputError as error:
            assert error.next_step
        else:
            assert entry.text == " ".join(entry.text.split()) != ""


@pytest.mark.parametrize("name", LAYOUTS)
def test_a_mutated_table_is_read_or_refused(tmp_path, name):
    for file, seconds in {"a.wav": 1.5, "b.flac": 3, "deeper/a.wav": 12}.items():
        (tmp_path / file).parent.mkdir(exist_ok=True)
        (tmp_path / file).write_bytes(wav(seconds))
    kaldi = name in ("wav.scp", "text", "segments")
    for other in ("wav.scp", "text", "segments") if kaldi else ():
        (tmp_path / other).write_bytes(LAYOUTS[other])
    chance, read, refused = random.Random(SEED), 0, 0
    for _ in range(250):
        (tmp_path / name).write_bytes(mutated(chance, LAYOUTS[name].splitlines()))
        try:
            entries = read_manifest(tmp_path if kaldi else tmp_path / name)
        except InputError as error:
            assert error.next_step
            assert str(error).isprintable(), ascii(str(error))
            refused += 1
        else:
            read += 1
            assert all(entry.audio.is_file() and entry.fault is None for entry in entries)
    assert read > 20 and refused > 20, (read, refused)
