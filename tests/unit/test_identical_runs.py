"""What is counted over identical runs: false differences, and loaded runs that nobody recognised."""

from __future__ import annotations

import os

import pytest

import aa_runs
import same_runs
from nightgate.facts import Noise
from nightgate.record import BY_HAND, Between, Host, Metric, Objective, Record, Summary
from nightgate.results import files

HOST = Host(fingerprint="f00", cpu="a CPU", cores=2, memory_bytes=8 * 2**30)


def run(p95, *, loaded=False, disturbed=None, number=0):
    """Its own interval is ±1 %, with what runs differ by ±10 %; they differ by 3 % (sd)."""
    metric = Metric(
        value=p95, unit="seconds", n=900, ci95=(0.9 * p95, 1.1 * p95), within95=(0.99 * p95, 1.01 * p95),
        between=Between(sd=0.03, runs=12, prior=False),
    )  # fmt: skip
    judged = Objective(metric="latency_p95", op="<", limit=9, value=p95, verdict="invalid" if disturbed else "pass")
    record = Record(
        benchmark="hybrid_ann", variant="hybrid", device="cpu", status="measured", settings={"rows": 2000},
        metrics={"latency_p95": metric}, objectives=[judged], gated=True,
    )  # fmt: skip
    record.facts.noise, record.facts.stopped = Noise(disturbed=disturbed), "precision"
    summary = Summary(
        run_id=f"measure-hybrid_ann-{number:02d}", dag_id=BY_HAND, scale="smoke", state=judged.verdict, host=HOST,
        started_at="2026-11-22T02:00:00.000Z", finished_at="2026-11-22T02:01:48.000Z", results=[record],
    )  # fmt: skip
    return aa_runs.Run(summary, loaded)


RUNS = [
    run(1.0),
    run(1.02),
    run(0.98),
    run(1.5),
    run(1.01, loaded=True),
    run(1.4, loaded=True),
    run(2.0, loaded=True, disturbed="another program kept a core busy"),
]


def test_false_differences_and_unrecognised_runs_are_counted():
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in aa_runs._report(RUNS).splitlines()]
    told = {row[0]: row[1] for row in rows if len(row) == 3}
    assert (told["breaches"], told["states"]) == ("0 of 7", "6 pass, 1 invalid")
    assert told["quiet runs taken for disturbed"] == "0 of 4"
    assert told["loaded runs recognised as disturbed"] == "1 of 3"
    assert told["loaded runs neither recognised nor covered"] == "1 of 3", "1.4 ± 10 % does not hold the quiet median"
    # 1.5 and 1.4 differ from the other four, of the pairs of six; of the quiet ones 1.5 alone is off their median by over 10 %
    assert ["latency_p95", "20.35%", "3 of 4", "8 of 15 (53.3%)", "≤ 5 %"] in rows


def test_the_newest_runs_are_read_again_in_their_order(tmp_path, monkeypatch):
    monkeypatch.setenv("NIGHTGATE_RUNS", str(tmp_path))
    for number in range(5):
        files.write_summary(run(1.0 + number, number=number).summary)
        os.utime(tmp_path / f"measure-hybrid_ann-{number:02d}", (1e9 + number, 1e9 + number))
    found = aa_runs._read("hybrid_ann", 4, seed=1)
    assert [one.gated.metrics["latency_p95"].value for one in found] == [2.0, 3.0, 4.0, 5.0]
    assert [one.loaded for one in found] == aa_runs._loads(4, 1) and sum(aa_runs._loads(4, 1)) == 2
    assert aa_runs._loads(40, 1) != aa_runs._loads(40, 2)
    with pytest.raises(SystemExit, match="holds 5 runs of hybrid_ann, and 6 were asked for"):
        aa_runs._read("hybrid_ann", 6, seed=1)


def test_identical_runs_are_told_by_the_scatter_of_their_logarithms():
    runs = [
        same_runs.Run(one.summary.run_id, one.gated, ratio, 9.0)
        for one, ratio in zip(RUNS, (1.0, 1.1, None), strict=False)
    ]
    told = same_runs.report(runs).splitlines()
    assert "| latency_p95 | 1 | 2.0% |  | 3 |" in told
    assert "| latency_p95_fast | | | | 0 |" in told
    assert "| P50, hybrid / ivfpq_refine | 1.05 | 6.7% | ≤ 3% | 2 |" in told
    assert "ended by: precision 3, budget 0" in told
    disturbed = same_runs.Run("x", RUNS[-1].gated, None)
    assert same_runs.report([disturbed]).endswith("x was disturbed: another program kept a core busy")
