"""Headers of wavs as programs write them: sizes left open or wrong, chunks in odd places, RF64, other content inside."""

import io
import struct

import numpy as np
import pytest
import soundfile
from support.sounds import chunk

from nightgate.errors import ArtifactError
from nightgate.transcription.clips import audio, content

RATE = 16_000
RISING = (np.arange(RATE) * 3 - 20_000).astype("<i2")  # no two parts are alike
SAMPLES = RISING.tobytes()
FMT = chunk(b"fmt ", struct.pack("<HHIIHH", 1, 1, RATE, 2 * RATE, 2, 16))
OPEN = (0, 0xFFFFFFFF, 0x7FFFF000)
NOTES = chunk(b"LIST", b"INFOISFT" + struct.pack("<I", 5) + b"none\0\0")
TAGS = chunk(b"id3 ", b"ID3\4" + bytes(range(61)))
PLAYER = b"TAG" + bytes(range(125))


def riff(*parts, magic=b"RIFF", size=None):
    body = b"WAVE" + b"".join(parts)
    return magic + struct.pack("<I", len(body) if size is None else size) + body


def data(samples=SAMPLES, size=None):
    """The chunk of the samples; ``size`` is what it says of them."""
    return b"data" + struct.pack("<I", len(samples) if size is None else size) + samples


def heard(wav):
    ((_, piece),) = audio.decode(wav)
    return np.round(piece.finished() * 32_768).astype("<i2").tobytes()


@pytest.mark.parametrize(
    "after", [b"", NOTES, TAGS, NOTES + TAGS, PLAYER, NOTES + PLAYER, chunk(b"LIST", b"INFOx")[:-1]]
)
@pytest.mark.parametrize("size", [None, *OPEN])
def test_what_stands_after_the_samples_is_no_sample(after, size):
    wav = riff(FMT, data(size=size), after)
    assert heard(wav) == SAMPLES
    assert content.look_at(io.BytesIO(wav), len(wav)).seconds == 1.0


def test_junk_after_samples_of_known_size_is_no_sample():
    assert heard(riff(FMT, data(), b"\x07\x01\x02" * 700)) == SAMPLES


@pytest.mark.parametrize("size", OPEN)
@pytest.mark.parametrize("after", [b"", NOTES, NOTES + TAGS, PLAYER])
def test_a_header_without_samples_is_empty_whatever_follows(size, after):
    with pytest.raises(ArtifactError, match="is empty: it has a header and no samples"):
        heard(riff(FMT, data(b"", size), after))


def test_words_that_look_like_a_chunk_among_the_samples_are_samples():
    samples = SAMPLES[:8000] + NOTES + SAMPLES[8000 : 32_000 - len(NOTES)]
    assert heard(riff(FMT, data(samples, 0))) == samples


def test_many_chunks_that_lead_nowhere_take_no_time():
    samples = (b"LIST" + bytes(4)) * 60_000 + b"\0\0"
    assert len(heard(riff(FMT, data(samples, 0)))) == len(samples)


@pytest.mark.parametrize("pad", [b"\0", b""])
def test_an_odd_chunk_may_lack_its_padding(pad):
    odd = b"LIST" + struct.pack("<I", 5) + b"INFOx"
    assert heard(riff(odd, pad, FMT, odd, pad, data())) == SAMPLES
    eight_bit = chunk(b"fmt ", struct.pack("<HHIIHH", 1, 1, RATE, RATE, 1, 8))
    ((_, piece),) = audio.decode(riff(eight_bit, data(bytes(range(1, 200)) * 9), pad, NOTES))
    assert len(piece.finished()) == 1791


def test_half_a_frame_at_the_end_of_a_stream_is_left_out():
    assert heard(riff(FMT, data(SAMPLES + b"\x07", 0))) == SAMPLES


@pytest.mark.parametrize("magic", [b"RF64", b"BW64"])
@pytest.mark.parametrize(
    ("long", "short"), [(32_000, 0xFFFFFFFF), (0, 0xFFFFFFFF), (2**63, 0xFFFFFFFF), (32_000, 0), (0, 32_000)]
)
def test_the_long_size_of_rf64_counts(magic, long, short):
    sizes = chunk(b"ds64", struct.pack("<QQQI", 0, long, 16_000, 0))
    assert heard(riff(sizes, FMT, data(size=short), NOTES, magic=magic, size=0xFFFFFFFF)) == SAMPLES


def test_an_rf64_that_is_cut_is_truncated():
    sizes = chunk(b"ds64", struct.pack("<QQQI", 0, 32_000, 16_000, 0))
    with pytest.raises(ArtifactError, match="promises 32000 bytes of samples, and 31000 are there"):
        heard(riff(sizes, FMT, data(SAMPLES[:31_000], 0xFFFFFFFF), magic=b"RF64"))


@pytest.mark.parametrize(
    ("wav", "says"),
    [
        (riff(FMT, data(size=32_002)), "is truncated: its header promises 32002 bytes of samples, and 32000 are there"),
        (riff(FMT, data()) + riff(FMT, data()), "holds a second wav after the first"),
        (riff(FMT, data(size=8000)), "is damaged: its header promises 8000 bytes of samples, and 24000 more follow"),
        (riff(FMT, data(size=15_900)), "is damaged: its header promises 15900 bytes of samples, and 16100 more follow"),
        (riff(data()), "is damaged: no fmt chunk"),
        (
            riff(FMT[:20], data()),
            "is truncated or damaged: its chunk .* promises 2984489440 bytes, and 31996 are there",
        ),
        (riff(FMT, NOTES), "is truncated or damaged: its header names no samples"),
        (
            riff(FMT, b"LIST" + struct.pack("<I", 999) + b"INFO"),
            "its chunk b'LIST' promises 999 bytes, and 4 are there",
        ),
        (
            riff(chunk(b"fmt ", struct.pack("<HHIIHH", 1, 0, RATE, 0, 0, 16)), data()),
            "names 0 channels, 16000 Hz and 0 bytes",
        ),
        (riff(chunk(b"fmt ", struct.pack("<HHIIHH", 1, 1, 0, 0, 2, 16)), data()), "names 1 channels, 0 Hz and 2 bytes"),
    ],
)
def test_a_header_that_cannot_be_right_is_refused(wav, says):
    with pytest.raises(ArtifactError, match=says):
        heard(wav)


def test_an_extensible_header_names_its_format_behind():
    guid = b"\0\0\0\0\x10\0\x80\0\0\xaa\0\x38\x9b\x71"
    fmt = struct.pack("<HHIIHHHHI", 0xFFFE, 1, RATE, 2 * RATE, 2, 16, 22, 16, 4)
    assert heard(riff(chunk(b"fmt ", fmt + b"\1\0" + guid), data())) == SAMPLES
    wav = riff(chunk(b"fmt ", fmt + b"\x61\1" + guid), data())
    assert content.look_at(io.BytesIO(wav), len(wav)).demuxer == "wav"


def mp3():
    file = io.BytesIO()
    wave = 0.5 * np.sin(2 * np.pi * 440 * np.arange(3 * RATE) / RATE)
    soundfile.write(file, wave, RATE, format="MP3")
    return file.getvalue()


def test_an_mp3_in_a_wav_is_decoded_and_not_called_truncated():
    plain = heard(mp3())
    assert len(plain) == 96_000
    fmt = chunk(b"fmt ", struct.pack("<HHIIHHHHIHHH", 0x55, 1, RATE, 3000, 1, 0, 12, 1, 2, 216, 1, 1393))
    assert heard(riff(fmt, data(mp3()), NOTES)) == plain
    place = mp3().index(b"Info") + 8 if b"Info" in mp3() else mp3().index(b"Xing") + 8
    promised = int.from_bytes(mp3()[place : place + 4], "big")
    assert 84 < promised < 90  # frames of 36 ms
    for more in (-2, 2):  # by which an encoder may be off
        changed = mp3()[:place] + (promised + more).to_bytes(4, "big") + mp3()[place + 4 :]
        assert abs(len(heard(changed)) - 96_000) <= 2 * 2 * 576
    tag = b"ID3\4\0\0\0\0\1\x49" + bytes(201)  # 201 is written as 1 and 0x49, in bytes of seven bits
    assert heard(tag + mp3()) == plain
    with pytest.raises(ArtifactError, match="is truncated: its header promises .* MP3 frames"):
        heard(riff(fmt, data(mp3()[:2000])))


@pytest.mark.parametrize(
    ("head", "name", "demuxer"),
    [
        (b"\0\0\0\x1cftypM4A ", "MP4", "mov"),
        (b"\x1aE\xdf\xa3\x9f", "Matroska or WebM", "matroska"),
        (b"#!AMR\n", "AMR", "amr"),
        (b"0&\xb2u\x8ef\xcf\x11\xa6", "WMA", "asf"),
        (b"\xff\xf1\x60\x40", "AAC", "aac"),
        (b"\xff\xfb\x90\x64", "MP3", None),
        (b"\xff\xf3\x38\xc4", "MP3", None),
        (b"OggS" + bytes(24) + b"Speex   1.2", "Ogg with Speex", "ogg"),
        (b"OggS" + bytes(24) + b"\x80theora", "Ogg with more than one sound", "ogg"),
        (b"OggS" + bytes(24) + b"OpusHead", "Ogg", None),
        (b"OggS" + bytes(24) + b"\x01vorbis", "Ogg", None),
        (b"OggS" + bytes(24) + b"\x7fFLAC", "Ogg", None),
        (b"FORM\0\0", "AIFF", None),
    ],
)
def test_a_format_is_known_by_its_first_bytes(head, name, demuxer, monkeypatch):
    monkeypatch.setattr(content.shutil, "which", lambda program: f"/bin/{program}")
    found = content.look_at(io.BytesIO(head + bytes(40)), len(head) + 40)
    assert (found.name, found.demuxer, found.start) == (name, demuxer, 0)


@pytest.mark.parametrize(
    "head", [b"\xff\xe8\x90\x64", b"\xff\xf9\xf0\x64", b"\xff\xfb\xf0\x64", b"\xff\xfb\x9c\x64", b"\xff\x1b\x90\x64"]
)
def test_bits_that_no_mp3_has_are_none(head):
    try:
        assert content.look_at(io.BytesIO(head + bytes(40)), 44).name != "MP3"
    except ArtifactError as error:
        assert "ffmpeg" in error.what or "no audio format that is known here" in error.what


@pytest.mark.parametrize(
    ("tag", "length"),
    [
        (b"ID3\4\0\0\0\0\1\x49", 211),
        (b"ID3\4\0\x10\0\0\1\x49", 221),
        (b"ID3\4\0\x20\0\0\1\x49", 211),
        (b"ID3\4\0\0\x80\x80\x81\xc9", 211),
        (b"ID3\4\0\0\0\1\1\x49", 211 + 128 * 128),
    ],
)
def test_a_tag_before_the_audio_is_as_long_as_it_says(tag, length):
    """In bytes of seven bits, and ten more where a footer is announced."""
    file = tag + bytes(length - 10) + b"fLaC" + bytes(60)
    found = content.look_at(io.BytesIO(file), len(file))
    assert (found.name, found.start) == ("FLAC", length)


def test_a_flac_says_its_length():
    file = io.BytesIO()
    soundfile.write(file, RISING[:12_000], RATE, format="FLAC")
    assert content.look_at(file, len(file.getvalue())).seconds == 0.75
    tagged = io.BytesIO(b"ID3\4\0\0\0\0\0\x05" + bytes(5) + file.getvalue())
    found = content.look_at(tagged, len(tagged.getvalue()))
    assert (found.name, found.start, found.seconds) == ("FLAC", 15, 0.75)
    assert heard(tagged.getvalue()) == RISING[:12_000].tobytes()
