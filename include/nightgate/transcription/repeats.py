"""The time of a fixed set of calls from repeats of them, of which the last ones may have been broken off."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Self

from nightgate.measure.estimates import CONFIDENCE, Estimate

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]
    Times = npt.NDArray[np.float64] | npt.NDArray[np.int64]


@dataclass(frozen=True)
class Repeated:
    """``times`` of each call in each repeat: any unit, (repeats, calls); 0 where it was not made.

    The time of the set is the sum of the mean times of its calls. Two things make it uncertain, and each is estimated: what
    hits single calls, from the relative deviations of all calls from their means, pooled; and what hits a whole repeat,
    such as the process it ran in or the state of the host, from the levels of the repeats. The second holds the first as
    well, but comes from few repeats and may be too small by luck, so the wider of the two counts. Student's t is of the
    degrees of freedom of the first.
    """

    times: Times

    @classmethod
    def of(cls, repeats: Sequence[Times], calls: int) -> Self:
        """Of each of ``repeats`` the times in the order of the calls, over and over, as far as it came."""
        import numpy as np

        rows = [one[start : start + calls] for one in repeats for start in range(0, len(one), calls)]
        times = np.zeros((len(rows), calls), np.result_type(*repeats) if repeats else np.float64)
        for row, given in zip(times, rows, strict=True):
            row[: len(given)] = given
        return cls(times[times.any(axis=1)])

    @property
    def whole(self) -> bool:
        """Whether every call was made at least once, so that there is a total."""
        return bool(self._counts.all())

    @cached_property
    def total(self) -> float:
        """The time of all calls once."""
        return float(self.means.sum())

    @cached_property
    def means(self) -> Floats:
        """Of each call, (calls,); 0 where it was never made."""
        import numpy as np

        means: Floats = self.times.sum(axis=0) / np.maximum(self._counts, 1)
        return means

    @cached_property
    def levels(self) -> Floats:
        """How slow each repeat was beside the others, 1 for as fast as their mean, from the calls that were made more than
        once: (repeats,)."""
        import numpy as np

        told = self._made & (self._counts > 1)
        if not told.any():
            return np.ones(len(self.times))
        levels: Floats = (self.times * told).sum(axis=1) / (self.means * told).sum(axis=1)
        return levels

    @cached_property
    def half_width(self) -> float | None:
        """Of the 95 % interval of `total`, over `total`; None as long as some call was not made, or none was repeated."""
        import numpy as np
        from scipy.stats import t

        free = int((self._counts - 1).sum())
        if not self.whole or len(self.times) < 2 or free < 1:
            return None
        deviations = np.where(self._made, self.times / self.means - 1, 0.0)
        of_calls = (deviations**2).sum() / free * (self.means**2 / self._counts).sum() / self.total**2
        shares = (self._made * self.means / self._counts).sum(axis=1) / self.total  # of each repeat in the total
        of_repeats = self.levels.var(ddof=1) * (shares**2).sum()
        return float(t.ppf(0.5 + CONFIDENCE / 2, free) * np.sqrt(max(of_calls, of_repeats)))

    def over(self, unit: float) -> Estimate:
        """The total over ``unit``, from how many repeats it is, and its 95 % interval."""
        value, half = self.total / unit, self.half_width
        return value, len(self.times), None if half is None else (value * (1 - half), value * (1 + half))

    @cached_property
    def _made(self) -> npt.NDArray[np.bool_]:
        made: npt.NDArray[np.bool_] = self.times > 0
        return made

    @cached_property
    def _counts(self) -> npt.NDArray[np.int64]:
        counts: npt.NDArray[np.int64] = self._made.sum(axis=0)
        return counts
