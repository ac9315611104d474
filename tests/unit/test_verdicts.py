"""Objectives → verdicts: the value, how sure it is, and how many runs found it decide."""

from __future__ import annotations

import pytest
from support.specs import add

from nightgate.judge import judge, night, unmet
from nightgate.record import Look, Record
from nightgate.suite import Limit

LIMITS = {"latency_p95": {"cpu": Limit(op="<", limit=0.02)}}


def record(value=0.01, ci95=(0.009, 0.011), n=1000, looks=0, metric="latency_p95", **facts):
    """One measurement, and ``looks`` more that found the same."""
    made = Record(**{"benchmark": "hybrid_ann", "variant": "v", "device": "cpu", "status": "measured", **facts})
    if value is not None:
        add(made, metric, value, n, ci95)
        made.looks = [Look(started_at="", metrics=dict(made.metrics)) for _ in range(looks)]
    return made


def verdict(of, **options):
    (objective,) = judge(of, LIMITS, **{"gated": True, **options})
    return objective.verdict


def test_a_value_far_inside_passes_at_once_and_one_far_outside_is_confirmed_first():
    """Without a past runs are assumed to differ by 5 %."""
    assert verdict(record(0.01, (0.009, 0.011))) == "pass"
    assert verdict(record(0.019, (0.018, 0.021))) == "inconclusive"
    assert verdict(record(0.03, (0.0285, 0.0315))) == "inconclusive"
    assert verdict(record(0.03, (0.0285, 0.0315), looks=1)) == "breach"
    assert verdict(record(0.0205, (0.0203, 0.0207), looks=3)) == "inconclusive"


def recall(value, ci95, n=200, looks=1):
    return record(value, ci95, n, looks, metric="recall_at_100")


RECALL = {"recall_at_100": {"cpu": Limit(op=">=", limit=0.92)}}


@pytest.mark.parametrize(
    ("value", "ci95", "n", "expected"),
    [
        (0.95, (0.93, 0.97), 200, "pass"), (0.95, (0.92, 0.98), 200, "inconclusive"), (0.93, (0.90, 0.96), 200, "inconclusive"),
        (0.91, (0.88, 0.94), 200, "inconclusive"), (0.86, (0.84, 0.88), 200, "breach"), (0.90, (0.88, 0.92), 200, "inconclusive"),
        (0.95, None, 200, "inconclusive"), (0.90, None, 200, "inconclusive"),
        (0.96, None, 1, "pass"), (0.92, None, 1, "inconclusive"), (0.88, None, 1, "breach"),
    ],
)  # fmt: skip
def test_an_objective_from_below_is_judged_by_its_interval_too(value, ci95, n, expected):
    (objective,) = judge(recall(value, ci95, n), RECALL, gated=True)
    assert (objective.verdict, objective.value, objective.op, objective.limit) == (
        expected, pytest.approx(value), ">=", 0.92,
    )  # fmt: skip


@pytest.mark.parametrize("looks", [0, 3])
def test_what_stands_for_itself_is_compared_as_it_is(looks):
    """A file size of which nobody ever saw another one: even the limit itself decides, in one run."""
    for op, value, expected in (
        ("<", 2999, "pass"), ("<", 3000, "breach"), ("<=", 3000, "pass"), ("<=", 3001, "breach"),
        (">", 3001, "pass"), (">", 3000, "breach"), (">=", 3000, "pass"), (">=", 2999, "breach"),
    ):  # fmt: skip
        made = record(value, None, 1, looks, metric="index_bytes")
        (objective,) = judge(made, {"index_bytes": {"cpu": Limit(op=op, limit=3000)}}, gated=True)
        assert (objective.verdict, objective.ci95) == (expected, None), (op, value)


@pytest.mark.parametrize("n", [2, 3, 10])
@pytest.mark.parametrize("value", [0.001, 0.5])
def test_too_few_samples_are_neither_a_pass_nor_a_breach(n, value):
    (objective,) = judge(record(value, None, n=n, looks=3), LIMITS, gated=True)
    assert (objective.verdict, objective.value) == ("inconclusive", value)
    assert objective.reason == f"{n} samples are too few to state an interval"


def test_why_it_is_undecided_is_told():
    (near,) = judge(record(0.019, (0.018, 0.021)), LIMITS, gated=True)
    low, high = near.ci95
    assert low < 0.0175 < 0.0215 < high, "what differs between runs is in it"
    assert near.reason == (
        f"the limit lies inside the 95 % interval, {low:.4g} to {high:.4g}, of 1 run; "
        "runs are assumed to differ by 5.0%, too few are known"
    )
    (out,) = judge(record(0.03, (0.0285, 0.0315)), LIMITS, gated=True)
    assert out.reason.startswith("outside, but not confirmed by a second run; the 95 % interval, 0.0")
    (more,) = judge(record(0.0205, (0.0203, 0.0207), looks=3), LIMITS, gated=True)
    assert ", of 4 runs;" in more.reason and (more.looks, more.nights) == (4, 1)


def test_a_breach_says_what_the_benchmark_knows_of_its_cause():
    known = record(0.03, (0.0285, 0.0315), reason="no setting reaches the target", looks=1)
    (objective,) = judge(known, LIMITS, gated=True)
    assert objective.reason == "no setting reaches the target"
    assert "no setting reaches the target" in unmet([known.model_copy(update={"objectives": [objective]})])[0]
    (fine,) = judge(record(reason="no setting reaches the target"), LIMITS, gated=True)
    assert fine.reason is None


def test_a_single_time_is_as_unsure_as_what_differs_between_runs():
    assert verdict(record(0.01, None, n=1)) == "pass"
    assert verdict(record(0.03, None, n=1)) == "inconclusive"
    assert verdict(record(0.03, None, n=1, looks=1)) == "breach"


def test_a_missing_number_never_passes():
    assert verdict(record(None)) == "invalid"
    assert verdict(record(None, status="failed", reason="the server died")) == "invalid"


@pytest.mark.parametrize(
    ("facts", "reason"),
    [
        ({"status": "failed", "reason": "the server died"}, "the server died"), ({"status": "failed"}, "it was not measured"),
        ({}, "the measurement gave no latency_p95"),
    ],
)  # fmt: skip
def test_why_there_is_no_number(facts, reason):
    (objective,) = judge(record(None, **facts), LIMITS, gated=True)
    assert (objective.metric, objective.value, objective.verdict, objective.reason) == (
        "latency_p95",
        None,
        "invalid",
        reason,
    )


def test_a_failed_record_is_invalid_whatever_number_it_carries():
    assert verdict(record(0.001, (0.0009, 0.0011), status="failed", reason="it crashed later")) == "invalid"


def test_a_gated_variant_that_was_skipped_beside_measured_ones_is_invalid():
    skipped = record(None, status="skipped", reason="not installed")
    (objective,) = judge(skipped, LIMITS, gated=True, expected=True)
    assert (objective.verdict, objective.reason) == ("invalid", "not installed")
    assert judge(skipped, LIMITS, gated=True, expected=False) == judge(skipped, LIMITS, gated=True) == []
    assert judge(skipped, LIMITS, gated=False, expected=True) == []


def test_every_limit_of_the_device_is_judged_in_order():
    limits = {
        "recall_at_100": {"cpu": Limit(op=">=", limit=0.9)}, "xrt": {"gpu": Limit(op="<=", limit=1)},
        "latency_p95": {"cpu": Limit(op="<", limit=0.02), "gpu": Limit(op="<", limit=0.001)},
    }  # fmt: skip
    assert [(o.metric, o.limit, o.verdict) for o in judge(record(), limits, gated=True)] == [
        ("recall_at_100", 0.9, "invalid"), ("latency_p95", 0.02, "pass"),
    ]  # fmt: skip


def test_the_limit_of_a_variant_stands_in_place_of_its_devices():
    limits = {
        "latency_p95": {"cpu": Limit(op="<", limit=0.005), "v": Limit(op="<", limit=0.02)},
        "qps": {"other": Limit(op=">", limit=1e9)},
    }  # fmt: skip
    assert [(o.metric, o.limit, o.verdict) for o in judge(record(), limits, gated=True)] == [
        ("latency_p95", 0.02, "pass")
    ]
    (of_the_device,) = judge(record(variant="w"), limits, gated=True)
    assert (of_the_device.limit, of_the_device.verdict) == (0.005, "breach")


def test_controls_and_skipped_records_do_not_gate():
    assert judge(record(0.03, (0.0285, 0.0315)), LIMITS, gated=False) == []
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
        "pass": (0.01, (0.009, 0.011)), "breach": (0.03, (0.0285, 0.0315), 1000, 1), "inconclusive": (0.019, (0.018, 0.021)), "invalid": (None, None),
    }  # fmt: skip
    records = [record(*values[name]) for name in verdicts]
    for made in records:
        made.objectives = judge(made, LIMITS, gated=True)
    assert night(records) == state


def failed(variant="v", variants=("v",), reason="it crashed"):
    settings = {"variants": list(variants)}
    return Record(
        benchmark="hybrid_ann", variant=variant, device="gpu", status="failed", reason=reason, settings=settings
    )


def test_a_gated_variant_that_failed_makes_the_night_invalid_though_no_objective_is_about_it():
    good = record()
    good.objectives = judge(good, LIMITS, gated=True)
    assert night([good, failed()]) == "invalid"
    assert unmet([good, failed()]) == ["hybrid_ann v on gpu failed: it crashed"]
    assert unmet([failed(reason=None)]) == ["hybrid_ann v on gpu failed: no reason was given"]
    assert night([good, failed("control")]) == "pass"
    assert unmet([good, failed("control")]) == []
    bad = record(0.03, (0.0285, 0.0315), looks=1)
    bad.objectives = judge(bad, LIMITS, gated=True)
    assert night(iter([failed(), bad, good])) == "breach"
    skipped = failed().model_copy(update={"status": "skipped"})
    assert night([good, skipped]) == "pass"
    assert night([skipped]) == "invalid"


def test_what_is_unmet_is_said_gravest_first():
    records = []
    for name, value, ci95 in (
        ("c", 0.019, (0.018, 0.021)),
        ("b", None, None),
        ("a", 0.03, (0.0285, 0.0315)),
        ("d", 0.01, (0.009, 0.011)),
    ):
        made = record(value, ci95, looks=1, variant=name)
        made.objectives = judge(made, LIMITS, gated=True)
        records.append(made)
    assert [sentence.split(" on ")[0] for sentence in unmet([*records, failed()])] == [
        "hybrid_ann a",
        "hybrid_ann b",
        ["hybrid_ann v", "gpu failed: it crashed"][0],
        "hybrid_ann c",
    ]
    assert unmet(records)[1:] == [
        "hybrid_ann b on cpu: latency_p95 is no value, the objective is < 0.02: invalid (the measurement gave no latency_p95)",
        "hybrid_ann c on cpu: latency_p95 is 0.019, the objective is < 0.02: inconclusive "
        f"({records[0].objectives[0].reason})",
    ]


def test_a_breach_is_said_before_what_is_invalid_whatever_their_names():
    breached, unknown = record(0.03, (0.0285, 0.0315), looks=1, variant="z"), record(None, variant="a")
    for made in (breached, unknown):
        made.objectives = judge(made, LIMITS, gated=True)
    assert [sentence.rpartition(": ")[2][:7] for sentence in unmet([unknown, breached])] == ["breach", "invalid"]


def test_what_is_unmet_is_said_in_sentences():
    breached = record(0.03, (0.0285, 0.0315), looks=1)
    breached.objectives = judge(breached, LIMITS, gated=True)
    assert unmet([breached]) == ["hybrid_ann v on cpu: latency_p95 is 0.03, the objective is < 0.02: breach"]
