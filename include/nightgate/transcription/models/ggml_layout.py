"""What stands in a whisper.cpp ggml file: its numbers, its tensors, their types, and what a Whisper model can be.

After `models/convert-pt-to-ggml.py` (writer) and `src/whisper.cpp` (reader).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

MAGIC: Final = 0x67676D6C
F32, F16 = 0, 1

BLOCKS: Final = {
    0: (1, 4),
    1: (1, 2),
    2: (32, 18),
    3: (32, 20),
    6: (32, 22),
    7: (32, 24),
    8: (32, 34),
    10: (256, 84),
    11: (256, 110),
    12: (256, 144),
    13: (256, 176),
    14: (256, 210),
}
"""Tensor type → (values per block, bytes per block); from ggml's type table."""

WEIGHT_TYPE: Final = {1: 1, 2: 2, 3: 3, 7: 8, 8: 6, 9: 7, 10: 10, 11: 11, 12: 12, 13: 13, 14: 14}
"""File type → type of its large weights; from ggml_ftype_to_ggml_type. Without 0: pywhispercpp 1.5 aborts the process on
the convolutions of a float32 file."""


@dataclass(frozen=True, slots=True)
class Hparams:
    """The hyper-parameters in file order. ``ftype`` is 1 for float16; above that it is quantised."""

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


@dataclass(frozen=True, slots=True)
class Family:
    """The shapes a model may have. A decoder is as wide as its encoder and has at most as many layers."""

    n_vocab: tuple[int, ...]
    base_tokens: int
    """The least number of tokens in the file; the engines make up the special ones after them."""
    n_audio_ctx: int
    n_text_ctx: int
    n_mels: tuple[int, ...]
    head_width: int
    states: Mapping[int, int]
    """Layers of the encoder → its width."""


WHISPER: Final = Family(
    n_vocab=(51_864, 51_865, 51_866),  # English only, multilingual, and with Cantonese (large-v3)
    base_tokens=50_256,  # GPT-2's
    n_audio_ctx=1500,
    n_text_ctx=448,
    n_mels=(80, 128),
    head_width=64,
    states={4: 384, 6: 512, 12: 768, 24: 1024, 32: 1280},
)
"""OpenAI's Whisper, its fine-tuned and its distilled children.

The engines take these numbers for granted: they number the special tokens from the end of the vocabulary, look up
languages by token and the size of their buffers by the layers of the encoder, and end the process, or write past a
buffer, where a file departs from them."""


def tensor_shapes(h: Hparams) -> dict[str, tuple[int, ...]]:
    """Name → shape of every tensor: 11 + 15·encoder + 24·decoder layers.

    The order is that of OpenAI's checkpoints: the packaged tiny.en written in it is the published file, bit for bit.
    """
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


def tensor_type(name: str, shape: tuple[int, ...], ftype: int) -> int:
    """What the reader allocates: small tensors are float32, convolutions float16, the rest follows ``ftype``."""
    if len(shape) == 1 or name.endswith(("positional_embedding", "conv1.bias", "conv2.bias")):
        return F32
    return F16 if len(shape) == 3 else WEIGHT_TYPE[ftype % 1000]


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
