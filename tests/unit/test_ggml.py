"""Tiny models, written here byte by byte from the format's description and not with the writer under test."""

import os
import struct
from dataclasses import replace

import numpy as np
import pytest

from nightgate.errors import ArtifactError, InputError
from nightgate.transcription.models import ggml
from nightgate.transcription.models.ggml import write_ggml
from nightgate.transcription.models.ggml_layout import WHISPER, Family, Hparams, tensor_shapes

SMALL = Family(
    n_vocab=(7, 8), base_tokens=3, n_audio_ctx=5, n_text_ctx=6, n_mels=(4,), head_width=16, states={1: 48, 2: 32}
)
TINY = Hparams(7, 5, 32, 2, 2, 6, 32, 2, 2, 4, 1)
TOKENS = [b"a", b" ", b"bc", b""]


def validate_ggml(path):
    return ggml.validate_ggml(path, SMALL)


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


def head(hparams=TINY, magic=b"lmgg", tokens=TOKENS):
    numbers = [getattr(hparams, name) for name in Hparams.__slots__]
    mel = struct.pack("<2i", hparams.n_mels, 201) + bytes(4 * hparams.n_mels * 201)
    words = b"".join(struct.pack("<i", len(token)) + token for token in tokens)
    return magic + struct.pack("<11i", *numbers) + mel + struct.pack("<i", len(tokens)) + words


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
        with pytest.raises(ArtifactError, match=r"ends inside|expected 89"):
            validate_ggml(model(whole[:length]))


@pytest.mark.parametrize("magic", [b"GGUF", b"ggml", b"PK\x03\x04", b"\0\0\0\0"])
def test_another_format_is_named(model, magic):
    with pytest.raises(ArtifactError) as caught:
        validate_ggml(model(head(magic=magic) + b"".join(records())))
    assert repr(magic) in str(caught.value)
    assert "b'lmgg'" in str(caught.value)


def test_no_tensors_at_all(model):
    """whisper.cpp loads such a file and then returns nonsense."""
    with pytest.raises(ArtifactError, match=r"holds 0 tensors, expected 89"):
        validate_ggml(model(head()))


def test_one_tensor_short(model):
    with pytest.raises(ArtifactError, match=r"holds 88 tensors, expected 89; missing: encoder\.ln_post\.bias"):
        validate_ggml(model(head() + b"".join(list(records())[:-1])))


def test_one_tensor_twice(model):
    every = list(records())
    with pytest.raises(ArtifactError, match="unknown or there twice"):
        validate_ggml(model(head() + b"".join([*every, every[0]])))


def test_bytes_after_the_end(model):
    with pytest.raises(ArtifactError, match="ends inside tensor 90"):
        validate_ggml(model(head() + b"".join(records()) + b"more"))


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        (tensor("decoder.ln.weight", (32,), 0, 128), tensor("decoder.ln.weights", (32,), 0, 128), "unknown"),
        (
            tensor("decoder.ln.weight", (32,), 0, 128),
            tensor("decoder.ln.weight", (31,), 0, 124),
            r"\(31,\), expected \(32,\)",
        ),
        (tensor("decoder.ln.weight", (32,), 0, 128), tensor("decoder.ln.weight", (32,), 1, 64), "type 1, expected 0"),
    ],
)
def test_a_wrong_record_is_named(model, old, new, says):
    whole = head() + b"".join(records())
    assert whole.count(old) == 1
    with pytest.raises(ArtifactError, match=says):
        validate_ggml(model(whole.replace(old, new)))


@pytest.mark.parametrize(
    ("change", "says"),
    [
        ({"n_vocab": 0}, "n_vocab is 0, expected 7 or 8"),
        ({"n_vocab": 9}, "n_vocab is 9, expected 7 or 8"),
        ({"n_audio_ctx": 1 << 30}, "n_audio_ctx is 1073741824, expected 5"),
        ({"n_text_ctx": 4}, "n_text_ctx is 4, expected 6"),
        ({"n_text_layer": 1 << 30}, "n_text_layer is 1073741824, expected 1 to 2"),
        ({"n_text_layer": 3}, "n_text_layer is 3, expected 1 to 2"),
        ({"n_text_layer": -1}, "n_text_layer is -1"),
        ({"n_audio_layer": 3}, "n_audio_layer is 3, expected 1 or 2"),
        ({"n_audio_layer": 1}, "n_audio_state is 32, expected 48"),
        ({"n_text_state": 64}, "n_text_state is 64, expected 32"),
        ({"n_audio_head": 0}, "n_audio_head is 0, expected 2"),
        ({"n_text_head": 4}, "n_text_head is 4, expected 2"),
        ({"n_mels": 5}, "n_mels is 5, expected 4"),
        ({"ftype": 0}, "file type is 0"),  # float32
        ({"ftype": 5}, "file type is 5"),
        ({"ftype": -999}, "file type is -999"),
    ],
)
def test_hyper_parameters_that_cannot_be(model, change, says):
    with pytest.raises(ArtifactError, match=says):
        validate_ggml(model(head(replace(TINY, **change)) + b"".join(records())))


def test_a_model_may_have_fewer_decoder_layers(model):
    """Distilled models and turbo do."""
    shallow = replace(TINY, n_text_layer=1)
    assert validate_ggml(model(head(shallow) + b"".join(records(shallow)))) == shallow


def test_only_whispers_own_shapes_pass(model):
    with pytest.raises(ArtifactError, match="n_vocab is 7, expected 51864 or 51865 or 51866"):
        ggml.validate_ggml(model(head() + b"".join(records())))
    published = [(4, 384, 6), (6, 512, 8), (12, 768, 12), (24, 1024, 16), (32, 1280, 20)]
    assert [(n, state, state // WHISPER.head_width) for n, state in WHISPER.states.items()] == published


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (TOKENS[:2], "number of tokens is 2, expected 3 to 7"),
        (TOKENS * 2, "number of tokens is 8, expected 3 to 7"),
        ([b"a", b"b", b"  "], "lacks the blank"),
    ],
)
def test_a_vocabulary_that_would_end_an_engine(model, words, says):
    with pytest.raises(ArtifactError, match=says):
        validate_ggml(model(head(tokens=words) + b"".join(records())))


def test_the_number_of_tokens_may_not_be_negative(model):
    whole = head() + b"".join(records())
    place = len(head()) - sum(4 + len(token) for token in TOKENS) - 4
    with pytest.raises(ArtifactError, match="number of tokens is -1"):
        validate_ggml(model(whole[:place] + struct.pack("<i", -1) + whole[place + 4 :]))


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
    with pytest.raises(InputError, match="no regular file"):
        validate_ggml(tmp_path)
    with pytest.raises(InputError, match="null (byte|character)"):
        validate_ggml(tmp_path / "a\0b")
    with pytest.raises(InputError, match="too long"):
        validate_ggml(tmp_path / ("x" * 5000))


def test_a_pipe_is_refused_and_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "pipe.bin")
    with pytest.raises(InputError, match="no regular file"):
        validate_ggml(tmp_path / "pipe.bin")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_one_may_not_read(model):
    path = model(b"lmgg")
    path.chmod(0)
    with pytest.raises(InputError, match="Permission denied"):
        validate_ggml(path)


def test_an_empty_file(model):
    with pytest.raises(ArtifactError, match="ends inside the magic number: 4 bytes expected, 0 left"):
        validate_ggml(model(b""))


def test_a_file_that_shrinks_while_it_is_read(model):
    path = model(head() + b"".join(records()))
    with open(path, "rb") as file:
        reader = ggml._Reader(path, file.fileno())
        os.truncate(path, 2)
        with pytest.raises(ArtifactError, match="became shorter"):
            reader.take(4, "the magic number")
