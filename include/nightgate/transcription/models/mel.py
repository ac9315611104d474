"""The mel filter bank Whisper hears through, as it stands in every ggml file."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

SAMPLE_RATE = 16_000
N_FFT = 400
N_BINS = 1 + N_FFT // 2

# Slaney's scale (Auditory Toolbox, 1998): linear below 1 kHz, then 27 steps for each factor of 6.4
_HZ_PER_MEL = 200 / 3
_LOG_START_HZ = 1000.0
_LOG_BASE, _LOG_STEPS = 6.4, 27


def mel_filters(n_mels: int) -> np.ndarray:
    """Triangular filters of equal area on Slaney's mel scale from 0 Hz to 8 kHz.

    The values are those of ``librosa.filters.mel(sr=16000, n_fft=400, n_mels=n_mels)``, which OpenAI's asset was made
    with. That asset writes its zeros as +0.0, so this does too: with it the bytes are the same.

    Returns:
        float32, shape (n_mels, 201).
    """
    import numpy as np

    bins = np.fft.rfftfreq(N_FFT, 1 / SAMPLE_RATE)
    edges = _mel_to_hz(np.linspace(0, _hz_to_mel(SAMPLE_RATE / 2), n_mels + 2))
    widths = np.diff(edges)
    ramps = np.subtract.outer(edges, bins)
    filters = np.zeros((n_mels, N_BINS), dtype=np.float32)
    for i in range(n_mels):
        rising, falling = -ramps[i] / widths[i], ramps[i + 2] / widths[i + 1]
        filters[i] = np.maximum(0, np.minimum(rising, falling)) + 0.0  # -0.0 + 0.0 is +0.0
    filters *= (2 / (edges[2:] - edges[:-2]))[:, np.newaxis]
    return filters


def _hz_to_mel(hz: float) -> float:
    import numpy as np

    start = _LOG_START_HZ / _HZ_PER_MEL
    return float(start + np.log(hz / _LOG_START_HZ) / (np.log(_LOG_BASE) / _LOG_STEPS))


def _mel_to_hz(mels: np.ndarray) -> np.ndarray:
    import numpy as np

    start = _LOG_START_HZ / _HZ_PER_MEL
    curved = _LOG_START_HZ * np.exp(np.log(_LOG_BASE) / _LOG_STEPS * (mels - start))
    return np.where(mels >= start, curved, _HZ_PER_MEL * mels)
