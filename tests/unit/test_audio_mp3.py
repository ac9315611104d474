"""MP3 files: every frame is read, whatever a header says or does not say of their number."""

import io

import numpy as np
import pytest
import soundfile

from nightgate.errors import ArtifactError
from nightgate.transcription.clips import audio, mp3

# lengths of frames as the standard's formula gives them: 144 or 72 × bit rate / rate, rounded down, and the padding
FRAMES = [
    (b"\xff\xfb\x90\xc4", 417),
    (b"\xff\xfb\x92\xc4", 418),
    (b"\xff\xfb\xe4\xc4", 960),
    (b"\xff\xfb\x18\x44", 144),
    (b"\xff\xf3\x80\xc4", 208),
    (b"\xff\xf3\xe4\xc4", 480),
    (b"\xff\xe3\x18\xc4", 72),
    (b"\xff\xf2\x80\x04", 208),
]


def frames(head, length, count):
    return b"".join(head + bytes([number % 200]) * (length - 4) for number in range(count))


def promised(data):
    place = data.index(b"Xing")
    assert int.from_bytes(data[place + 4 : place + 8], "big") == 1
    return int.from_bytes(data[place + 8 : place + 12], "big")


@pytest.mark.parametrize(("head", "length"), FRAMES)
def test_frames_are_counted_and_their_count_is_put_before_them(head, length):
    data = frames(head, length, 7)
    counted = mp3.counted(data)
    assert counted.endswith(data)
    assert promised(counted) == 7
    assert promised(mp3.counted(data + b"TAG" + bytes(125))) == 7
    for cut in (1, length - 1 - 4):
        with pytest.raises(ArtifactError, match="is truncated: its last MP3 frame is cut"):
            mp3.counted(data[:-cut])


@pytest.mark.parametrize(
    ("head", "place"), [(FRAMES[0][0], 21), (b"\xff\xfb\x90\x44", 36), (FRAMES[4][0], 13), (b"\xff\xf3\x80\x44", 21)]
)
def test_the_count_stands_behind_the_side_information(head, place):
    """Which has 17 or 32 bytes in MPEG 1, for one channel or two, and 9 or 17 in MPEG 2."""
    counted = mp3.counted(frames(head, dict(FRAMES).get(head, {b"\xfb": 417, b"\xf3": 208}[head[1:2]]), 3))
    assert counted.index(b"Xing") == place
    assert counted.index(head, 1) == {b"\xfb": 208, b"\xf3": 208}[head[1:2]]  # 64 kbit/s


def test_what_lies_between_frames_is_passed_over():
    head, length = FRAMES[0]
    tag = b"ID3\4\0\0\0\0\0\x20" + b"\xff\xfb\x90\xc4 is no frame: none follows"
    assert promised(mp3.counted(frames(head, length, 3) + tag + frames(head, length, 4))) == 7
    other = b"\xff\xfb\x94\xc4" + bytes(380)  # of another rate
    assert promised(mp3.counted(frames(head, length, 3) + other + frames(head, length, 4))) == 7


def with_header(count, promises, magic=b"Info"):
    head, length = FRAMES[0]
    info = (head + bytes(17) + magic + b"\0\0\0\1" + promises.to_bytes(4, "big")).ljust(length, b"\0")
    return info + frames(head, length, count)


@pytest.mark.parametrize("magic", [b"Info", b"Xing"])
def test_a_count_that_is_right_stays(magic):
    for count in (18, 19, 20, 21, 22):
        assert mp3.counted(with_header(count, 20, magic)) == with_header(count, 20, magic)
    with pytest.raises(ArtifactError, match="is truncated: its header promises 21 MP3 frames, and 18 are there"):
        mp3.counted(with_header(17, 20, magic))
    with pytest.raises(
        ArtifactError, match="holds a second MP3 after the first: its header promises 21 frames, and 24"
    ):
        mp3.counted(with_header(23, 20, magic))


@pytest.mark.parametrize(
    "head",
    [
        b"\xff\xfd\x90\x04",
        b"\xff\xff\x90\x04",
        b"\xff\xfb\x00\x04",
        b"\xff\xfb\xf0\x04",
        b"\xff\xfb\x9c\x04",
        b"\xff\xeb\x90\x04",
        b"\xfe\xfb\x90\x04",
    ],
)
def test_what_is_no_layer_three_is_left_to_the_decoder(head):
    assert mp3.counted(head + bytes(900)) == head + bytes(900)


def test_a_variable_bit_rate_without_a_header_is_read_to_its_end():
    """Two quiet seconds, then eight loud ones: a guess from the first frames reads far too much or too little."""
    chance = np.random.default_rng(5)
    loud = np.clip(chance.normal(size=8 * 16_000) / 4, -0.9, 0.9)
    for order in ([np.zeros(2 * 16_000), loud], [loud, np.zeros(2 * 16_000)]):
        file = io.BytesIO()
        soundfile.write(
            file, np.concatenate(order), 16_000, format="MP3", bitrate_mode="VARIABLE", compression_level=0.2
        )
        whole = file.getvalue()
        second = whole.index(b"\xff\xf3", 4)
        assert b"Xing" in whole[:second]
        ((_, piece),) = audio.decode(whole[second:])
        assert len(piece.finished()) / 16_000 == pytest.approx(10, abs=0.15)
