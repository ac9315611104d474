"""What timed calls are made with."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol, TypeVar

Item_co = TypeVar("Item_co", covariant=True)


class Inputs(Protocol[Item_co]):
    """A list, or an array along its first axis."""

    def __len__(self) -> int: ...

    def __iter__(self) -> Iterator[Item_co]: ...

    def __getitem__(self, place: int, /) -> Item_co: ...
