"""What the steps of one run write of its measurements, and what a later step reads, on whichever host each of them works.

The store is where the truth is. The files in the run's folder are a rendering of it on the host at hand; without a store,
or while it does not answer, they are all there is.
"""

from __future__ import annotations

import logging
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path

from nightgate.environments import lock
from nightgate.errors import ArtifactError, InputError, ServiceUnavailable
from nightgate.measure import machine
from nightgate.paths import run_dir
from nightgate.planning import Plan
from nightgate.record import Attempt, Device, Record
from nightgate.results import files, restore
from nightgate.results.store import Store

log = logging.getLogger(__name__)

Attempts = Mapping[tuple[str, Device], Attempt | None]
"""Benchmark and device → the last try of the measurement; None where it was never begun."""


def new_attempt(number: int = 1) -> Attempt:
    """A try that begins here and now."""
    return Attempt(id=uuid.uuid4().hex, machine=machine.name(), number=number)


class Ledger:
    """The records of one run. Every method raises `ServiceUnavailable` while the store does not answer."""

    def __init__(self, plan: Plan, store_url: str | None) -> None:
        self.plan = plan
        self.store = Store(store_url) if store_url else None

    def write(
        self, benchmark: str, device: Device, records: Sequence[Record], *, raw: Sequence[Path] = (), anew: bool = False
    ) -> None:
        """Put the records of one measurement into the files and the store, and there its raw samples as well.

        Args:
            raw: the samples that were made here and now; what else lies in the folder may be of an earlier try.
            anew: they are all there is of a new try.
        """
        files.write_records(self.plan.run_id, benchmark, device, records)
        if not self.store:
            return
        plan = self.plan
        self.store.save_records(
            plan.run_id,
            plan.dag_id,
            plan.scale,
            records,
            suite=plan.suite,
            standing=plan.standing,
            overrides=plan.overrides,
            raw=raw,
            anew=anew,
            environment=lock.here() if anew else None,
        )

    def read(self, benchmark: str, device: Device, attempt: Attempt | None = None) -> list[Record]:
        """The records of one measurement as they stand now, sorted by variant.

        Args:
            attempt: the last try of the measurement, whose records they must be; None: those of any.

        Raises:
            ServiceUnavailable: there are only records of another try; they are not lost, and may yet arrive.
        """
        found = self._all(benchmark, device)
        ours = [record for record in found if attempt is None or record.attempt == attempt]
        if attempt and not ours:
            others = {record.attempt.number: record.attempt.machine for record in found if record.attempt}
            there = ", ".join(f"try {number}, made on {machine}" for number, machine in sorted(others.items()))
            raise ServiceUnavailable(
                f"what {attempt.machine} measured of {benchmark} on {device} in try {attempt.number} is neither in the store nor "
                f"in {run_dir(self.plan.run_id)}" + (f"; here is {there}" if there else ""),
                "none, if the results database was away; else clear the task measure in Airflow",
            )
        return _newest(ours)

    def left(self, benchmark: str, device: Device, attempts: Attempts | None) -> list[Record]:
        """What is left of a measurement when its run is closed, sorted by variant: of the last try, or why there was none.

        Args:
            attempts: the last tries; None: whatever is there.
        """
        found = self._all(benchmark, device)
        if attempts is not None:
            last = attempts.get((benchmark, device))
            found = [one for one in found if one.attempt == last or (one.attempt is None and one.status != "measured")]
        return _newest(found)

    def fetch(self) -> None:
        """Bring the raw samples of all hosts into the run's folder on this one, as far as they can be had."""
        try:
            if self.store and (names := restore.fetch(self.store, self.plan.run_id)):
                log.info("from the results database: %s", ", ".join(names))
        except ArtifactError as error:
            log.warning("%s", error)

    def _all(self, benchmark: str, device: Device) -> list[Record]:
        """What the store and this host's files have of one measurement."""
        stored = self.store.records(self.plan.run_id, benchmark, device) if self.store else []
        try:
            written = files.read_records(self.plan.run_id)
        except InputError:  # there is no folder of this run here
            written = []
        except ArtifactError as error:
            if not self.store:
                raise
            log.warning("%s; the store has what counts", error)
            written = []
        return [*stored, *(record for record in written if (record.benchmark, record.device) == (benchmark, device))]


def _newest(records: Sequence[Record]) -> list[Record]:
    """The newest of each variant, sorted by variant."""
    found: dict[str, Record] = {}
    for record in records:
        known = found.get(record.variant)
        if known is None or _newer(record, known):
            found[record.variant] = record
    return [found[variant] for variant in sorted(found)]


def _newer(record: Record, known: Record) -> bool:
    """Whether a record is newer than one that stands before it: what is in the files, and did not come to the store."""
    if record.attempt == known.attempt:
        return len(record.looks) > len(known.looks)
    return (record.finished_at or "") > (known.finished_at or "")
