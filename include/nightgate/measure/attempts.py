"""A record that is filled step by step, of which any may fail."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Self

from nightgate.errors import NightgateError
from nightgate.record import Record

log = logging.getLogger(__name__)


class Attempts:
    """What is gathered of one variant. When one step fails, its record says so and no other step is made; the other
    variants are measured all the same."""

    def __init__(self, record: Record) -> None:
        self.record = record

    @property
    def variant(self) -> str:
        return self.record.variant

    def attempt(self, step: Callable[[Self], None]) -> None:
        if self.record.status != "measured":
            return
        try:
            step(self)
        except NightgateError as error:
            self.fail(str(error))
        except Exception as error:  # a fault of ours or of a library, and no reason to lose the others
            log.exception("%s failed", self.variant)
            self.fail(f"{type(error).__name__}: {error}")

    def fail(self, reason: str) -> None:
        log.error("%s: %s", self.variant, reason)
        self.record.status, self.record.reason = "failed", reason
