"""Read the weights of a whisper.cpp ggml file, for an engine that does not read such files itself."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nightgate.errors import ArtifactError
from nightgate.transcription.models.ggml import validate_ggml
from nightgate.transcription.models.ggml_layout import F16, F32, Hparams

if TYPE_CHECKING:
    import numpy as np

_DTYPES = {F32: "<f4", F16: "<f2"}
_AFTER_HPARAMS = struct.calcsize("<12i")


@dataclass(frozen=True, slots=True)
class GgmlWeights:
    """What stands in a file: the mel filters (float32, shape (n_mels, 201)), the bytes of each token in id order, and
    every tensor under OpenAI's name, as a read-only view of the mapped file (float16 or float32)."""

    hparams: Hparams
    mel: np.ndarray
    tokens: tuple[bytes, ...]
    tensors: Mapping[str, np.ndarray]


def read_ggml(path: Path) -> GgmlWeights:
    """All of a float16 model, unchanged to the bit.

    Raises:
        InputError: there is no such file. ArtifactError: it is not usable, or its weights are quantised.
    """
    import numpy as np

    hparams = validate_ggml(path)
    data = np.memmap(path, mode="r")
    position = _AFTER_HPARAMS

    def ints(count: int) -> tuple[int, ...]:
        return struct.unpack(f"<{count}i", text(4 * count))

    def text(count: int) -> bytes:
        nonlocal position
        position += count
        return data[position - count : position].tobytes()

    def array(kind: int, shape: tuple[int, ...]) -> np.ndarray:
        nonlocal position
        start = position
        position += int(np.prod(shape)) * np.dtype(_DTYPES[kind]).itemsize
        return data[start:position].view(_DTYPES[kind]).reshape(shape)

    mel = array(F32, ints(2))
    tokens = tuple(text(ints(1)[0]) for _ in range(ints(1)[0]))
    tensors: dict[str, np.ndarray] = {}
    while position < len(data):
        n_dims, length, kind = ints(3)
        shape = ints(n_dims)[::-1]
        name = text(length).decode()
        if kind not in _DTYPES:
            raise ArtifactError(
                f"the weights of {path} are quantised ({name} has the type {kind})", "use a float16 model"
            )
        tensors[name] = array(kind, shape)
    return GgmlWeights(hparams, mel, tokens, tensors)
