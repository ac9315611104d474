"""Every row compared, on a GPU through torch or cupy: what an index is measured against there, and needs no faiss."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from nightgate.errors import NotMeasured
from nightgate.hybrid_ann.strategies.interface import Setting
from nightgate.vectors import arrays
from nightgate.vectors.exact import ExactSearch

if TYPE_CHECKING:
    import numpy as np


def see_device() -> dict[str, Any]:
    """``name`` of the device, and ``arrays``, the library that computes there.

    Raises:
        Unavailable: there is neither torch nor cupy, or neither sees a device.
    """
    return arrays.on("gpu").facts()


class Strategy:
    """The one setting is ``rows``, how many are compared: all. ``gpu`` tells which device they are on."""

    def __init__(self, base: np.ndarray, metric: str) -> None:
        device = arrays.on("gpu")
        self._search = ExactSearch(base, metric, arrays=device)
        if not self._search.on_device:
            raise NotMeasured(
                f"the base of {base.nbytes / 2**30:.1f} GiB does not fit into the {device.free_bytes() / 2**30:.1f} GiB "
                "that the device has left, with 4 GiB to work in", "measure fewer rows",
            )  # fmt: skip
        self.settings: tuple[Setting, ...] = ({"rows": len(base)},)
        self.gpu = device.facts() | {"base": f"{base.nbytes} bytes"}

    def tune(self, setting: Setting) -> None:
        """All rows are compared in any case."""

    def search(self, query: np.ndarray, k: int) -> np.ndarray:
        return self._search.nearest(query[None], k).ids[0]

    def search_many(self, queries: np.ndarray, k: int, threads: int) -> list[np.ndarray]:
        return list(self._search.nearest(queries, k).ids)
