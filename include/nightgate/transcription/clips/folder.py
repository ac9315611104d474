"""How a clip set lies on the disk.

A folder with ``.npy`` files (float32, shape (samples,), 16 kHz mono, in [-1, 1]) and ``clips.json``, a list in order of
transcription of ``{"id", "file", "seconds", "text", "source", "sha256"}`` and, where they apply, ``"snr_db"``,
``"silence_seconds"``, ``"offset"`` (in the source, in seconds), ``"language"`` (as it was labelled) and ``"channel"``
(the one taken, from 0, where a mix would have been silence). The sha256 is that of the samples.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nightgate.errors import ArtifactError
from nightgate.transcription.models.mel import SAMPLE_RATE

if TYPE_CHECKING:
    import numpy as np

BYTES_PER_SECOND = 4 * SAMPLE_RATE


def read_clips(folder: Path) -> list[dict[str, Any]]:
    """The clips of a set, as ``clips.json`` lists them. ArtifactError when the set is gone or torn."""
    try:
        return json.loads((folder / "clips.json").read_text())
    except (OSError, ValueError) as error:
        raise ArtifactError(f"the clips in {folder} cannot be read ({error})", "prepare transcription again") from error


def save_clip(folder: Path, file: str, audio: np.ndarray, **known: Any) -> dict[str, Any]:
    """Write the audio of one clip; returns its entry for ``clips.json``, which holds all that is ``known`` of it."""
    import numpy as np

    np.save(folder / file, audio)
    digest = hashlib.sha256(audio.tobytes()).hexdigest()
    return {**known, "file": file, "seconds": len(audio) / SAMPLE_RATE, "sha256": digest}


def save_set(folder: Path, clips: list[dict[str, Any]]) -> dict[str, Any]:
    """Write ``clips.json`` and return the facts of the set.

    Returns:
        count, repeated (how many clips come again because there were not enough), seconds, shortest_seconds,
        longest_seconds, and sha256 (of all audio and text in their order).
    """
    (folder / "clips.json").write_text(json.dumps(clips, indent=1))
    seconds = [clip["seconds"] for clip in clips]
    return {
        "count": len(clips),
        "repeated": len(clips) - len({clip["file"] for clip in clips}),
        "seconds": sum(seconds),
        "shortest_seconds": min(seconds),
        "longest_seconds": max(seconds),
        "sha256": hashlib.sha256(json.dumps([[clip["sha256"], clip["text"]] for clip in clips]).encode()).hexdigest(),
    }
