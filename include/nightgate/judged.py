"""The verdicts on the records of a plan, by what is known of their series."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from nightgate import registry
from nightgate.judge import judge, state_intervals, wanted
from nightgate.judge.past import Past
from nightgate.objectives import Limit, not_judged
from nightgate.planning import Plan
from nightgate.record import Objective, Record
from nightgate.results.past import pasts_of
from nightgate.results.store import Store

ONE_MORE = "a confirming run"
"""Under this `Facts.not_measured` says why a measurement could not be made once more."""


def pasts(plan: Plan, records: Sequence[Record], store: Store | None) -> list[Past]:
    """What is known of the series of each record, from the runs before this one."""
    known = pasts_of(records, plan.scale, run_id=plan.run_id, standing=plan.standing, store=store)
    return [known.get((record.benchmark, record.variant, record.device), Past()) for record in records]


def judged(plan: Plan, records: list[Record], store: Store | None) -> list[Record]:
    """The same records, with their verdicts, and with intervals that also hold what differs between runs."""
    measured = {
        (r.benchmark, r.device)
        for r in records
        if r.status == "measured" and (r.gated or r.device == "cpu" or plan.require_gpu)  # see `steps.measure`
    }
    for record, past in zip(records, pasts(plan, records, store), strict=True):
        expected = (record.benchmark, record.device) in measured
        limits = limits_of(plan, record)
        found = judge(record, limits, gated=record.gated, expected=expected, past=past)
        record.objectives = [_confirmed(plan, record, objective, limits, past) for objective in found]
        state_intervals(record, registry.spec_of, past)
        if record.gated:
            record.facts.not_judged = not_judged(limits, record.variant, record.device)
    return records


def limits_of(plan: Plan, record: Record) -> Mapping[str, Mapping[str, Limit]]:
    """The objectives of the plan that are about this record: metric → device or variant → limit."""
    return {} if _never_there(plan, record) else plan.objectives.get(record.benchmark, {})


def _confirmed(
    plan: Plan, record: Record, objective: Objective, limits: Mapping[str, Mapping[str, Limit]], past: Past
) -> Objective:
    """Where a plan confirms, an objective stays undecided only after all that may be measured in one night.

    A confirming run that failed, or was ended, leaves it invalid: the run is not to be taken for one that merely did not
    tell.
    """
    if objective.verdict != "inconclusive" or not plan.confirm or objective.metric not in wanted(record, limits, past):
        return objective
    why = record.facts.not_measured.get(ONE_MORE, "that run was ended, or never began")
    said = f"{objective.reason}; it was to be measured once more: {why}" if objective.reason else why
    return objective.model_copy(update={"verdict": "invalid", "reason": said})


def _never_there(plan: Plan, record: Record) -> bool:
    """Whether it failed, or was ended, before anybody could find out that this host has no such device.

    Then there is no verdict about the device; the run is invalid all the same, see `judge.night`.
    """
    without = record.host is not None and record.host.gpu is None and record.host.gpu_fault is None
    return record.status == "failed" and record.device == "gpu" and without and not plan.require_gpu
