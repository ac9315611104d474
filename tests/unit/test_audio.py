"""The reader of the user's audio: every rate and channel count, and a reason for every file that cannot be used."""

import io
import random
import struct

import numpy as np
import pytest
import soundfile

from nightgate.errors import ArtifactError
from nightgate.transcription.clips.audio import decode


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


def strongest_hz(audio):
    return np.fft.rfftfreq(len(audio), 1 / 16_000)[np.abs(np.fft.rfft(audio)).argmax()]


@pytest.mark.parametrize("how", [
    {"format": "WAV", "subtype": "PCM_U8"}, {"format": "WAV", "subtype": "PCM_24"}, {"format": "WAV", "subtype": "FLOAT"},
    {"format": "WAVEX", "subtype": "PCM_16"}, {"format": "WAV", "subtype": "PCM_16", "endian": "BIG"},
    {"format": "FLAC", "subtype": "PCM_16"}, {"format": "FLAC", "subtype": "PCM_24"},
])  # fmt: skip
@pytest.mark.parametrize(("rate", "channels"), [(8_000, 1), (16_000, 2), (44_100, 2), (48_000, 6)])
def test_any_rate_and_channel_count_becomes_16_khz_mono(how, rate, channels):
    audio = decode(encoded(tone(2.0, rate, channels), rate, **how))
    assert (audio.dtype, audio.shape) == (np.float32, (32_000,))
    assert strongest_hz(audio) == pytest.approx(440, abs=1)
    assert np.abs(audio[1000:-1000]).max() == pytest.approx(0.5, abs=0.02)


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


@pytest.mark.parametrize(("data", "says"), [
    (b"", "is empty"),
    (encoded(tone(0)), "header and no samples"),
    (encoded(tone(0.09)), "lasts 90 ms"),
    (encoded(tone(0.09), **FLAC), "lasts 90 ms"),
    (b"not audio at all" * 40, "cannot be read"),
    (encoded(tone())[:20], "cannot be read"),
    (encoded(tone())[:-2], "promises 32000 bytes of samples, and 31998"),
    (encoded(tone(), endian="BIG")[:-2], "promises 32000 bytes of samples, and 31998"),
    (encoded(tone(), **FLAC)[:-40], "truncated or damaged"),
    (encoded(tone(), **FLAC)[:200], "truncated or damaged"),
    (flac_of_unknown_length(), "does not say how long"),
    (encoded(NO_NUMBER, subtype="FLOAT"), "not finite"),
    (encoded(32_767 * tone(), subtype="FLOAT"), "full scale is 1"),
    (encoded(tone(), format="OGG", subtype="VORBIS"), "holds OGG"),
    (encoded(np.zeros(40_000, dtype=np.float32), 10), "longer than 3600 s"),
])  # fmt: skip
def test_what_cannot_be_used_is_refused_with_its_reason(data, says):
    with pytest.raises(ArtifactError, match=says):
        decode(data)


@pytest.mark.parametrize("claim", [1.0, 1.09, 0.91])
def test_a_duration_may_be_rounded(claim):
    assert len(decode(encoded(tone()), claim)) == 16_000


@pytest.mark.parametrize(("seconds", "claim"), [(1.0, 1.2), (1.0, 0.8), (20.0, 20.3)])
def test_a_duration_that_is_not_the_files_is_refused(seconds, claim):
    with pytest.raises(ArtifactError, match=rf"lasts {seconds:.2f} s, and the manifest says {claim:.2f} s"):
        decode(encoded(tone(seconds)), claim)


def test_one_per_cent_of_a_long_clip_is_bearable():
    assert len(decode(encoded(tone(20.0)), 20.15)) == 320_000


@pytest.mark.parametrize("how", [{}, FLAC, {"subtype": "FLOAT"}])
def test_mutated_files_give_audio_or_a_reason(how):
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
            audio = decode(bytes(data))
        except ArtifactError as error:
            assert error.what
            refused += 1
        else:
            assert (audio.dtype, audio.ndim) == (np.float32, 1)
            assert len(audio) and np.isfinite(audio).all() and np.abs(audio).max() <= 1
            heard += 1
    assert heard > 5 and refused > 50
