"""The ggml file of a voice activity detector, which whisper.cpp reads beside the model of speech."""

from __future__ import annotations

import struct
from pathlib import Path

from nightgate.errors import InputError
from nightgate.transcription.models.ggml_layout import MAGIC

_LONGEST_NAME = 64
_NEXT_STEP = "give the ggml-silero file that whisper.cpp publishes, or leave transcription.vad out"


def must_be_one(path: Path) -> None:
    """After `whisper_vad_init` of whisper.cpp: the magic number, then the length and the name of the kind, "silero-…".

    Raises:
        InputError: no such file, or another kind of file.
    """
    try:
        with open(path, "rb") as file:
            head = file.read(8 + _LONGEST_NAME)
    except OSError as error:
        raise InputError(f"transcription.vad_model={path} cannot be read ({error.strerror})", _NEXT_STEP) from error
    magic, length = struct.unpack("<2i", head[:8].ljust(8, b"\0"))
    if magic != MAGIC or not 0 < length <= _LONGEST_NAME or not head[8 : 8 + length].startswith(b"silero"):
        raise InputError(f"transcription.vad_model={path} is no ggml file of Silero VAD", _NEXT_STEP)
