"""Estimates with 95 % intervals. Each function returns ``(value, n, (low, high) | None)``.

An interval of ``None`` means: too few samples to state one. The judge never passes such a number on a guess.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

CONFIDENCE = 0.95
_FEWEST_CLIPS = 5
_RESAMPLES = 10_000
_SEED = 20040517  # any; fixed, so that the same clips always give the same interval

Estimate = tuple[float, int, "tuple[float, float] | None"]


def quantile(samples: np.ndarray, q: float, *, independent: int | None = None) -> Estimate:
    """The ``q``-quantile and its distribution-free interval from order statistics.

    Ranks come from the binomial distribution (Hahn & Meeker, *Statistical Intervals*, 1991, §5.2). Passes over the
    same queries are not independent of each other, so ``independent`` gives the number of distinct queries and the
    ranks are taken for that many; the interval is then as wide as one pass would give, not narrower.

    Args:
        samples: 1-d, any unit, finite.
        q: in (0, 1).
        independent: how many of the samples count as independent; all of them by default.
    """
    import numpy as np
    from scipy.stats import binom

    ordered = np.sort(np.ravel(samples))
    size = len(ordered)
    n = independent or size
    value = float(np.quantile(ordered, q, method="higher"))
    tail = (1 - CONFIDENCE) / 2
    # P(X_(r) <= true quantile) = P(Binomial(n, q) >= r): the ranks that leave `tail` on each side
    low_rank = int(binom.ppf(tail, n, q))
    high_rank = int(binom.ppf(1 - tail, n, q)) + 1
    if low_rank < 1 or high_rank > n:
        return value, size, None
    # whole numbers: 1 / 49 * 49 is below 1; the ends go outwards
    low = ordered[max(1, low_rank * size // n) - 1]
    high = ordered[-(-high_rank * size // n) - 1]
    return value, size, (float(low), float(high))


def mean(samples: np.ndarray | Sequence[float]) -> Estimate:
    """The mean of independent samples with Student's t interval (bounded samples such as per-query recall)."""
    import numpy as np
    from scipy.stats import t

    values = np.asarray(samples, dtype=np.float64).ravel()
    n = len(values)
    value = float(values.mean())
    if n < 5:
        return value, n, None
    half = float(t.ppf(0.5 + CONFIDENCE / 2, n - 1) * values.std(ddof=1) / np.sqrt(n))
    return value, n, (value - half, value + half)


def ratio_of_sums(numerators: np.ndarray, denominator: float) -> Estimate:
    """Σ numerators / (repeats × denominator), with a t interval over the repeats.

    Args:
        numerators: total processing seconds of each repeat, shape (repeats,).
        denominator: audio seconds in one repeat.
    """
    import numpy as np
    from scipy.stats import t

    ratios = np.asarray(numerators, dtype=np.float64) / denominator
    n = len(ratios)
    value = float(ratios.mean())
    if n < 3:
        return value, n, None
    half = float(t.ppf(0.5 + CONFIDENCE / 2, n - 1) * ratios.std(ddof=1) / np.sqrt(n))
    return value, n, (value - half, value + half)


def rate_over_clips(counts: np.ndarray, sizes: np.ndarray) -> Estimate:
    """Σ counts / Σ sizes with an interval over the clips, because the words of one clip are not independent.

    The interval is the percentile bootstrap over clips (Bisani & Ney, *Bootstrap estimates for confidence intervals
    in ASR performance evaluation*, ICASSP 2004), widened on each side to Student's t for a ratio estimator (Cochran,
    *Sampling Techniques*, 1977, §6.4): with few clips the bootstrap alone is too narrow. Fewer than five clips have
    none, and a clip without words, in which only insertions can be counted, is not one of the five: it says little of
    the rate. Resamples that draw nothing but such clips have no rate and are left out.

    Args:
        counts: what is counted in each clip, such as word errors or a difference of them, shape (clips,).
        sizes: the words of each clip, >= 0 and not all 0, shape (clips,).

    Returns:
        the rate, the sum of ``sizes``, and the interval.
    """
    import numpy as np
    from scipy.stats import t

    counts, sizes = np.asarray(counts, dtype=np.float64), np.asarray(sizes, dtype=np.float64)
    if counts.shape != sizes.shape or counts.ndim != 1 or not (sizes >= 0).all() or not (sizes > 0).any():
        raise ValueError("a rate needs a count and a size for each clip, and a size above 0 in one of them")
    clips, rate = len(sizes), float(counts.sum() / sizes.sum())
    telling = int((sizes > 0).sum())
    if telling < _FEWEST_CLIPS:
        return rate, int(sizes.sum()), None
    low, high = np.quantile(_resampled_rates(counts, sizes), [(1 - CONFIDENCE) / 2, (1 + CONFIDENCE) / 2])
    residuals = (counts - rate * sizes) / sizes.mean()
    half = t.ppf(0.5 + CONFIDENCE / 2, telling - 1) * residuals.std(ddof=1) / np.sqrt(clips)
    return rate, int(sizes.sum()), (float(min(low, rate - half)), float(max(high, rate + half)))


def error_rate(errors: np.ndarray, words: np.ndarray) -> Estimate:
    """Errors over reference words or characters (WER, CER): `rate_over_clips`, at least as wide as the words alone allow.

    Clips without a single error would leave an interval without width, so it is widened on each side to Wilson's
    interval over all words (*Probable inference*, JASA 1927). In simulation it covers the truth in 89 to 97 of 100
    sets of 5 to 14 clips; the clips differ more than so few of them show.

    Args:
        errors: substitutions + deletions + insertions of each clip, shape (clips,).
        words: reference words of each clip, >= 0 and not all 0, shape (clips,).

    Returns:
        the rate (a ratio from 0, it can exceed 1), the number of words, and the interval.
    """
    import numpy as np
    from scipy.stats import binomtest

    rate, n, interval = rate_over_clips(errors, words)
    if interval is None:
        return rate, n, None
    # of the words at most all: insertions can make the errors more than they are
    low, high = binomtest(min(int(np.sum(errors)), n), n).proportion_ci(CONFIDENCE, method="wilson")
    return rate, n, (float(max(0.0, min(interval[0], low))), float(max(interval[1], high)))


def _resampled_rates(counts: np.ndarray, sizes: np.ndarray) -> np.ndarray:
    """The rate of each of the bootstrap's resamples, drawn in blocks that bound the memory."""
    import numpy as np

    rng, clips = np.random.default_rng(_SEED), len(sizes)
    rows = max(1, 2**20 // clips)
    rates = []
    for start in range(0, _RESAMPLES, rows):
        drawn = rng.integers(clips, size=(min(rows, _RESAMPLES - start), clips))
        size = sizes[drawn].sum(axis=1)
        rates.append(counts[drawn].sum(axis=1)[size > 0] / size[size > 0])
    return np.concatenate(rates)
