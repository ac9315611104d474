"""The reader of the user's audio: every rate and channel count, and a reason for every file that cannot be used."""

import io
import random
import struct

import numpy as np
import pytest
import soundfile

from nightgate.errors import ArtifactError
from nightgate.transcription.clips import audio
from nightgate.transcription.clips.audio import Span


def decode(data, duration=None, offset=None):
    """The one clip that is the file, or is cut from it."""
    ((_, piece),) = audio.decode(data, [Span(offset, duration)])
    return piece.finished()


def tone(seconds=1.0, rate=16_000, channels=1, hz=440.0):
    wave = 0.5 * np.sin(2 * np.pi * hz * np.arange(round(seconds * rate)) / rate)
    return np.repeat(wave.astype(np.float32)[:, None], channels, axis=1)


def encoded(samples, rate=16_000, **how):
    file = io.BytesIO()
    soundfile.write(file, samples, rate, **({"format": "WAV", "subtype": "PCM_16"} | how))
    return file.getvalue()


def with_data_size(wav, size):
    place = wav.index(b"data") + 4
    return wav[:place] + struct.pack("<I", size) + wav[place + 4 :]


def strongest_hz(heard):
    return np.fft.rfftfreq(len(heard), 1 / 16_000)[np.abs(np.fft.rfft(heard)).argmax()]


@pytest.mark.parametrize(
    "how",
    [
        {"format": "WAV", "subtype": "PCM_U8"},
        {"format": "WAV", "subtype": "PCM_24"},
        {"format": "WAV", "subtype": "FLOAT"},
        {"format": "WAVEX", "subtype": "PCM_16"},
        {"format": "WAV", "subtype": "PCM_16", "endian": "BIG"},
        {"format": "FLAC", "subtype": "PCM_16"},
        {"format": "FLAC", "subtype": "PCM_24"},
        {"format": "WAVEX", "subtype": "PCM_32"},
        {"format": "WAV", "subtype": "DOUBLE"},
        {"format": "WAV", "subtype": "ALAW"},
        {"format": "WAV", "subtype": "ULAW"},
        {"format": "RF64", "subtype": "PCM_24"},
        {"format": "AIFF", "subtype": "PCM_16"},
    ],
)
@pytest.mark.parametrize(("rate", "channels"), [(8_000, 1), (16_000, 2), (44_100, 2), (48_000, 6)])
def test_any_rate_and_channel_count_becomes_16_khz_mono(how, rate, channels):
    heard = decode(encoded(tone(2.0, rate, channels), rate, **how))
    assert (heard.dtype, heard.shape) == (np.float32, (32_000,))
    assert strongest_hz(heard) == pytest.approx(440, abs=1)
    assert np.abs(heard[1000:-1000]).max() == pytest.approx(0.5, abs=0.02)


def test_channels_are_averaged():
    left_only = np.hstack([tone(), 0 * tone()])
    assert np.abs(decode(encoded(left_only))).max() == pytest.approx(0.25, abs=0.01)


def test_what_resampling_puts_above_full_scale_is_cut():
    square = np.sign(tone(1.0, 44_100, hz=300.0))
    assert np.abs(decode(encoded(square, 44_100, subtype="FLOAT"))).max() == 1


@pytest.mark.parametrize("size", [0, 0xFFFFFFFF, 0x7FFFF000])
def test_a_wav_written_to_a_pipe_is_read_to_its_end(size):
    whole = encoded(tone())
    assert np.array_equal(decode(with_data_size(whole, size)), decode(whole))


def test_a_chunk_before_the_samples_does_not_disturb():
    wav = encoded(tone())
    place = wav.index(b"data")
    note = b"LIST" + struct.pack("<I", 5) + b"INFOx\0"  # an odd size is padded
    wav = wav[:place] + note + wav[place:]
    assert len(decode(wav)) == 16_000
    with pytest.raises(ArtifactError, match="truncated"):
        decode(wav[:-100])


FLAC = {"format": "FLAC"}
NO_NUMBER = np.where(np.arange(16_000) == 9000, np.nan, 0.1).astype(np.float32)


def flac_of_unknown_length():
    """What `flac` leaves when it writes to a pipe: the 36 bits for the number of samples are zero."""
    flac = bytearray(encoded(tone(), **FLAC))
    flac[21] &= 0xF0
    flac[22:26] = bytes(4)
    return bytes(flac)


@pytest.mark.parametrize(
    ("data", "says"),
    [
        (b"", "is empty"),
        (encoded(tone(0)), "header and no samples"),
        (encoded(tone(0.09)), "lasts 90 ms"),
        (encoded(tone(0.09), **FLAC), "lasts 90 ms"),
        (b"not audio at all" * 40, "is text and not audio"),
        (encoded(tone())[:20], "is truncated or damaged: its chunk b'fmt '"),
        (encoded(tone())[:36], "is truncated or damaged: its header names no samples"),
        (encoded(tone())[:10], "is truncated: of a wav, only 10 bytes are there"),
        (encoded(tone())[:-2], "promises 32000 bytes of samples, and 31998"),
        (encoded(tone(), endian="BIG")[:-2], "promises 32000 bytes of samples, and 31998"),
        (encoded(tone(), **FLAC)[:-40], "truncated or damaged"),
        (encoded(tone(), **FLAC)[:200], "truncated or damaged"),
        (flac_of_unknown_length()[:-40], "truncated or damaged"),
        (2 * encoded(tone(), **FLAC), "holds a second FLAC"),
        (encoded(NO_NUMBER, subtype="FLOAT"), "not finite"),
        (encoded(32_767 * tone(), subtype="FLOAT"), "full scale is 1"),
        (encoded(tone(), format="AU"), "holds AU, which is not read here"),
        (encoded(tone(), format="AIFF")[:-2], "is truncated: its header promises"),
        (encoded(np.zeros(40_000, dtype=np.float32), 10), "longer than 3600 s"),
    ],
)
def test_what_cannot_be_used_is_refused_with_its_reason(data, says):
    with pytest.raises(ArtifactError, match=says):
        decode(data)


def test_a_flac_without_a_total_is_read_to_its_end():
    whole = decode(encoded(tone(), **FLAC))
    assert np.array_equal(decode(flac_of_unknown_length()), whole)
    assert np.array_equal(decode(flac_of_unknown_length() + b"TAG" + bytes(125)), whole)


def sweep(seconds=2.0, rate=16_000, low=200.0, high=2000.0):
    """A tone that rises evenly, so that every part of it can be told from every other. float32, shape (samples,)."""
    time = np.arange(round(seconds * rate)) / rate
    return (0.4 * np.sin(2 * np.pi * (low + (high - low) * time / seconds / 2) * time)).astype(np.float32)


@pytest.mark.parametrize(
    "how", [{}, FLAC, {"format": "OGG", "subtype": "OPUS"}, {"format": "OGG", "subtype": "VORBIS"}, {"format": "MP3"}]
)
def test_segments_are_the_parts_of_the_whole(how):
    """In whichever order they are asked for, overlapping or not, and from formats that cannot be sought in."""
    data = encoded(sweep(), **{"subtype": None} | how) if how else encoded(sweep())
    spans = [Span(1.25), Span(0.5, 1.0), Span(), Span(0.0, 0.25), Span(1.0, 0.5)]
    found = {place: piece.finished() for place, piece in audio.decode(data, spans)}
    whole = found[2]
    assert len(whole) == 32_000
    assert strongest_hz(whole[8000:12_000]) == pytest.approx(762, abs=120)  # the sweep is at 650 to 875 Hz there
    for place, (start, stop) in {0: (20_000, 32_000), 1: (8000, 24_000), 3: (0, 4000), 4: (16_000, 24_000)}.items():
        assert np.array_equal(found[place], whole[start:stop])


def test_segments_are_cut_before_they_are_resampled():
    data = encoded(sweep(rate=44_100), 44_100)
    part = decode(data, 0.5, 0.75)
    assert len(part) == 8000
    assert np.abs(part[100:-100] - decode(data)[12_100:19_900]).max() < 1e-3


@pytest.mark.parametrize(
    ("offset", "duration", "says"),
    [
        (2.0, None, "lasts 2.00 s, and the manifest cuts from 2.00 s to its end"),
        (2.5, 1.0, "lasts 2.00 s, and the manifest cuts from 2.50 s to 3.50 s"),
        (1.0, 1.2, "lasts 2.00 s, and the manifest cuts from 1.00 s to 2.20 s"),
        (1.0, 0.05, "lasts 50 ms"),
    ],
)
def test_a_segment_beyond_the_file_is_refused(offset, duration, says):
    with pytest.raises(ArtifactError, match=says):
        decode(encoded(sweep()), duration, offset)


def test_a_segment_may_end_a_little_behind_the_file():
    assert len(decode(encoded(sweep()), 1.09, 1.0)) == 16_000


def stereo(left, right):
    ((_, piece),) = audio.decode(encoded(np.stack([left, right], axis=1), subtype="FLOAT"))
    return piece.channel, piece.finished()


def test_where_the_mix_cancels_out_the_loudest_channel_is_taken():
    channel, heard = stereo(0.7 * sweep(), -sweep())
    assert channel == 1
    assert np.array_equal(heard, -sweep())
    assert stereo(sweep(), -0.9 * sweep())[0] == 0


def test_where_it_cancels_out_for_a_while_one_channel_is_taken():
    side = sweep() * np.where(np.arange(32_000) < 16_000, 1, -1)
    channel, heard = stereo(sweep(), 0.9 * side)
    assert channel == 0
    assert np.array_equal(heard, sweep())
    ((_, first), (_, second)) = audio.decode(encoded(np.stack([sweep(), side], axis=1)), [Span(0, 1), Span(1)])
    assert (first.channel, second.channel) == (None, 0)


def test_speakers_with_a_channel_each_are_both_heard():
    first, second = sweep(), sweep(low=2500, high=3000)
    for left, right in [
        (first, second),
        (first, 0 * second),
        (first, 0.3 * first),
        (first, -0.3 * first),
        (first, np.roll(first, 40)),
    ]:
        channel, heard = stereo(left, right)
        assert channel is None
        assert np.allclose(heard, (left + right) / 2, atol=1e-6)
    assert stereo(0 * first, 0 * first)[0] is None


LOSSY = [{"format": "MP3"}, {"format": "OGG", "subtype": "VORBIS"}, {"format": "OGG", "subtype": "OPUS"}]


@pytest.mark.parametrize("how", LOSSY)
def test_what_is_compressed_is_read_whole_or_refused(how):
    data = encoded(tone(3.0), **{"subtype": None} | how)
    heard = decode(data)
    assert len(heard) == 48_000
    assert strongest_hz(heard) == pytest.approx(440, abs=1)
    assert np.array_equal(decode(data + b"TAG" + bytes(125)), heard)
    for cut in (len(data) // 2, len(data) - 200):
        with pytest.raises(ArtifactError, match="is truncated"):
            decode(data[:cut])
    with pytest.raises(ArtifactError, match="holds a second"):
        decode(data + data)


def test_loud_noise_may_pass_full_scale_when_it_was_compressed():
    noise = np.random.default_rng(2).choice([-1.0, 1.0], 32_000).astype(np.float32)
    ((_, piece),) = audio.decode(encoded(noise, format="MP3", subtype=None))
    assert np.abs(np.concatenate(piece.parts)).max() > 2
    assert np.abs(piece.finished()).max() == 1


def test_a_tenth_of_a_second_is_enough():
    assert len(decode(encoded(tone(0.1)))) == 1600


@pytest.mark.parametrize("claim", [1.0, 1.09, 0.91])
def test_a_duration_may_be_rounded(claim):
    assert len(decode(encoded(tone()), claim)) == 16_000


@pytest.mark.parametrize(("seconds", "claim"), [(1.0, 1.2), (1.0, 0.8), (20.0, 20.3)])
def test_a_duration_that_is_not_the_files_is_refused(seconds, claim):
    with pytest.raises(ArtifactError, match=rf"lasts {seconds:.2f} s, and the manifest says {claim:.2f} s"):
        decode(encoded(tone(seconds)), claim)


def test_one_per_cent_of_a_long_clip_is_bearable():
    assert len(decode(encoded(tone(20.0)), 20.15)) == 320_000


@pytest.mark.parametrize(
    "how", [{}, FLAC, {"subtype": "FLOAT"}, {"format": "RF64"}, *({"subtype": None} | how for how in LOSSY)]
)
def test_mutated_files_give_audio_or_a_reason(how, monkeypatch):
    monkeypatch.setenv("PATH", "")  # what the damage makes a format of ffmpeg's is refused
    chance = random.Random(7)
    whole = encoded(tone(0.3, 8_000, 2), 8_000, **how)
    heard = refused = 0
    for _ in range(300):
        data = bytearray(whole)
        for _ in range(chance.randint(1, 8)):
            # half of the damage goes to the header, where it does most
            place = chance.randrange(64 if chance.random() < 0.5 else len(data))
            match chance.randrange(4):
                case 0:
                    data[place] ^= 1 << chance.randrange(8)
                case 1:
                    data[place : place + 4] = struct.pack("<I", chance.choice([0, 1, 2**31, 2**32 - 1, 12345]))
                case 2:
                    data[place:place] = chance.randbytes(chance.randint(1, 9))
                case 3:
                    del data[place : place + chance.randint(1, 50)]
        try:
            heard_now = decode(bytes(data))
        except ArtifactError as error:
            assert error.what
            refused += 1
        else:
            assert (heard_now.dtype, heard_now.ndim) == (np.float32, 1)
            assert len(heard_now) and np.isfinite(heard_now).all() and np.abs(heard_now).max() <= 1
            heard += 1
    assert heard > 5 or how.get("format") == "OGG"  # whose pages have checksums
    assert refused > 50
