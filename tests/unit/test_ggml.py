"""Tiny models, written here byte by byte from the format's description and not with the writer under test."""

import random
import struct
from dataclasses import replace

import numpy as np
import pytest

from nightgate.errors import ArtifactError, InputError
from nightgate.transcription.ggml import Hparams, tensor_shapes, validate_ggml, write_ggml

TINY = Hparams(7, 5, 32, 2, 1, 6, 32, 2, 2, 4, 1)
TOKENS = [b"a", b"bc", b""]


def tensor(name, shape, kind, size):
    label = name.encode()
    head = struct.pack("<3i", len(shape), len(label), kind) + struct.pack(f"<{len(shape)}i", *reversed(shape))
    return head + label + bytes(size)


def small(name, shape):
    return len(shape) == 1 or name.endswith(("positional_embedding", "conv1.bias", "conv2.bias"))


def records(hparams=TINY):
    """float16 for everything large, float32 for the rest."""
    for name, shape in tensor_shapes(hparams).items():
        kind, width = (0, 4) if small(name, shape) else (1, 2)
        yield tensor(name, shape, kind, width * int(np.prod(shape)))


def head(hparams=TINY, magic=b"lmgg"):
    numbers = [getattr(hparams, name) for name in Hparams.__slots__]
    mel = struct.pack("<2i", hparams.n_mels, 201) + bytes(4 * hparams.n_mels * 201)
    words = b"".join(struct.pack("<i", len(token)) + token for token in TOKENS)
    return magic + struct.pack("<11i", *numbers) + mel + struct.pack("<i", len(TOKENS)) + words


@pytest.fixture
def model(tmp_path):
    def write(content):
        path = tmp_path / "model.bin"
        path.write_bytes(content)
        return path

    return write


def test_a_whole_file_passes(model):
    assert validate_ggml(model(head() + b"".join(records()))) == TINY


@pytest.mark.parametrize(("audio", "text", "count"), [(4, 4, 167), (6, 6, 245), (32, 4, 587)])  # tiny, base, turbo
def test_the_number_of_tensors(audio, text, count):
    assert len(tensor_shapes(replace(TINY, n_audio_layer=audio, n_text_layer=text))) == count


def test_the_writer_writes_what_the_format_says(model, tmp_path):
    zeros = {name: np.zeros(shape) for name, shape in tensor_shapes(TINY).items()}
    write_ggml(tmp_path / "written.bin", TINY, np.zeros((4, 201)), TOKENS, zeros)
    assert (tmp_path / "written.bin").read_bytes() == head() + b"".join(records())


def test_a_quantised_file_passes(model):
    q5_0 = replace(TINY, ftype=2008)  # quantisation version 2, mostly q5_0: 22 bytes for 32 values
    content = head(q5_0)
    for name, shape in tensor_shapes(q5_0).items():
        values = int(np.prod(shape))
        if small(name, shape):
            content += tensor(name, shape, 0, 4 * values)
        elif len(shape) == 3:
            content += tensor(name, shape, 1, 2 * values)
        else:
            content += tensor(name, shape, 6, values // 32 * 22)
    assert validate_ggml(model(content)) == q5_0


def test_a_file_cut_anywhere_is_refused(model):
    whole = head() + b"".join(records())
    for length in {*range(80), *range(80, len(whole), 997), len(whole) - 1}:
        with pytest.raises(ArtifactError, match=r"ends inside|expected 74"):
            validate_ggml(model(whole[:length]))


@pytest.mark.parametrize("magic", [b"GGUF", b"ggml", b"PK\x03\x04", b"\0\0\0\0"])
def test_another_format_is_named(model, magic):
    with pytest.raises(ArtifactError) as caught:
        validate_ggml(model(head(magic=magic) + b"".join(records())))
    assert repr(magic) in str(caught.value)
    assert "b'lmgg'" in str(caught.value)


def test_no_tensors_at_all(model):
    """whisper.cpp loads such a file and then returns nonsense."""
    with pytest.raises(ArtifactError, match=r"holds 0 tensors, expected 74"):
        validate_ggml(model(head()))


def test_one_tensor_short(model):
    with pytest.raises(ArtifactError, match=r"holds 73 tensors, expected 74; missing: encoder\.ln_post\.bias"):
        validate_ggml(model(head() + b"".join(list(records())[:-1])))


def test_one_tensor_twice(model):
    every = list(records())
    with pytest.raises(ArtifactError, match="unknown or there twice"):
        validate_ggml(model(head() + b"".join([*every, every[0]])))


def test_bytes_after_the_end(model):
    with pytest.raises(ArtifactError, match="ends inside tensor 75"):
        validate_ggml(model(head() + b"".join(records()) + b"more"))


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (tensor("decoder.ln.weight", (32,), 0, 128), tensor("decoder.ln.weights", (32,), 0, 128), "unknown"),
        (tensor("decoder.ln.weight", (32,), 0, 128), tensor("decoder.ln.weight", (31,), 0, 124), r"\(31,\), expected \(32,\)"),
        (tensor("decoder.ln.weight", (32,), 0, 128), tensor("decoder.ln.weight", (32,), 1, 64), "type 1, expected 0"),
    ],
)  # fmt: skip
def test_a_wrong_record_is_named(model, old, new, says):
    whole = head() + b"".join(records())
    assert whole.count(old) == 1
    with pytest.raises(ArtifactError, match=says):
        validate_ggml(model(whole.replace(old, new)))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"n_vocab": 0}, "n_vocab is 0"),
        ({"n_vocab": 2}, "3 tokens, expected 1 to 2"),
        ({"n_text_layer": 1 << 30}, "n_text_layer"),
        ({"ftype": 5}, "file type is 5"),
        ({"n_audio_head": 3}, "no multiple"),
        ({"n_text_state": 64}, "32 wide"),
    ],
)
def test_hyper_parameters_that_cannot_be(model, change, says):
    with pytest.raises(ArtifactError, match=says):
        validate_ggml(model(head(replace(TINY, **change)) + b"".join(records())))


@pytest.mark.parametrize("length", [-4, 1 << 30])
def test_a_token_of_an_impossible_length(model, length):
    """A negative one must not send the reader back into what it has read."""
    whole = head() + b"".join(records())
    place = len(head()) - sum(4 + len(token) for token in TOKENS)
    with pytest.raises(ArtifactError, match="token 0 is"):
        validate_ggml(model(whole[:place] + struct.pack("<i", length) + whole[place + 4 :]))


def test_a_path_to_nothing_is_the_users_mistake(tmp_path):
    with pytest.raises(InputError, match="No such file"):
        validate_ggml(tmp_path / "none.bin")
    with pytest.raises(InputError, match="directory"):
        validate_ggml(tmp_path)


def test_a_damaged_file_gives_a_typed_error_or_passes_but_nothing_else(model):
    """Damage inside the weights cannot be seen here; anything else must be refused, and never by another error."""
    whole = head() + b"".join(records())
    dice = random.Random(7)
    refused = 0
    for _ in range(600):
        damaged = bytearray(whole)
        # half of the damage goes to the headers at the front, where the numbers stand
        end = len(whole) if dice.random() < 0.5 else 60
        for _ in range(dice.randint(1, 4)):
            damaged[dice.randrange(end)] = dice.randrange(256)
        if dice.random() < 0.2:
            del damaged[dice.randrange(len(damaged)) :]
        try:
            validate_ggml(model(bytes(damaged)))
        except ArtifactError:
            refused += 1
    assert refused > 300
