"""Nights of a series for tests of the store: records with a P95, a recall and what makes them points of one series."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from nightgate.facts import Noise
from nightgate.record import Host, Look, Metric, Objective, Record, Summary

HOST = Host(fingerprint="abc", cpu="a cpu", cores=2, memory_bytes=2**34)
START = datetime(2026, 3, 1, 2, tzinfo=UTC)


def at(night: int, minutes: float = 0) -> str:
    return (START + timedelta(days=night, minutes=minutes)).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def metric(value: float, unit: str = "seconds", **more) -> Metric:
    return Metric(value=value, unit=unit, n=3000, ci95=(value * 0.9, value * 1.2), **more)


def record(
    night: int,
    p95: float = 0.0012,
    variant: str = "hybrid",
    *,
    settings=None,
    verdict="pass",
    looks=(),
    disturbed=None,
    **more,
):
    """Of ``night`` after `START`, begun at its hour and done three minutes later."""
    made = Record(
        benchmark="hybrid_ann", variant=variant, device="cpu", status="measured", host=HOST, gated=True,
        settings={"variants": ["hybrid"], "rows": 50_000, "passes": 3, **(settings or {})},
        started_at=at(night), finished_at=at(night, 3), metrics={"latency_p95": metric(p95), "recall_at_100": metric(0.93, "ratio")},
    )  # fmt: skip
    made.facts.inputs = {"data": "d1"}
    made.facts.noise = Noise(disturbed=disturbed) if disturbed else None
    if verdict:
        made.objectives = [Objective(metric="latency_p95", op="<", limit=0.02, value=p95, verdict=verdict)]
    made.looks = [
        Look(started_at=at(night, 5 + n), metrics={"latency_p95": metric(p95)}) for n, p95 in enumerate(looks)
    ]
    return made.model_copy(update=more)


def summary(
    night: int, *records: Record, scheduled: bool = True, overrides=None, scale="smoke", name="night", state="pass"
):
    """The run of ``night``; a night unless it says otherwise."""
    kept = list(records) or [record(night)]
    return Summary(
        run_id=f"{name}-{night:03d}", dag_id="nightly_benchmarks", suite=kept[0].suite, scale=scale, state=state, host=HOST,
        scheduled=scheduled, overrides=overrides or {}, started_at=at(night, -1), finished_at=at(night, 9), results=kept,
    )  # fmt: skip
