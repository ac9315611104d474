"""The child's side of `sets.clip_set`: speak the packaged clips."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nightgate.transcription.clips.corpus import CLIPS, Clip, passages
from nightgate.transcription.clips.folder import save_clip, save_set
from nightgate.transcription.clips.noise import add_noise
from nightgate.transcription.clips.voice import speaker
from nightgate.transcription.models.mel import SAMPLE_RATE

if TYPE_CHECKING:
    import numpy as np

log = logging.getLogger(__name__)


def speak(request: dict[str, Any]) -> dict[str, Any]:
    """Fill ``request["folder"]`` with ``request["audio_seconds"]`` of whole clips; returns the facts.

    When the corpus is exhausted its clips come again, from the first: ``nations`` becomes ``nations-2``.
    """
    folder, wanted, say = Path(request["folder"]), request["audio_seconds"], speaker()
    clips: list[dict[str, Any]] = []
    total = 0.0
    while total < wanted:
        again, place = divmod(len(clips), len(CLIPS))
        if again:
            clips.append(clips[place] | {"id": f"{CLIPS[place].id}-{again + 1}"})
        else:
            clips.append(_make(folder, CLIPS[place], seed=place, say=say))
        total += clips[-1]["seconds"]
        log.info("clips: %.0f of %.0f s", total, wanted)
    noisy, silence = (sum(name in clip for clip in clips) for name in ("snr_db", "silence_seconds"))
    conditions = {"clean": len(clips) - noisy - silence, "noisy": noisy, "silence": silence}
    return {**save_set(folder, clips), "conditions": conditions}


def _make(folder: Path, clip: Clip, seed: int, say: Callable[[str], np.ndarray]) -> dict[str, Any]:
    import numpy as np

    spoken = {passage.id: passage for passage in passages() if passage.id in clip.passages}
    audio = np.concatenate(
        [
            say(spoken[part].text) if isinstance(part, str) else np.zeros(round(part * SAMPLE_RATE), dtype=np.float32)
            for part in clip.parts
        ]
    )
    known: dict[str, Any] = {
        "id": clip.id,
        "text": " ".join(spoken[name].text for name in clip.passages),
        "source": "; ".join(spoken[name].source for name in clip.passages),
    }
    if clip.silence_seconds:
        known["silence_seconds"] = clip.silence_seconds
    if clip.snr_db is not None:
        known["snr_db"] = clip.snr_db
        audio = add_noise(audio, clip.snr_db, seed)
    return save_clip(folder, f"{clip.id}.npy", audio, **known)
