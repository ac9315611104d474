"""What the tests let an engine do in a process of its own."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from nightgate.transcription import engines


@dataclass(frozen=True)
class Conversion:
    folder: Path
    target: Path


@dataclass(frozen=True)
class Files:
    variant: str
    paths: list[Path]


def convert_to(request):
    from nightgate.transcription.models.ctranslate2_weights import convert

    convert(request.folder, request.target)


def transcribe(request):
    """The text of a second of noise, by each of the files."""
    import numpy as np

    noise = (0.1 * np.random.default_rng(1).standard_normal(16_000)).astype(np.float32)
    texts = []
    for path in request.paths:
        model = engines.Model(path, None, 51_864)
        texts.append(engines.load(engines.named(request.variant), model, 1, "cpu").transcribe(noise).text)
    return texts
