"""Estimates with 95 % intervals. Each function returns ``(value, n, (low, high) | None)``.

An interval of ``None`` means: too few samples to state one. The judge never passes such a number on a guess.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

CONFIDENCE = 0.95

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

    ordered = np.sort(np.asarray(samples, dtype=np.float64).ravel())
    size = len(ordered)
    n = independent or size
    value = float(np.quantile(ordered, q, method="higher"))
    tail = (1 - CONFIDENCE) / 2
    # P(X_(r) <= true quantile) = P(Binomial(n, q) >= r): the ranks that leave `tail` on each side
    low_rank = int(binom.ppf(tail, n, q))
    high_rank = int(binom.ppf(1 - tail, n, q)) + 1
    if low_rank < 1 or high_rank > n:
        return value, size, None
    low = ordered[max(0, int(np.floor(low_rank / n * size)) - 1)]
    high = ordered[min(size - 1, int(np.ceil(high_rank / n * size)) - 1)]
    return value, size, (float(low), float(high))


def mean(samples: np.ndarray) -> Estimate:
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
