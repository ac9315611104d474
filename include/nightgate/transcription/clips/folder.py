"""How a clip set lies on the disk.

A folder with ``.npy`` files (float32, shape (samples,), 16 kHz mono, in [-1, 1]) and ``clips.json``, a list of
`SavedClip` in order of transcription.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NotRequired, TypedDict, Unpack

from nightgate.errors import ArtifactError
from nightgate.transcription.models.mel import SAMPLE_RATE

if TYPE_CHECKING:
    import numpy as np

BYTES_PER_SECOND = 4 * SAMPLE_RATE


class Known(TypedDict):
    """What is known of a clip besides its audio.

    ``offset`` is in the source, in seconds; ``language`` as it was labelled; ``channel`` the one that was taken, from 0,
    where a mix would have been silence.
    """

    id: str
    text: str
    source: NotRequired[str]
    snr_db: NotRequired[float]
    silence_seconds: NotRequired[float]
    offset: NotRequired[float]
    language: NotRequired[str]
    channel: NotRequired[int]


class SavedClip(Known):
    """One clip of a set. ``file`` is in its folder; ``sha256`` is that of the samples."""

    file: str
    seconds: float
    sha256: str


class ClipFacts(TypedDict):
    """What a set is.

    ``repeated`` is how many clips come again because there were not enough; ``sha256`` is of all audio and text in their
    order; ``conditions`` how many clips are clean, noisy, with silence; ``one_channel`` which channel was taken, by clip,
    where a mix would have been silence.
    """

    count: int
    repeated: int
    seconds: float
    shortest_seconds: float
    longest_seconds: float
    sha256: str
    conditions: NotRequired[dict[str, int]]
    one_channel: NotRequired[dict[str, int]]


def read_clips(folder: Path) -> list[SavedClip]:
    """The clips of a set, as ``clips.json`` lists them. ArtifactError when the set is gone or torn."""
    try:
        clips: list[SavedClip] = json.loads((folder / "clips.json").read_text())
    except (OSError, ValueError) as error:
        raise ArtifactError(f"the clips in {folder} cannot be read ({error})", "prepare transcription again") from error
    return clips


def save_clip(folder: Path, file: str, audio: np.ndarray, **known: Unpack[Known]) -> SavedClip:
    """Write the audio of one clip; returns its entry for ``clips.json``, which holds all that is ``known`` of it."""
    import numpy as np

    np.save(folder / file, audio)
    digest = hashlib.sha256(audio.tobytes()).hexdigest()
    return {**known, "file": file, "seconds": len(audio) / SAMPLE_RATE, "sha256": digest}


def save_set(folder: Path, clips: Sequence[SavedClip]) -> ClipFacts:
    """Write ``clips.json`` and return the facts of the set."""
    (folder / "clips.json").write_text(json.dumps(list(clips), indent=1))
    seconds = [clip["seconds"] for clip in clips]
    return {
        "count": len(clips),
        "repeated": len(clips) - len({clip["file"] for clip in clips}),
        "seconds": sum(seconds),
        "shortest_seconds": min(seconds),
        "longest_seconds": max(seconds),
        "sha256": hashlib.sha256(json.dumps([[clip["sha256"], clip["text"]] for clip in clips]).encode()).hexdigest(),
    }
