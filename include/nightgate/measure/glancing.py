"""Between two things that are timed the host is looked at, by whoever watches it, and whoever follows the step is told how far
it is; see `nightgate.measure.host` and `nightgate.progress`.

Apart from these, since `child` knows it: what a child imports, it pays for each time it starts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar

_looks: ContextVar[tuple[Callable[[], None], ...]] = ContextVar("looks", default=())


@contextmanager
def looking(look: Callable[[], None]) -> Iterator[None]:
    """Meanwhile `glance` calls ``look`` as well, in this thread."""
    token = _looks.set((*_looks.get(), look))
    try:
        yield
    finally:
        _looks.reset(token)


def glance() -> None:
    """Look at the host while all that is timed rests: 0.2 s, at most once in five and at most a twentieth of the time; else
    it costs nothing. While nobody watches the host it does nothing."""
    for look in _looks.get():
        look()
