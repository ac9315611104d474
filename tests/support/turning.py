"""Work in turns in this process, where nobody else has one."""

from __future__ import annotations

from collections.abc import Generator


def alone(work):
    """What ``work`` returns, a generator or already an answer; it may end as soon as it says that it needs no more turns."""
    if not isinstance(work, Generator):
        return work
    enough = next(work)
    while True:
        try:
            enough = work.send(enough)
        except StopIteration as done:
            return done.value
