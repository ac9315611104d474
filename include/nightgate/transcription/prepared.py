"""What is prepared for the transcription benchmark: the model and the clips, both in the cache."""

from __future__ import annotations

from pathlib import Path

from pydantic import BaseModel, ConfigDict

from nightgate.benchmark import Prepared
from nightgate.transcription.clips.folder import ClipFacts
from nightgate.transcription.engines import Model
from nightgate.transcription.models.resolve import ResolvedModel


class PreparedClips(BaseModel):
    """The ``folder`` of a set, as `clips.folder` describes it."""

    model_config = ConfigDict(frozen=True)
    folder: Path
    facts: ClipFacts


class TranscriptionPrepared(Prepared):
    model: ResolvedModel
    clips: PreparedClips

    def for_engines(self) -> Model:
        """The weights as an engine is given them."""
        return Model(self.model.path, self.model.ctranslate2, self.model.n_vocab, self.model.ftype)
