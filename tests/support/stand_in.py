"""A benchmark that declares what a real one does, and does what a test says."""

from __future__ import annotations

from copy import copy

from pydantic import ConfigDict

from nightgate import registry
from nightgate.benchmark import Benchmark, Prepared


class Anything(Prepared):
    model_config = ConfigDict(extra="allow", frozen=True)


def stand_in(monkeypatch, doings):
    """Every benchmark does as ``doings`` says: functions ``prepare(settings, device, cache)``,
    ``measure(settings, device, prepared, samples)`` and, if it has them, ``tidy(name, settings)`` and ``fresh(step, number)``,
    which is told how fresh each step shall build."""

    def told(*what):
        getattr(doings, "fresh", lambda *_: None)(*what)

    real = registry.named

    def named(name):
        known = real(name)

        class StandIn(type(known)):
            prepared = Anything

            def prepare(self, settings, context):
                told("prepare", context.fresh)
                return Anything(**doings.prepare(settings, context.device, context.cache))

            def measure(self, settings, prepared, context):
                told("measure", context.fresh)
                return doings.measure(settings, context.device, prepared.model_dump(), context.samples)

            def tidy(self, settings, context):
                told("tidy", context.fresh)
                if hasattr(doings, "tidy"):
                    doings.tidy(name, settings)

        assert issubclass(StandIn, Benchmark)
        made = copy(known)
        made.__class__ = StandIn
        return made

    monkeypatch.setattr(registry, "named", named)
