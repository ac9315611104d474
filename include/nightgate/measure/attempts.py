"""A record that is filled step by step, of which any may fail."""

from __future__ import annotations

import logging
from collections.abc import Callable
from typing import Self

from nightgate.errors import NightgateError
from nightgate.record import Record

log = logging.getLogger(__name__)


class Attempts:
    """What is gathered of one variant. When one step fails, its record says so and no other step is made."""

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

    def fail(self, reason: str) -> None:
        log.error("%s: %s", self.variant, reason)
        self.record.status, self.record.reason = "failed", reason
