"""A record that is filled step by step, of which any may fail; and whose turn it is when several are."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from typing import Self, TypeVar

from nightgate.errors import NightgateError
from nightgate.record import Record

log = logging.getLogger(__name__)

Item = TypeVar("Item")


class Attempts:
    """What is gathered of one variant. When one step fails, its record says so and no other step is made; the other
    variants are measured all the same."""

    def __init__(self, record: Record) -> None:
        self.record = record

    @property
    def variant(self) -> str:
        return self.record.variant

    def attempt(self, step: Callable[[Self], None]) -> None:
        """Make a step that the numbers hang on: when it fails, the record has failed."""
        if self.record.status != "measured":
            return
        try:
            step(self)
        except NightgateError as error:
            self.fail(str(error))
        except Exception as error:  # a fault of ours or of a library, and no reason to lose the others
            log.exception("%s failed", self.variant)
            self.fail(f"{type(error).__name__}: {error}")

    def beside(self, what: str, step: Callable[[Self], None]) -> None:
        """Make a step that no number measured before hangs on: when it fails, the record says that ``what`` was not
        measured, and why, and keeps all else."""
        if self.record.status != "measured":
            return
        try:
            step(self)
        except NightgateError as error:
            self.miss(what, str(error))
        except Exception as error:  # whatever it is, it must not take the other numbers with it
            log.debug("%s", what, exc_info=True)
            reason = " ".join(str(error).split())
            self.miss(what, f"{type(error).__name__}: {reason}" if reason else type(error).__name__)

    def fail(self, reason: str) -> None:
        log.error("%s: %s", self.variant, reason)
        self.record.status, self.record.reason = "failed", reason

    def miss(self, what: str, reason: str) -> None:
        """Say that ``what`` was not measured."""
        log.warning("%s: %s was not measured: %s", self.variant, what, reason)
        self.record.facts.not_measured[what] = reason


def turns(items: Sequence[Item], processes: int) -> Iterator[tuple[int, Item]]:
    """Each item once for each process, in the opposite order every other time: a host that slows down meanwhile favours
    none of them."""
    for process in range(processes):
        for item in items if process % 2 == 0 else reversed(items):
            yield process, item
