"""Children that work in turns, so that what is compared shares its seconds: a host that slows down slows all of them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from nightgate.errors import NightgateError
from nightgate.measure.child import Child, ChildResult, Interpreter, Turns
from nightgate.measure.glancing import glance

Answer = TypeVar("Answer")


@dataclass(frozen=True)
class Ask(Generic[Answer]):
    """What one child is asked: ``function``, a generator that yields when its turn is over and returns its answer. It may
    yield True when it needs no more turns. ``interpreter``: another one that it is asked in."""

    function: Callable[[Any], Turns[Answer]]
    request: Any
    interpreter: Interpreter | None = None


def run_in_turns(
    asks: Sequence[Ask[Answer]],
    *,
    threads: int,
    device: str = "cpu",
    timeout: float | None = None,
    keep: Sequence[str] = (),
    between: Callable[[], None] = glance,
) -> list[ChildResult[Answer] | NightgateError]:
    """Ask each in a process of its own; just one of them works at any time.

    The first turn of each is whatever it does before its first ``yield``, such as loading. Then they take one turn after
    the other, every other round in the opposite order, until each has answered. One that fails does not end the others.
    From the round on before which all that still work have said that they need no more, each ``yield`` is True: so those
    that end then have had the same turns.

    Args:
        between: called in this process before each round, while all of them wait; by default the host is looked at.

    Returns:
        in the order of ``asks`` what `run_child` would return, or the error that it would raise.
    """
    found: dict[int, ChildResult[Answer] | NightgateError] = {}
    with ExitStack() as stack:
        children: dict[int, Child[Answer]] = {}
        for place, ask in enumerate(asks):
            try:
                child: Child[Answer] = Child(
                    ask.function,
                    ask.request,
                    threads=threads,
                    device=device,
                    timeout=timeout,
                    keep=keep,
                    interpreter=ask.interpreter,
                )
                children[place] = stack.enter_context(child)
            except NightgateError as error:
                found[place] = error
        for places in _rounds(len(asks)):
            waiting = [place for place in places if place not in found]
            if not waiting:
                break
            between()
            enough = all(children[place].content for place in waiting)
            for place in waiting:
                try:
                    if not children[place].turn(enough=enough):
                        found[place] = children[place].result()
                except NightgateError as error:
                    found[place] = error
    return [found[place] for place in range(len(asks))]


def _rounds(count: int) -> Iterator[Sequence[int]]:
    while True:
        yield range(count)
        yield range(count - 1, -1, -1)
