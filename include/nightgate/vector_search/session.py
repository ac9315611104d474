"""What is timed, seen from the clock: an index or a server's session, opened and ready to be asked."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from pydantic import JsonValue

from nightgate.facts import Setting

if TYPE_CHECKING:
    import numpy as np

    from nightgate.vectors.dataset import Dataset

__all__ = ["Encoded", "Facts", "Ids", "Proof", "Session", "Setting", "Subject"]

Facts = dict[str, JsonValue]
"""What is told of a thing in a record's detail, by name."""


class Series(Protocol):
    """A list, or an array."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Any]: ...

    def __getitem__(self, key: Any, /) -> Any: ...


Encoded = Series
"""Queries as they are asked, in their order."""

Ids = Series
"""The rows of the base that answer a query, best first, at most k; a list or an int64 array."""


@dataclass(frozen=True)
class Proof:
    """What a session says of itself after it was timed: the ``versions`` of the libraries and servers that answered, and
    ``facts`` that stand in the record's detail (a plan, a device)."""

    versions: Mapping[str, str]
    facts: Facts = field(default_factory=dict)


class Session(Protocol):
    """``settings`` stand from the cheapest to the dearest, ``search`` is the call that is timed: one encoded query in, its
    `Ids` out."""

    @property
    def settings(self) -> Sequence[Setting]: ...

    @property
    def search(self) -> Callable[[Any], Ids]: ...

    def check(self) -> None:
        """NotMeasured: what is to be searched is not what was prepared."""

    def tune(self, setting: Setting, query: Any) -> None:
        """Put ``setting`` in force; ``query``, an encoded one, may serve to prove that it is."""

    def warm(self, base: np.ndarray) -> Facts | None:
        """Bring what the queries will read into memory; what that took, or None where nothing was to be done."""

    def prove(self, query: Any) -> Proof:
        """Called after the timing. NotMeasured: it was not the search that it should have been."""


class Subject(Protocol):
    """What is measured; picklable, for it is opened in a process of its own."""

    def encode(self, queries: np.ndarray) -> Encoded:
        """``queries`` (n, dim) float32, each as the timed call takes it: converting is not part of a query's time."""
        ...

    def open(self, data: Dataset, k: int) -> AbstractContextManager[Session]:
        """Ready to be asked for the ``k`` nearest rows of ``data``."""
        ...
