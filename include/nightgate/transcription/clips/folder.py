"""How a clip set lies on the disk.

A folder with ``.npy`` files (float32, shape (samples,), 16 kHz mono, in [-1, 1]) and ``clips.json``, a list of
`SavedClip` in order of transcription.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import BaseModel, ConfigDict, TypeAdapter

from nightgate.errors import ArtifactError
from nightgate.transcription.models.mel import SAMPLE_RATE

if TYPE_CHECKING:
    import numpy as np

BYTES_PER_SECOND = 4 * SAMPLE_RATE


class Known(BaseModel):
    """What is known of a clip besides its audio.

    ``offset`` is in the source, in seconds; ``language`` as it was labelled; ``channel`` the one that was taken, from 0,
    where a mix would have been silence.
    """

    model_config = ConfigDict(frozen=True)
    id: str
    text: str
    source: str | None = None
    snr_db: float | None = None
    silence_seconds: float | None = None
    offset: float | None = None
    language: str | None = None
    channel: int | None = None


class SavedClip(Known):
    """One clip of a set. ``file`` is in its folder; ``sha256`` is that of the samples."""

    file: str
    seconds: float
    sha256: str


class ClipFacts(BaseModel):
    """What a set is.

    ``repeated`` is how many clips come again because there were not enough; ``sha256`` is of all audio and text in their
    order; ``conditions`` how many clips are clean, noisy, with silence; ``one_channel`` which channel was taken, by clip,
    where a mix would have been silence.
    """

    model_config = ConfigDict(frozen=True)
    count: int
    repeated: int
    seconds: float
    shortest_seconds: float
    longest_seconds: float
    sha256: str
    conditions: dict[str, int] | None = None
    one_channel: dict[str, int] | None = None


_CLIPS = TypeAdapter(list[SavedClip])


def read_clips(folder: Path) -> list[SavedClip]:
    """The clips of a set, as ``clips.json`` lists them. ArtifactError when the set is gone or torn."""
    try:
        return _CLIPS.validate_json((folder / "clips.json").read_bytes())
    except (OSError, ValueError) as error:
        raise ArtifactError(f"the clips in {folder} cannot be read ({error})", "prepare transcription again") from error


def save_clip(folder: Path, file: str, audio: np.ndarray, known: Known) -> SavedClip:
    """Write the audio of one clip; returns its entry for ``clips.json``, which holds all that is ``known`` of it."""
    import numpy as np

    np.save(folder / file, audio)
    digest = hashlib.sha256(audio.tobytes()).hexdigest()
    return SavedClip(**known.model_dump(), file=file, seconds=len(audio) / SAMPLE_RATE, sha256=digest)


def save_set(folder: Path, clips: Sequence[SavedClip]) -> ClipFacts:
    """Write ``clips.json`` and return the facts of the set."""
    (folder / "clips.json").write_bytes(_CLIPS.dump_json(list(clips), indent=1, exclude_none=True))
    seconds = [clip.seconds for clip in clips]
    return ClipFacts(
        count=len(clips),
        repeated=len(clips) - len({clip.file for clip in clips}),
        seconds=sum(seconds),
        shortest_seconds=min(seconds),
        longest_seconds=max(seconds),
        sha256=hashlib.sha256(json.dumps([[clip.sha256, clip.text] for clip in clips]).encode()).hexdigest(),
    )
