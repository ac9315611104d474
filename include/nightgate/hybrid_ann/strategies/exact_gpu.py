"""Every row compared, on a GPU through torch or cupy: what an index is measured against there, and needs no faiss."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from nightgate.errors import NotMeasured
from nightgate.vector_search.session import Facts, Setting
from nightgate.vector_search.strategy import Index, Strategy
from nightgate.vectors import arrays
from nightgate.vectors.exact import ExactSearch
from nightgate.versions import installed

if TYPE_CHECKING:
    import numpy as np


class ExactOnGpu(Strategy):
    """The one setting is ``rows``, how many are compared: all. A CPU would take longer for it than for everything else
    together."""

    name, variant, label = "exact_gpu", "exact", "Every row compared on the GPU"
    devices = ("gpu",)
    requires = ("numpy",)
    build_seconds_per_number = 0.0
    index_bytes_per_number = 0.0

    @classmethod
    def indexes(cls) -> tuple[Index, ...]:
        return ()

    @classmethod
    def see_device(cls) -> Facts:
        """``name`` of the device, and ``arrays``, the library that computes there.

        Raises:
            Unavailable: there is neither torch nor cupy, or neither sees a device.
        """
        return dict(arrays.on("gpu").facts())

    def __init__(self, folders: Sequence[Path], base: np.ndarray, metric: str) -> None:
        self._device = arrays.on("gpu")
        self._search = ExactSearch(base, metric, arrays=self._device)
        if not self._search.on_device:
            raise NotMeasured(
                f"the base of {base.nbytes / 2**30:.1f} GiB does not fit into the "
                f"{self._device.free_bytes() / 2**30:.1f} GiB that the device has left, with 4 GiB to work in",
                "measure fewer rows",
            )
        self.settings: Sequence[Setting] = ({"rows": len(base)},)
        self.gpu: Facts = {**self._device.facts(), "base": f"{base.nbytes} bytes"}

    def tune(self, setting: Setting) -> None:
        """All rows are compared in any case."""

    def search(self, query: np.ndarray, k: int) -> np.ndarray:
        answer: np.ndarray = self._search.nearest(query[None], k).ids[0]
        return answer

    def search_many(self, queries: np.ndarray, k: int, threads: int) -> list[np.ndarray]:
        return list(self._search.nearest(queries, k).ids)

    def versions(self) -> dict[str, str]:
        return super().versions() | installed(self._device.name)

    def facts(self) -> Facts:
        return {"gpu": self.gpu}
