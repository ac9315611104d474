"""The ggml file format of whisper.cpp: write one, and check one from its first byte to its last.

A file is a magic number, eleven int32 hyper-parameters, the mel filters, the vocabulary, then one record per tensor
until the end; little-endian, no padding. After `models/convert-pt-to-ggml.py` (writer) and `src/whisper.cpp` (reader).
"""

from __future__ import annotations

import os
import struct
from collections.abc import Mapping, Sequence
from dataclasses import astuple, dataclass
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from nightgate.errors import ArtifactError, InputError
from nightgate.transcription.mel import N_BINS

if TYPE_CHECKING:
    import numpy as np

MAGIC = 0x67676D6C
F32, F16 = 0, 1

# tensor type → (values per block, bytes per block); from ggml's type table
_BLOCKS = {0: (1, 4), 1: (1, 2), 2: (32, 18), 3: (32, 20), 6: (32, 22), 7: (32, 24), 8: (32, 34),
           10: (256, 84), 11: (256, 110), 12: (256, 144), 13: (256, 176), 14: (256, 210)}  # fmt: skip
# file type → type of its large weights; from ggml_ftype_to_ggml_type
_WEIGHT_TYPE = {0: 0, 1: 1, 2: 2, 3: 3, 7: 8, 8: 6, 9: 7, 10: 10, 11: 11, 12: 12, 13: 13, 14: 14}
_MAX_DIMENSION = 1 << 20
_MAX_LAYERS = 256
_MAX_TOKEN_BYTES = 1024
_NEXT_STEP = "point transcription.model at a whisper.cpp ggml file, or use tiny.en"


@dataclass(frozen=True, slots=True)
class Hparams:
    """The hyper-parameters in file order. ``ftype`` is 0 for float32, 1 for float16, above that quantised."""

    n_vocab: int
    n_audio_ctx: int
    n_audio_state: int
    n_audio_head: int
    n_audio_layer: int
    n_text_ctx: int
    n_text_state: int
    n_text_head: int
    n_text_layer: int
    n_mels: int
    ftype: int


def tensor_shapes(h: Hparams) -> dict[str, tuple[int, ...]]:
    """Name → shape of every tensor, in the order of OpenAI's checkpoints: 11 + 15·encoder + 24·decoder layers."""
    audio, text = h.n_audio_state, h.n_text_state
    shapes: dict[str, tuple[int, ...]] = {
        "decoder.positional_embedding": (h.n_text_ctx, text),
        "encoder.positional_embedding": (h.n_audio_ctx, audio),
        "decoder.token_embedding.weight": (h.n_vocab, text),
    }
    for layer in range(h.n_text_layer):
        shapes |= _block(f"decoder.blocks.{layer}", text, cross=True)
    shapes |= _pair("decoder.ln", (text,))
    shapes |= {"encoder.conv1.weight": (audio, h.n_mels, 3), "encoder.conv1.bias": (audio, 1)}
    shapes |= {"encoder.conv2.weight": (audio, audio, 3), "encoder.conv2.bias": (audio, 1)}
    for layer in range(h.n_audio_layer):
        shapes |= _block(f"encoder.blocks.{layer}", audio, cross=False)
    return shapes | _pair("encoder.ln_post", (audio,))


def write_ggml(
    path: Path, hparams: Hparams, mel: np.ndarray, tokens: Sequence[bytes], tensors: Mapping[str, np.ndarray]
) -> None:
    """Write a float32 or float16 model.

    Args:
        mel: filters, shape (n_mels, 201).
        tokens: the bytes of each base token, in id order.
        tensors: every name of `tensor_shapes`, with as many values as its shape; any float dtype.
    """
    with open(path, "wb") as file:
        file.write(struct.pack("<12i", MAGIC, *astuple(hparams)))
        file.write(struct.pack("<2i", *mel.shape) + mel.astype("<f4").tobytes())
        file.write(struct.pack("<i", len(tokens)))
        for token in tokens:
            file.write(struct.pack("<i", len(token)) + token)
        for name, shape in tensor_shapes(hparams).items():
            kind, label = _tensor_type(name, shape, hparams.ftype), name.encode()
            file.write(struct.pack("<3i", len(shape), len(label), kind))
            file.write(struct.pack(f"<{len(shape)}i", *reversed(shape)) + label)
            file.write(tensors[name].reshape(shape).astype("<f4" if kind == F32 else "<f2").tobytes())


def validate_ggml(path: Path) -> Hparams:
    """Walk the whole file, so that an engine, which may crash on a bad one, is only given a good one.

    Raises:
        InputError: there is no such file, or it cannot be read.
        ArtifactError: torn, foreign, empty, or not what its hyper-parameters promise; says what was found and expected.
    """
    try:
        with open(path, "rb") as file:
            return _walk(_Reader(path, file))
    except OSError as error:
        raise InputError(f"the model file {path} cannot be read ({error.strerror})", _NEXT_STEP) from error


class _Reader:
    """Reads forward, and never beyond the end."""

    def __init__(self, path: Path, file: BinaryIO) -> None:
        self.path, self.file = path, file
        self.size = os.fstat(file.fileno()).st_size

    def skip(self, count: int, what: str) -> None:
        left = self.size - self.file.tell()
        if count > left:
            raise self.bad(f"the file ends inside {what}: {count:,} bytes expected, {left:,} left (torn download?)")
        self.file.seek(count, os.SEEK_CUR)

    def take(self, count: int, what: str) -> bytes:
        start = self.file.tell()
        self.skip(count, what)
        self.file.seek(start)
        return self.file.read(count)

    def ints(self, count: int, what: str) -> tuple[int, ...]:
        return struct.unpack(f"<{count}i", self.take(4 * count, what))

    def at_end(self) -> bool:
        return self.file.tell() >= self.size

    def bad(self, found: str) -> ArtifactError:
        return ArtifactError(f"{self.path} is not a usable whisper ggml file: {found}", _NEXT_STEP)


def _walk(reader: _Reader) -> Hparams:
    magic = reader.take(4, "the magic number")
    if magic != struct.pack("<i", MAGIC):
        raise reader.bad(f"it starts with {magic!r}, expected {struct.pack('<i', MAGIC)!r}")
    hparams = Hparams(*reader.ints(11, "the hyper-parameters"))
    _check_hparams(reader, hparams)
    shape = reader.ints(2, "the size of the mel filters")
    if shape != (hparams.n_mels, N_BINS):
        raise reader.bad(f"its mel filters are {shape[0]} x {shape[1]}, expected {hparams.n_mels} x {N_BINS}")
    reader.skip(4 * prod(shape), "the mel filters")
    _walk_vocabulary(reader, hparams)
    _walk_tensors(reader, hparams)
    return hparams


def _check_hparams(reader: _Reader, hparams: Hparams) -> None:
    if hparams.ftype % 1000 not in _WEIGHT_TYPE or hparams.ftype < 0:
        raise reader.bad(f"its file type is {hparams.ftype}, expected one of {sorted(_WEIGHT_TYPE)}")
    for name in Hparams.__slots__[:-1]:
        limit = _MAX_LAYERS if name.endswith("_layer") else _MAX_DIMENSION
        value = getattr(hparams, name)
        if not 1 <= value <= limit:
            raise reader.bad(f"its {name} is {value}, expected 1 to {limit}")
    for state, head in (("n_audio_state", "n_audio_head"), ("n_text_state", "n_text_head")):
        if getattr(hparams, state) % getattr(hparams, head):
            raise reader.bad(f"its {state} {getattr(hparams, state)} is no multiple of {head} {getattr(hparams, head)}")
    if hparams.n_audio_state != hparams.n_text_state:
        raise reader.bad(f"its encoder is {hparams.n_audio_state} wide and its decoder {hparams.n_text_state}")


def _walk_vocabulary(reader: _Reader, hparams: Hparams) -> None:
    (count,) = reader.ints(1, "the size of the vocabulary")
    if not 1 <= count <= hparams.n_vocab:
        raise reader.bad(f"its vocabulary has {count} tokens, expected 1 to {hparams.n_vocab}")
    for token in range(count):
        (length,) = reader.ints(1, f"token {token}")
        if not 0 <= length <= _MAX_TOKEN_BYTES:
            raise reader.bad(f"token {token} is {length} bytes long, expected at most {_MAX_TOKEN_BYTES}")
        reader.skip(length, f"token {token}")


def _walk_tensors(reader: _Reader, hparams: Hparams) -> None:
    missing = tensor_shapes(hparams)
    expected = len(missing)
    while not reader.at_end():
        place = f"tensor {expected - len(missing) + 1}"
        n_dims, name_length, kind = reader.ints(3, place)
        if not 1 <= n_dims <= 4 or not 1 <= name_length <= 256:
            raise reader.bad(f"{place} has {n_dims} dimensions and a name of {name_length} bytes")
        dims = reader.ints(n_dims, place)
        name = reader.take(name_length, place).decode(errors="replace")
        shape = missing.pop(name, None)
        if shape is None:
            raise reader.bad(f"{place} is {name!r}, which is unknown or there twice")
        if dims != shape[::-1]:
            raise reader.bad(f"{name} has the dimensions {dims}, expected {shape[::-1]}")
        if kind != (wanted := _tensor_type(name, shape, hparams.ftype)):
            raise reader.bad(f"{name} has the type {kind}, expected {wanted} in a file of type {hparams.ftype}")
        values, size = _BLOCKS[kind]
        if shape[-1] % values:
            raise reader.bad(f"{name} has rows of {shape[-1]} values, expected a multiple of {values}")
        reader.skip(prod(shape) // values * size, name)
    if missing:
        raise reader.bad(
            f"it holds {expected - len(missing)} tensors, expected {expected}; missing: {next(iter(missing))}"
        )


def _tensor_type(name: str, shape: tuple[int, ...], ftype: int) -> int:
    """What the reader allocates: small tensors stay float32, convolutions are float16 at most, the rest follows ftype."""
    if len(shape) == 1 or name.endswith(("positional_embedding", "conv1.bias", "conv2.bias")):
        return F32
    weights = _WEIGHT_TYPE[ftype % 1000]
    return min(weights, F16) if len(shape) == 3 else weights


def _block(prefix: str, state: int, *, cross: bool) -> dict[str, tuple[int, ...]]:
    shapes = _pair(f"{prefix}.mlp_ln", (state,))
    shapes |= _pair(f"{prefix}.mlp.0", (4 * state, state)) | _pair(f"{prefix}.mlp.2", (state, 4 * state))
    for attention in ("attn", "cross_attn") if cross else ("attn",):
        shapes |= _pair(f"{prefix}.{attention}_ln", (state,))
        for part in ("query", "key", "value", "out"):
            pair = _pair(f"{prefix}.{attention}.{part}", (state, state))
            if part == "key":  # Whisper's keys have no bias
                del pair[f"{prefix}.{attention}.key.bias"]
            shapes |= pair
    return shapes


def _pair(prefix: str, weight: tuple[int, ...]) -> dict[str, tuple[int, ...]]:
    return {f"{prefix}.weight": weight, f"{prefix}.bias": weight[:1]}
