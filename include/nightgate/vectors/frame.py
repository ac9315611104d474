"""The frame in which a user's vectors are measured: shifted and scaled to where float32, and types below it, work well.

Under "l2" a shift that all share, and under "l2" and "ip" a factor, are units and no properties of the data: they move
no neighbour. But squares overflow, differences drown beside an offset, and a half-precision number ends at 65,504. So
where the numbers are out of the common range they are brought into it: by a power of two, which changes no digit, and by
subtracting a centre. What is rounded by that is kept beside it, see `dataset.Dataset.exact`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from nightgate.vectors.metric import unit

if TYPE_CHECKING:
    import numpy as np

    from nightgate.vectors.usable import Usable

_COMMON = (2.0**-10, 2.0**14)  # where the largest number may lie without being scaled; half precision goes to 2^16
_TARGET = 10  # it is brought below 2^10 otherwise, which leaves 24 bits of half precision below it
_FAR = 8.0  # an offset that exceeds the vectors' distance from it this many times is taken away


@dataclass(frozen=True)
class Frame:
    """What is done to each vector x: ``(x - centre) · 2^exponent``, or with ``unit`` that it is brought to unit length.

    ``centre``: float64 (dim,), or None where nothing is subtracted.
    """

    centre: np.ndarray | None = None
    exponent: int = 0
    unit: bool = False

    def apply(self, vectors: np.ndarray) -> np.ndarray:
        """``vectors`` (n, dim) in this frame, computed in float64 and rounded to float32."""
        import numpy as np

        if self.exact(vectors.dtype):
            return vectors.astype(np.float32)
        moved = vectors.astype(np.float64)
        if self.unit:
            answer: np.ndarray = unit(moved).astype(np.float32)
            return answer
        return np.ldexp(moved if self.centre is None else moved - self.centre, self.exponent).astype(np.float32)

    def exact(self, dtype: np.dtype) -> bool:
        """Whether it leaves every value of ``dtype`` as it is."""
        import numpy as np

        return self.centre is None and not self.exponent and not self.unit and np.can_cast(dtype, np.float32)

    def facts(self) -> dict[str, Any]:
        """What a record says of it; empty where the vectors are measured as they are, but for their length."""
        import numpy as np

        said: dict[str, Any] = {"scaled_by_two_to_the": self.exponent} if self.exponent else {}
        return said if self.centre is None else said | {"shifted_by_length": float(np.linalg.norm(self.centre))}


def choose(parts: Sequence[Usable], metric: str) -> Frame:
    """The frame for the base, the first of ``parts``, and the queries, if they are in a file of their own.

    The centre is the median of the base in each dimension, which outliers do not move.
    """
    import numpy as np

    if metric == "cosine":
        return Frame(unit=True)
    lowest, highest = np.min([part.lowest for part in parts], axis=0), np.max([part.highest for part in parts], axis=0)
    sample, centre = parts[0].sample, None
    if metric == "l2":
        middle = np.median(sample, axis=0)
        reach = np.median(np.linalg.norm(sample - middle, axis=1))
        if np.linalg.norm(middle) > _FAR * reach:
            centre, lowest, highest = middle, lowest - middle, highest - middle
    largest = float(max(np.abs(highest).max(), np.abs(lowest).max()))
    common = largest == 0 or _COMMON[0] <= largest <= _COMMON[1]
    return Frame(centre, 0 if common else _TARGET - math.frexp(largest)[1])
