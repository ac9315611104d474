"""How exactly repeated passes tell a figure, and so whether it is worth repeating them once more."""

from __future__ import annotations

import math
from statistics import NormalDist
from typing import TYPE_CHECKING

from nightgate.measure.estimates import CONFIDENCE

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

QUANTILES = (0.50, 0.95)
FEWEST = 5
"""Passes: the scatter of fewer is a guess."""


def half_width(passes: npt.NDArray[np.int64]) -> float | None:
    """Half of the 95 % interval of P50 and P95, relative to them; of the wider one. None of fewer than five passes.

    Every pass asks the same, so only what changes from one to the next is in it: what more passes would average out. How
    far the inputs themselves differ is not. The logarithms of the passes' quantiles have Student's t interval.

    Args:
        passes: int64 ns, (passes, inputs), all > 0.
    """
    import numpy as np

    count = len(passes)
    if count < FEWEST or not passes.shape[1]:
        return None
    logs = np.log(np.quantile(passes, QUANTILES, axis=1, method="higher"))
    scatter = float(logs.std(axis=1, ddof=1).max())
    return math.expm1(students_t(0.5 + CONFIDENCE / 2, count - 1) * scatter / math.sqrt(count))


def students_t(p: float, free: int) -> float:
    """The ``p``-quantile of Student's t with ``free`` degrees of freedom, four or more, to half a percent (Abramowitz & Stegun,
    *Handbook of Mathematical Functions*, 1964, 26.7.5): scipy would take a child longer to load than all else."""
    z = NormalDist().inv_cdf(p)
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
    )
    return z + sum(term / float(free) ** power for power, term in enumerate(terms, 1))
