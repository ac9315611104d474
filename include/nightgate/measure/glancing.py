"""Between two things that are timed the host is looked at, by whoever watches it; see `nightgate.measure.host`.

Apart from the watch itself, since `child` knows it: what a child imports, it pays for each time it starts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_look: ContextVar[Callable[[], None] | None] = ContextVar("look", default=None)


@contextmanager
def looking(look: Callable[[], None]) -> Iterator[None]:
    """Meanwhile `glance` calls ``look`` in this thread."""
    token = _look.set(look)
    try:
        yield
    finally:
        _look.reset(token)


def glance() -> None:
    """Look at the host while all that is timed rests: 0.2 s, at most once in five and at most a twentieth of the time; else
    it costs nothing. While nobody watches the host it does nothing."""
    if look := _look.get():
        look()
