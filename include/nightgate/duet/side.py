"""One side of a duet: a benchmark measured in this process's environment, giving way to the other side whenever it rests.

Request and answer are plain dictionaries: another version of this code may be at the other end. What they hold is therefore
a contract, and only grows.
"""

from __future__ import annotations

import contextvars
from collections.abc import Generator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from queue import SimpleQueue
from typing import Any

from nightgate import registry
from nightgate.artifacts import Cache
from nightgate.benchmark import Context
from nightgate.errors import NightgateError, NotMeasured
from nightgate.measure.glancing import looking
from nightgate.measure.machine import lent
from nightgate.record import Record


def prepared(request: dict[str, Any]) -> Generator[None, Any, dict[str, Any]]:
    """Build or find what the measurement needs, in this environment; what `measured` takes as ``prepared``."""
    known, settings, context = _asked(request)
    made = yield from _resting(lambda: known.prepare(settings, context))
    found: dict[str, Any] = made.model_dump(mode="json")
    return found


def measured(request: dict[str, Any]) -> Generator[None, Any, dict[str, Any]]:
    """Measure once. It yields whenever the benchmark rests: before each child process and each round of turns.

    Returns:
        ``metrics``: variant → metric → value; ``failed``: variant → why there is nothing of it; ``builds``: the ids of the
        indexes that answered, by variant.
    """
    known, settings, context = _asked(request)
    made = known.prepared.model_validate(request["prepared"])
    records: list[Record] = yield from _resting(lambda: known.measure(settings, made, context))
    good = [record for record in records if record.status == "measured"]
    return {
        "metrics": {one.variant: {name: metric.value for name, metric in one.metrics.items()} for one in good},
        "failed": {one.variant: one.reason or "no reason was given" for one in records if one.status != "measured"},
        "builds": {one.variant: dict(one.facts.builds) for one in good},
    }


def _asked(request: dict[str, Any]) -> tuple[Any, Any, Context]:
    known = registry.named(request["benchmark"])
    unknown = sorted(set(request["settings"]) - set(known.settings.model_fields))
    if unknown:
        raise NotMeasured(f"this version does not know the settings {', '.join(unknown)} of {known.name}")
    settings = known.settings.model_validate(request["settings"])
    settings = known.to_confirm(settings, tuple(request["metrics"]))
    looked = known.looked.model_validate(request["looked"])
    samples = Path(request["samples"])
    return (
        known,
        settings,
        Context(request["device"], Cache(Path(request["cache"])), looked, samples, request["services"], in_turns=True),
    )


def _resting(work: Any) -> Generator[None, Any, Any]:
    """Do ``work`` in a thread, and yield each time it looks at the host: all that is timed rests then, so the other side may
    have the host until this goes on."""
    rests: SimpleQueue[bool] = SimpleQueue()
    goes_on: SimpleQueue[None] = SimpleQueue()

    def rest() -> None:
        rests.put(True)
        goes_on.get()

    def worked() -> Any:
        try:
            with lent(), looking(rest):
                return work()
        finally:
            rests.put(False)

    # one thread for all of it: its children die with the thread that started them
    with ThreadPoolExecutor(1) as pool:
        future = pool.submit(contextvars.copy_context().run, worked)
        while rests.get():
            yield
            goes_on.put(None)
        try:
            return future.result()
        except NightgateError:
            raise
        except Exception as error:
            raise NotMeasured(f"{type(error).__name__}: {error}") from error
