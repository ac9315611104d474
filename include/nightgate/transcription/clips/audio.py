"""One file of the user's: from wav or flac, at any rate and channel count, to what an engine hears."""

from __future__ import annotations

import io
from typing import TYPE_CHECKING

from nightgate.errors import ArtifactError
from nightgate.transcription.models.mel import SAMPLE_RATE

if TYPE_CHECKING:
    import numpy as np

SHORTEST_SECONDS = 0.1  # whisper.cpp does not decode less
LONGEST_SECONDS = 3600
LARGEST_BYTES = 0x7FFFF000
"""A larger file is refused. Sizes from here on mean "not known": sox writes this one to a pipe, others 0xFFFFFFFF or 0."""

_FORMATS = ("WAV", "WAVEX", "FLAC")
_MOST_CHUNKS = 1000  # before the samples; real files have a handful
_LOUDEST = 2.0  # float files may pass 1 a little; far beyond it they hold something else than -1 to 1


def decode(data: bytes, claimed_seconds: float | None = None) -> np.ndarray:
    """The samples in the bytes of a wav or flac file, channels averaged, resampled by soxr (high quality).

    Args:
        claimed_seconds: what a manifest says; more than 0.1 s and more than 1 % off is an error.

    Returns:
        float32, shape (samples,), 16 kHz mono, in [-1, 1].

    Raises:
        ArtifactError: what is wrong with the file; the sentence begins with a verb ("is empty") and wants its name
            put before it.
    """
    import numpy as np
    import soxr

    if not data:
        raise ArtifactError("is empty")
    samples, rate = _samples(_with_known_size(data))
    seconds = len(samples) / rate
    if not len(samples):
        raise ArtifactError("is empty: it has a header and no samples")
    if seconds < SHORTEST_SECONDS:
        raise ArtifactError(f"lasts {1000 * seconds:.3g} ms, and Whisper hears nothing below 100 ms")
    if claimed_seconds is not None and abs(seconds - claimed_seconds) > max(0.1, 0.01 * claimed_seconds):
        raise ArtifactError(f"lasts {seconds:.2f} s, and the manifest says {claimed_seconds:.2f} s")
    if not np.isfinite(samples).all():
        raise ArtifactError("holds samples that are not finite numbers")
    if (peak := float(np.abs(samples).max())) > _LOUDEST:
        raise ArtifactError(f"holds samples up to {peak:.3g} where full scale is 1")
    if rate != SAMPLE_RATE:
        samples = soxr.resample(samples, rate, SAMPLE_RATE)
    return np.clip(samples, -1, 1).astype(np.float32)


def _samples(data: bytes) -> tuple[np.ndarray, int]:
    """Float32 mono samples at the file's own rate, and that rate."""
    import numpy as np
    import soundfile

    try:
        file = soundfile.SoundFile(io.BytesIO(data))
    except (soundfile.SoundFileError, RuntimeError) as error:
        raise ArtifactError(f"cannot be read ({_reason(error)})") from error
    with file:
        if file.format not in _FORMATS:
            raise ArtifactError(f"holds {file.format}, neither wav nor flac")
        if file.frames > LONGEST_SECONDS * file.samplerate:  # a flac written to a pipe does not know its length
            raise ArtifactError(f"does not say how long it is, or is longer than {LONGEST_SECONDS} s")
        parts: list[np.ndarray] = []
        block = max(1, 2**20 // file.channels)  # by blocks: a header may promise far more than there is
        try:
            while len(part := file.read(block, dtype="float32", always_2d=True)):
                with np.errstate(all="ignore"):  # a float file may hold anything: it is looked at as a whole above
                    parts.append(part.mean(axis=1))
        except (soundfile.SoundFileError, RuntimeError) as error:
            raise ArtifactError(f"is truncated or damaged ({_reason(error)})") from error
        samples = np.concatenate(parts) if parts else np.empty(0, dtype=np.float32)
        if len(samples) < file.frames:
            raise ArtifactError(f"is truncated: {len(samples)} of {file.frames} samples are there")
        return samples, file.samplerate


def _with_known_size(data: bytes) -> bytes:
    """A wav whose samples have the size that its header names, put in where it was left open; else ``data`` itself.

    libsndfile takes what is there without a word where the header promises more.
    """
    order = {b"RIFF": "little", b"RIFX": "big"}.get(data[:4])
    if order is None:
        return data
    place = 12
    for _ in range(_MOST_CHUNKS):
        name, size = data[place : place + 4], int.from_bytes(data[place + 4 : place + 8], order)
        place += 8
        if name == b"data" or place >= len(data):
            break
        place += size + size % 2
    there = len(data) - place
    if name != b"data" or there < 0:
        return data
    if size == 0 or size >= LARGEST_BYTES:
        return data[: place - 4] + there.to_bytes(4, order) + data[place:]
    if size > there:
        raise ArtifactError(f"is truncated: its header promises {size} bytes of samples, and {there} are there")
    return data


def _reason(error: Exception) -> str:
    """What libsndfile says, without the words that say nothing here."""
    return str(getattr(error, "error_string", error)).removeprefix("Error : ").rstrip(".")
