"""Whoever waits for a step sees how far it is: in its log, and in the store for the board and the terminal."""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial

from nightgate.errors import NightgateError
from nightgate.ledger import Ledger
from nightgate.measure import machine
from nightgate.progress import Progress, followed
from nightgate.record import Device
from nightgate.results import under_way
from nightgate.results.store import Store

log = logging.getLogger(__name__)


@contextmanager
def followed_step(ledger: Ledger, benchmark: str, device: Device, step: str) -> Iterator[None]:
    """Meanwhile it is told how far the step is. A store that does not answer is not asked again, and hinders nothing."""
    plan = ledger.plan
    steps = plan.estimate_seconds.get(benchmark, {}).get(device)
    expected = getattr(steps, step, None)
    told = _Told(ledger, benchmark, device, step)

    def said(progress: Progress) -> str:
        return f"{benchmark} on {device}, {step}: {under_way.left_text(progress)}"

    try:
        with followed(expected, told.tell, said, timed=step != "prepare"):
            yield
    finally:
        told.over()


class _Told:
    """What the store knows of a step."""

    def __init__(self, ledger: Ledger, benchmark: str, device: Device, step: str) -> None:
        plan = ledger.plan
        self._store: Store | None = ledger.store
        self._of = (plan.run_id, benchmark, device)
        night = [
            (name, on, of.prepare, of.measure)
            for name, devices in plan.estimate_seconds.items()
            for on, of in devices.items()
            if (name, on) in plan.work and on not in plan.unserved
        ]
        run = (plan.run_id, plan.dag_id, plan.suite, plan.scale, plan.standing, json.dumps(plan.overrides))
        self._say = partial(
            under_way.say, run=run, benchmark=benchmark, device=device, step=step, host=machine.name(), night=night
        )

    def tell(self, progress: Progress) -> None:
        if self._store is None:
            return
        try:
            self._say(self._store, progress=progress)
        except NightgateError as error:
            log.warning("nobody sees how far this step is: %s", error)
            self._store = None

    def over(self) -> None:
        if self._store is not None:
            with suppress(NightgateError):  # the row is known to be old by its age
                under_way.over(self._store, *self._of)
