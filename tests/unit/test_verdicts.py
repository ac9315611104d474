"""Objectives → verdicts: the whole interval decides."""

from __future__ import annotations

import pytest

from nightgate.judge import judge, night, unmet
from nightgate.record import Record
from nightgate.suite import Limit

LIMITS = {"latency_p95": {"cpu": Limit(op="<", limit=0.02)}}


def record(value=0.01, ci95=(0.009, 0.011), n=1000, **facts):
    made = Record(**{"benchmark": "b", "variant": "v", "device": "cpu", "status": "measured", **facts})
    if value is not None:
        made.add("latency_p95", value, n, ci95)
    return made


def verdict(of, **options):
    (objective,) = judge(of, LIMITS, **{"gated": True, **options})
    return objective.verdict


def test_the_interval_and_not_the_value_decides():
    assert verdict(record(0.01, (0.009, 0.011))) == "pass"
    assert verdict(record(0.03, (0.025, 0.035))) == "breach"
    assert verdict(record(0.019, (0.018, 0.021))) == "inconclusive"
    assert verdict(record(0.02, (0.019, 0.02))) == "inconclusive", "the limit itself does not satisfy <"


def test_too_few_samples_are_not_a_pass():
    assert verdict(record(0.001, None, n=10)) == "inconclusive"


def test_a_breach_says_what_the_benchmark_knows_of_its_cause():
    known = record(0.03, (0.025, 0.035), reason="no setting reaches the target")
    (objective,) = judge(known, LIMITS, gated=True)
    assert objective.reason == "no setting reaches the target"
    assert "no setting reaches the target" in unmet([known.model_copy(update={"objectives": [objective]})])[0]
    (fine,) = judge(record(reason="no setting reaches the target"), LIMITS, gated=True)
    assert fine.reason is None


def test_a_number_that_stands_for_itself_is_compared():
    assert verdict(record(0.01, None, n=1)) == "pass"
    assert verdict(record(0.03, None, n=1)) == "breach"


def test_a_missing_number_never_passes():
    assert verdict(record(None)) == "invalid"
    assert verdict(record(None, status="failed", reason="the server died")) == "invalid"


def test_controls_and_skipped_records_do_not_gate():
    assert judge(record(0.03, (0.025, 0.035)), LIMITS, gated=False) == []
    assert judge(record(None, status="skipped", reason="no device"), LIMITS, gated=True) == []


def test_an_objective_of_another_device_does_not_apply():
    assert judge(record(device="gpu"), LIMITS, gated=True) == []


@pytest.mark.parametrize(
    ("verdicts", "state"),
    [
        (["pass", "pass"], "pass"), (["pass", "inconclusive"], "inconclusive"), (["inconclusive", "invalid"], "invalid"),
        (["invalid", "breach", "pass"], "breach"), ([], "invalid"),
    ],
)  # fmt: skip
def test_the_gravest_verdict_is_the_state_of_the_night(verdicts, state):
    values = {
        "pass": (0.01, (0.009, 0.011)), "breach": (0.03, (0.025, 0.035)), "inconclusive": (0.019, (0.018, 0.021)), "invalid": (None, None),
    }  # fmt: skip
    records = [record(*values[name]) for name in verdicts]
    for made in records:
        made.objectives = judge(made, LIMITS, gated=True)
    assert night(records) == state


def test_what_is_unmet_is_said_in_sentences():
    breached = record(0.03, (0.025, 0.035))
    breached.objectives = judge(breached, LIMITS, gated=True)
    assert unmet([breached]) == ["b v on cpu: latency_p95 is 0.03, the objective is < 0.02: breach"]
