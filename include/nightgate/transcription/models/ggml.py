"""The ggml file of whisper.cpp: write one, and check one from its first byte to its last.

A file is a magic number, eleven int32 hyper-parameters, the mel filters, the vocabulary, then one record per tensor
until the end; little-endian, no padding.
"""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Mapping, Sequence
from dataclasses import astuple
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING

from nightgate.errors import ArtifactError, InputError
from nightgate.transcription.models.ggml_layout import (
    BLOCKS,
    F32,
    MAGIC,
    WEIGHT_TYPE,
    WHISPER,
    Family,
    Hparams,
    tensor_shapes,
    tensor_type,
)
from nightgate.transcription.models.mel import N_BINS

if TYPE_CHECKING:
    import numpy as np

_MAX_TOKEN_BYTES = 1024
_BLANK = b" "  # the engines look this token up before they decode, and end the process when it is missing
_NEXT_STEP = "point transcription.model at a whisper.cpp ggml file, or use tiny.en"


def write_ggml(
    path: Path, hparams: Hparams, mel: np.ndarray, tokens: Sequence[bytes], tensors: Mapping[str, np.ndarray]
) -> None:
    """Write a float16 model.

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
            kind, label = tensor_type(name, shape, hparams.ftype), name.encode()
            file.write(struct.pack("<3i", len(shape), len(label), kind))
            file.write(struct.pack(f"<{len(shape)}i", *reversed(shape)) + label)
            file.write(tensors[name].reshape(shape).astype("<f4" if kind == F32 else "<f2").tobytes())


def validate_ggml(path: Path, family: Family = WHISPER) -> Hparams:
    """Walk the whole file, so that an engine, which may crash on a bad one, is only given a good one.

    The values of the weights are not looked at: no engine crashes on them. Time and memory are bounded by the number
    of records that are really in the file.

    Raises:
        InputError: there is no such file, or it cannot be read.
        ArtifactError: torn, foreign, empty, or not what its hyper-parameters promise; says what was found and expected.
    """
    try:
        if not stat.S_ISREG(os.stat(path).st_mode):  # opening a FIFO would wait for whoever writes to it
            raise InputError(f"the model file {path} is no regular file", _NEXT_STEP)
        with open(path, "rb") as file:
            return _walk(_Reader(path, file.fileno()), family)
    except (OSError, ValueError) as error:  # ValueError: a zero byte in the path
        reason = getattr(error, "strerror", None) or error
        raise InputError(f"the model file {path} cannot be read ({reason})", _NEXT_STEP) from error


class _Reader:
    """Reads forward, and never beyond the end."""

    def __init__(self, path: Path, file: int) -> None:
        self.path, self.file = path, file
        self.position, self.size = 0, os.fstat(file).st_size

    def skip(self, count: int, what: str) -> None:
        left = self.size - self.position
        if count > left:
            raise self.bad(f"the file ends inside {what}: {count:,} bytes expected, {left:,} left (torn download?)")
        self.position += count

    def take(self, count: int, what: str) -> bytes:
        start = self.position
        self.skip(count, what)
        content = os.pread(self.file, count, start)
        if len(content) != count:
            raise self.bad(f"it became shorter while {what} was read")
        return content

    def ints(self, count: int, what: str) -> tuple[int, ...]:
        return struct.unpack(f"<{count}i", self.take(4 * count, what))

    def at_end(self) -> bool:
        return self.position >= self.size

    def expect(self, what: str, actual: int, allowed: Sequence[int]) -> None:
        if actual not in allowed:
            wanted = f"{allowed[0]} to {allowed[-1]}" if isinstance(allowed, range) else " or ".join(map(str, allowed))
            raise self.bad(f"its {what} is {actual}, expected {wanted}")

    def bad(self, reason: str) -> ArtifactError:
        return ArtifactError(f"{self.path} is not a usable whisper ggml file: {reason}", _NEXT_STEP)


def _walk(reader: _Reader, family: Family) -> Hparams:
    magic = reader.take(4, "the magic number")
    if magic != struct.pack("<i", MAGIC):
        raise reader.bad(f"it starts with {magic!r}, expected {struct.pack('<i', MAGIC)!r}")
    hparams = Hparams(*reader.ints(11, "the hyper-parameters"))
    _check_hparams(reader, hparams, family)
    shape = reader.ints(2, "the size of the mel filters")
    if shape != (hparams.n_mels, N_BINS):
        raise reader.bad(f"its mel filters are {shape[0]} x {shape[1]}, expected {hparams.n_mels} x {N_BINS}")
    reader.skip(4 * prod(shape), "the mel filters")
    _walk_vocabulary(reader, hparams, family)
    _walk_tensors(reader, hparams)
    return hparams


def _check_hparams(reader: _Reader, hparams: Hparams, family: Family) -> None:
    reader.expect("n_vocab", hparams.n_vocab, family.n_vocab)
    reader.expect("n_audio_ctx", hparams.n_audio_ctx, [family.n_audio_ctx])
    reader.expect("n_audio_layer", hparams.n_audio_layer, list(family.states))
    state = family.states[hparams.n_audio_layer]
    for half in ("audio", "text"):
        reader.expect(f"n_{half}_state", getattr(hparams, f"n_{half}_state"), [state])
        reader.expect(f"n_{half}_head", getattr(hparams, f"n_{half}_head"), [state // family.head_width])
    reader.expect("n_text_ctx", hparams.n_text_ctx, [family.n_text_ctx])
    reader.expect("n_text_layer", hparams.n_text_layer, range(1, hparams.n_audio_layer + 1))
    reader.expect("n_mels", hparams.n_mels, family.n_mels)
    if hparams.ftype < 0 or hparams.ftype % 1000 not in WEIGHT_TYPE:  # the thousands are the version of quantisation
        raise reader.bad(f"its file type is {hparams.ftype}, expected one of {sorted(WEIGHT_TYPE)}")


def _walk_vocabulary(reader: _Reader, hparams: Hparams, family: Family) -> None:
    (count,) = reader.ints(1, "the size of the vocabulary")
    reader.expect("number of tokens", count, range(family.base_tokens, hparams.n_vocab + 1))
    has_blank = False
    for token in range(count):
        (length,) = reader.ints(1, f"token {token}")
        if not 0 <= length <= _MAX_TOKEN_BYTES:
            raise reader.bad(f"token {token} is {length} bytes long, expected at most {_MAX_TOKEN_BYTES}")
        has_blank |= reader.take(length, f"token {token}") == _BLANK
    if not has_blank:
        raise reader.bad("its vocabulary lacks the blank, expected one token that is a single space")


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
        if kind != (wanted := tensor_type(name, shape, hparams.ftype)):
            raise reader.bad(f"{name} has the type {kind}, expected {wanted} in a file of type {hparams.ftype}")
        values, size = BLOCKS[kind]
        if shape[-1] % values:
            raise reader.bad(f"{name} has rows of {shape[-1]} values, expected a multiple of {values}")
        reader.skip(prod(shape) // values * size, name)
    if missing:
        raise reader.bad(
            f"it holds {expected - len(missing)} tensors, expected {expected}; missing: {next(iter(missing))}"
        )
