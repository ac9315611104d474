"""What model a name or a path stands for, found out before anything starts: from the list, or from the file itself."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from nightgate.errors import ArtifactError, InputError, nearest
from nightgate.transcription.models.ggml import validate_ggml
from nightgate.transcription.models.ggml_layout import MAGIC
from nightgate.transcription.models.published import FILE_TYPES, MODELS, NAMES, known

ENGLISH_TOKENS: Final = 51_864
_MULTILINGUAL_TOKENS, _CANTONESE_TOKENS = 51_865, 51_866
_HEAD = 512  # bytes of a file that tell what it is


@dataclass(frozen=True, slots=True)
class Kind:
    """``n_vocab`` tokens, ``ftype`` as in the file's header (1 is float16), ``size`` in bytes."""

    n_vocab: int
    ftype: int
    size: int

    @property
    def english_only(self) -> bool:
        return self.n_vocab == ENGLISH_TOKENS

    @property
    def knows_cantonese(self) -> bool:
        return self.n_vocab >= _CANTONESE_TOKENS


def look_at(model: str) -> Kind:
    """The kind of ``model``, a published name or a path. A file is walked to its end, which takes a fraction of a second.

    Raises:
        InputError: neither a name nor a file, or a file that no engine could read, with what it is.
    """
    if known(model):
        return _published(model)
    if not os.path.isfile(model):
        raise no_such_model(model)
    path = Path(model)
    if refusal := _strange(path):
        raise InputError(f"transcription.model={model} {refusal[0]}", refusal[1])
    try:
        hparams = validate_ggml(path)
    except ArtifactError as error:
        raise InputError(f"transcription.model: {error.what}", error.next_step) from error
    return Kind(hparams.n_vocab, hparams.ftype, path.stat().st_size)


def no_such_model(model: str) -> InputError:
    """Why ``model``, which is neither a published name nor a file, is none, and what to give instead."""
    if os.path.isdir(model):
        return InputError(f"transcription.model={model} is a folder", f"give {_inside(model)}")
    plain = os.path.basename(model).removeprefix("ggml-").removesuffix(".bin")
    return InputError(
        f"transcription.model={model} is neither the name of a published model nor an existing ggml file"
        f"{nearest(plain.lower(), NAMES, cutoff=0.7)}",
        _NEXT_STEP,
    )


def _published(name: str) -> Kind:
    base, _, quantised = name.rpartition("-q")
    n_vocab = _MULTILINGUAL_TOKENS
    if (base or name).endswith(".en"):
        n_vocab = ENGLISH_TOKENS
    elif name.startswith("large-v3"):
        n_vocab = _CANTONESE_TOKENS
    return Kind(n_vocab, FILE_TYPES[f"q{quantised}" if base else ""], MODELS[name].size)


def _inside(folder: str) -> str:
    files = sorted(path.name for path in Path(folder).glob("*.bin") if not _strange(path))
    return f"a ggml file in it, such as {files[0]}" if files else "a ggml file, as whisper.cpp reads them"


def _strange(path: Path) -> tuple[str, str] | None:
    """What a file is that is no ggml file, and what to do about it; None when it may be one or cannot be read."""
    try:
        if not path.is_file():
            return None
        with open(path, "rb") as file:
            head = file.read(_HEAD)
    except OSError:
        return None
    if not head:
        return "is an empty file", _NEXT_STEP
    return next(((f"is {what}", step) for is_one, what, step in _FORMATS if is_one(head)), None)


def _starts(*beginnings: bytes) -> Callable[[bytes], bool]:
    return lambda head: head.lstrip().startswith(beginnings) or head.startswith(beginnings)


_NEXT_STEP = "give a whisper.cpp ggml file, the name of a published model, or tiny.en"
_CONVERT = "convert it with whisper.cpp's models/convert-h5-to-ggml.py or convert-pt-to-ggml.py, and give the ggml file"
_FETCH = "fetch the file itself again: what came is not it"
_FORMATS: Final = (
    (_starts(b"GGUF"), "a GGUF file, of llama.cpp; whisper.cpp reads ggml files", _NEXT_STEP),
    (_starts(b"ggjt", b"tjgg", b"fmgg"), "a ggml file of another format, not of whisper.cpp", _NEXT_STEP),
    (lambda head: head[8:10] in (b'{"', b"{ "), "a safetensors file", _CONVERT),
    (_starts(b"PK\x03\x04", b"\x80\x02", b"\x80\x03", b"\x80\x04"), "a PyTorch checkpoint", _CONVERT),
    (_starts(b"version https://git-lfs"), "a Git LFS pointer and not the file", "run `git lfs pull`"),
    (_starts(b"<!", b"<html", b"<?xml", b"<HTML"), "a web page", _FETCH),
    (_starts(b"{"), "a JSON file", _FETCH),
    (_starts(b"\x1f\x8b", b"7z\xbc\xaf", b"\x28\xb5\x2f\xfd", b"BZh", b"\xfd7zXZ"), "a packed file", "unpack it first"),
    (lambda head: b"WhisperSpec" in head[:64], "a CTranslate2 model, of faster-whisper", _CONVERT),
    (lambda head: head[:1] == b"\x08" and b"onnx" in head.lower(), "an ONNX model", _CONVERT),
    (
        lambda head: head[:4] == MAGIC.to_bytes(4, "little") and b"silero" in head[:64],
        "a model for voice activity, not for speech",
        "give it as transcription.vad_model, and a Whisper model as transcription.model",
    ),
)
"""What people take for a ggml file, by how it begins."""
