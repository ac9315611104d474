"""An index in this process, as its author writes it: how it is built, opened, tuned and searched.

A `Strategy` that an entry point of the group ``nightgate.strategies`` names is a variant of the benchmark hybrid_ann. Its
module must import light: no library that costs seconds, which are imported inside the methods.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Protocol, Self, runtime_checkable

from nightgate.record import Device
from nightgate.vector_search.session import Facts, Ids, Setting
from nightgate.versions import installed

if TYPE_CHECKING:
    import numpy as np

PARAMETERS = ("m", "ef_construction", "rows_per_list")
"""What a `build` may be given besides its threads: a graph's links and effort, and how many rows a list holds."""


@dataclass(frozen=True)
class Index:
    """What one strategy or several read: built once for a data set, and kept.

    ``build`` is called with a folder, the base (rows, dim) float32 and its metric, ``threads``, and those of `PARAMETERS`
    that ``parameters`` names, in a process of its own; it returns what is to be told of the index. ``requires`` are the
    modules whose versions decide the bytes.

    With ``train`` it is built in two steps and each is kept, so that a build that was killed in the second resumes there:
    the parameters go to ``train`` then, and ``build`` is given its folder as ``trained``.

    ``seeded``: the first of its steps also takes a ``seed``, and makes another index of the same vectors with another. One is
    given where a verdict is to be confirmed on an index that is built anew.
    """

    name: str
    build: Callable[..., Facts]
    requires: tuple[str, ...]
    parameters: tuple[str, ...] = ()
    train: Callable[..., Facts] | None = None
    seeded: bool = False


class Strategy(ABC):
    """One way to answer a query; an instance is an open index, to be asked on one thread.

    ``name`` is that of its entry point and the variant it is measured as, unless it stands for ``variant`` on its
    ``devices``; ``label`` is what people read. ``requires`` are the modules that answer: where one is missing the variant is skipped, and their
    versions go into the record. ``settings`` stand from the cheapest to the dearest. ``seeded``: see `Index`.

    The two figures estimate from above, per number of the base, what the index takes on two cores: seconds to build it,
    and bytes of disk and memory.
    """

    name: ClassVar[str]
    label: ClassVar[str]
    variant: ClassVar[str] = ""
    devices: ClassVar[tuple[Device, ...]] = ("cpu",)
    requires: ClassVar[tuple[str, ...]]
    parameters: ClassVar[tuple[str, ...]] = ()
    seeded: ClassVar[bool] = False
    build_seconds_per_number: ClassVar[float] = 1.5e-6
    index_bytes_per_number: ClassVar[float] = 9.6

    settings: Sequence[Setting]

    @classmethod
    def indexes(cls) -> tuple[Index, ...]:
        """What it reads; by default one index of its own, which `build` makes."""
        return (Index(cls.name, cls.build, cls.requires, cls.parameters, seeded=cls.seeded),)

    @classmethod
    def see_device(cls) -> Facts:
        """What is known of the GPU that it runs on; asked in a child, since CUDA libraries are loaded.

        Raises:
            Unavailable: it cannot run on one here.
        """
        return {}

    @classmethod
    def build(cls, folder: Path, base: np.ndarray, metric: str, *args: Any, **parameters: Any) -> Facts:
        """Write the index of ``base`` (rows, dim) float32 into ``folder``; see `Index`."""
        raise NotImplementedError(f"{cls.__qualname__} builds no index of its own")

    @classmethod
    def open(cls, folders: Sequence[Path], base: np.ndarray, metric: str) -> Self:
        """Open what lies in ``folders``, one for each of `indexes`; by default the class is called with just these.

        Under "cosine" every vector has unit length.

        Raises:
            Unavailable: this host cannot run it after all.
        """
        return cls(folders, base, metric)

    @abstractmethod
    def __init__(self, folders: Sequence[Path], base: np.ndarray, metric: str) -> None: ...

    @abstractmethod
    def tune(self, setting: Setting) -> None:
        """Put one of ``settings`` in force."""

    @abstractmethod
    def search(self, query: np.ndarray, k: int) -> Ids:
        """The ids of the ``k`` nearest to one float32 query (dim,), best first; fewer where no more were found."""

    def versions(self) -> dict[str, str]:
        """Of the libraries that answer."""
        return installed(*self.requires)

    def facts(self) -> Facts:
        """What else is to be told of it, such as the device it runs on."""
        return {}


@runtime_checkable
class SearchesMany(Protocol):
    """A strategy that also answers batches, whose throughput is measured then."""

    def search_many(self, queries: np.ndarray, k: int, threads: int) -> Sequence[Ids]:
        """The ids of each of ``queries`` (n, dim), on ``threads`` threads."""
        ...


@runtime_checkable
class Staged(Protocol):
    """A strategy whose search is ``rerank(query, scan(query, route(query), k), k)``; each stage is timed alone and told
    by the neighbours it keeps. ``list_of`` is the list that each row of the base is in, int (rows,)."""

    list_of: np.ndarray

    def route(self, query: np.ndarray) -> tuple[np.ndarray, Any]:
        """Which lists to scan, int (1, n), -1 in an empty place; and what the scan needs besides."""
        ...

    def scan(self, query: np.ndarray, routed: tuple[np.ndarray, Any], k: int) -> np.ndarray:
        """Candidate ids, int64, -1 where there is none."""
        ...

    def rerank(self, query: np.ndarray, candidates: np.ndarray, k: int) -> np.ndarray: ...


def stages(strategy: type[Strategy]) -> bool:
    """Whether it is `Staged`."""
    return all(hasattr(strategy, stage) for stage in ("route", "scan", "rerank"))


def missing(modules: Sequence[str]) -> str | None:
    """The first of ``modules`` that is not installed; nothing is imported."""
    return next((module for module in modules if find_spec(module) is None), None)
