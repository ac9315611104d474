"""How far a step is: what it said last, how long it has taken, and how long it will take.

Whoever follows a measurement is told between two things that are timed, and never beside them.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass

from nightgate.measure.glancing import looking

EVERY = 10.0
"""Seconds between two times that it is told."""

_LONGEST = 200  # characters of what was said
log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Progress:
    """``stage`` is the last line that the step said, or empty; ``seconds`` since it began; ``expected``: what it takes in all."""

    stage: str
    seconds: float
    expected: float | None

    @property
    def left(self) -> float | None:
        """Seconds; 0 when it takes longer than expected, None where nothing is known."""
        return None if self.expected is None else max(self.expected - self.seconds, 0.0)


@contextmanager
def followed(
    expected: float | None, tell: Callable[[Progress], None], say: Callable[[Progress], str], *, timed: bool
) -> Iterator[None]:
    """Meanwhile `tell` is called now and then with how far the block is, and once at its beginning; where nothing was said for
    as long, the log has what ``say`` makes of it.

    Args:
        expected: seconds that the block will take; None where nobody knows.
        timed: something in the block is timed: ``tell`` is called in this thread, when `glancing.glance` is, and not by a clock.
    """
    step = _Step(expected, tell, say)
    package = logging.getLogger(__name__.partition(".")[0])
    package.addHandler(step)
    try:
        step.tell()
        with looking(step.breathe) if timed else _by_the_clock(step.tell):
            yield
    finally:
        package.removeHandler(step)


class _Step(logging.Handler):
    """Hears what is said, and passes it on."""

    def __init__(
        self, expected: float | None, tell: Callable[[Progress], None], say: Callable[[Progress], str]
    ) -> None:
        super().__init__(logging.INFO)
        self._expected, self._tell, self._say = expected, tell, say
        self._began = self._heard = self._told = time.monotonic()
        self._stage = ""

    def emit(self, record: logging.LogRecord) -> None:
        if record.name != __name__:
            self._stage, self._heard = record.getMessage().partition("\n")[0][:_LONGEST], time.monotonic()

    def breathe(self) -> None:
        """Tell, if that is long enough ago; else this costs nothing."""
        if time.monotonic() >= self._told + EVERY:
            self.tell()

    def tell(self) -> None:
        now = self._told = time.monotonic()
        progress = Progress(self._stage, now - self._began, self._expected)
        if now >= self._heard + EVERY:
            log.info("%s", self._say(progress))
            self._heard = now
        self._tell(progress)


@contextmanager
def _by_the_clock(tell: Callable[[], None]) -> Iterator[None]:
    over = threading.Event()

    def run() -> None:
        while not over.wait(EVERY):
            tell()

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
