"""Pink noise at a known signal-to-noise ratio."""

from __future__ import annotations

from typing import TYPE_CHECKING

from nightgate.transcription.models.mel import SAMPLE_RATE

if TYPE_CHECKING:
    import numpy as np

_LOWEST_HZ = 50.0  # below it there is no speech: noise there would spend the power where it masks nothing


def add_noise(audio: np.ndarray, snr_db: float, seed: int) -> np.ndarray:
    """``audio`` (float32, shape (samples,), 16 kHz) with pink noise over its whole length.

    ``snr_db`` is ten times the decimal logarithm of mean power of the audio / mean power of the noise, both over the
    whole clip, pauses included. Where the sum would leave [-1, 1] all of it is turned down, which keeps the ratio.
    """
    import numpy as np

    noise = pink_noise(len(audio), seed)
    power, noise_power = (np.mean(np.square(part, dtype=np.float64)) for part in (audio, noise))
    mixed: np.ndarray = audio + noise * np.sqrt(power / noise_power / 10 ** (snr_db / 10))
    loudest = max(1.0, float(np.abs(mixed).max()))
    return (mixed / loudest).astype(np.float32)


def pink_noise(samples: int, seed: int) -> np.ndarray:
    """Gaussian noise whose power falls with 1/f from 50 Hz to 8 kHz, close to the long-term spectrum of speech.

    Returns:
        float64, shape (samples,); the same ``seed`` gives the same noise.
    """
    import numpy as np

    white = np.fft.rfft(np.random.default_rng(seed).standard_normal(samples))
    hz = np.fft.rfftfreq(samples, 1 / SAMPLE_RATE)
    shape = np.where(hz >= _LOWEST_HZ, 1 / np.sqrt(np.maximum(hz, _LOWEST_HZ)), 0)
    return np.fft.irfft(white * shape, samples)
