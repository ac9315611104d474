"""The child's side of `sets.clip_set`: speak the packaged clips."""

from __future__ import annotations

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from nightgate.transcription.clips.corpus import CLIPS, Clip, passages
from nightgate.transcription.clips.folder import ClipFacts, Known, SavedClip, save_clip, save_set
from nightgate.transcription.clips.noise import add_noise
from nightgate.transcription.clips.voice import speaker
from nightgate.transcription.models.mel import SAMPLE_RATE

if TYPE_CHECKING:
    import numpy as np

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class SpeechRequest:
    """Where to put the clips, and how many seconds of them at least."""

    folder: Path
    audio_seconds: float


def speak(request: SpeechRequest) -> ClipFacts:
    """Fill the folder with whole clips; returns the facts.

    When the corpus is exhausted its clips come again, from the first: ``nations`` becomes ``nations-2``.
    """
    say = speaker()
    clips: list[SavedClip] = []
    total = 0.0
    while total < request.audio_seconds:
        again, place = divmod(len(clips), len(CLIPS))
        if again:
            clips.append(clips[place].model_copy(update={"id": f"{CLIPS[place].id}-{again + 1}"}))
        else:
            clips.append(_make(request.folder, CLIPS[place], seed=place, say=say))
        total += clips[-1].seconds
        log.info("clips: %.0f of %.0f s", total, request.audio_seconds)
    noisy = sum(clip.snr_db is not None for clip in clips)
    silence = sum(clip.silence_seconds is not None for clip in clips)
    conditions = {"clean": len(clips) - noisy - silence, "noisy": noisy, "silence": silence}
    return save_set(request.folder, clips).model_copy(update={"conditions": conditions})


def _make(folder: Path, clip: Clip, seed: int, say: Callable[[str], np.ndarray]) -> SavedClip:
    import numpy as np

    spoken = {passage.id: passage for passage in passages() if passage.id in clip.passages}

    def sound(part: str | float) -> np.ndarray:
        if isinstance(part, str):
            return say(spoken[part].text)
        return np.zeros(round(part * SAMPLE_RATE), dtype=np.float32)

    audio = np.concatenate([sound(part) for part in clip.parts])
    if clip.snr_db is not None:
        audio = add_noise(audio, clip.snr_db, seed)
    known = Known(
        id=clip.id,
        text=" ".join(spoken[name].text for name in clip.passages),
        source="; ".join(spoken[name].source for name in clip.passages),
        snr_db=clip.snr_db,
        silence_seconds=clip.silence_seconds or None,
    )
    return save_clip(folder, f"{clip.id}.npy", audio, known)
