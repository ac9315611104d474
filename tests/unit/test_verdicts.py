"""Objectives → verdicts: the value, how sure it is, and how many runs found it decide."""

from __future__ import annotations

from dataclasses import replace

import pytest
from support.specs import add

from nightgate import registry
from nightgate.facts import Noise
from nightgate.judge import judge, night, state_intervals, wanted
from nightgate.judge.past import Measured, Night, Past
from nightgate.record import Look, Objective, Record
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


def test_a_time_that_is_none_is_no_number_to_judge():
    (objective,) = judge(record(0.0, None, n=1), LIMITS, gated=True)
    assert (objective.verdict, objective.reason) == ("invalid", "0 is no seconds that can be judged")


def test_why_it_is_undecided_is_told():
    (near,) = judge(record(0.019, (0.018, 0.021)), LIMITS, gated=True)
    low, high = near.ci95
    assert low < 0.0175 < 0.0215 < high, "what differs between runs is in it"
    assert near.reason == (
        "the limit lies inside the 95 % interval of 1 run; runs are assumed to differ by 5.0%, too few are known"
    )
    (out,) = judge(record(0.03, (0.0285, 0.0315)), LIMITS, gated=True)
    assert out.reason.startswith("outside, but not confirmed by a second run; runs are assumed")
    (more,) = judge(record(0.0205, (0.0203, 0.0207), looks=3), LIMITS, gated=True)
    assert " of 4 runs;" in more.reason and (more.looks, more.nights) == (4, 1)


def test_a_breach_says_what_the_benchmark_knows_of_its_cause():
    known = record(0.03, (0.0285, 0.0315), reason="no setting reaches the target", looks=1)
    (objective,) = judge(known, LIMITS, gated=True)
    assert objective.reason == "no setting reaches the target"
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
    (of_the_device,) = judge(record(variant="w", looks=1), limits, gated=True)
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
    assert night([good, failed("control")]) == "pass"
    bad = record(0.03, (0.0285, 0.0315), looks=1)
    bad.objectives = judge(bad, LIMITS, gated=True)
    assert night(iter([failed(), bad, good])) == "breach"
    skipped = failed().model_copy(update={"status": "skipped"})
    assert night([good, skipped]) == "pass"
    assert night([skipped]) == "invalid"


# what is known of the series


def history(values, metric="latency_p95", half=0.01, verdicts=(), disturbed=()):
    """A night for each value, as `record` makes them; the verdict and what disturbed it by its place, from the newest."""
    nights = []
    for number, value in enumerate(values):
        ci95 = (value * (1 - half), value * (1 + half))
        found = record(value, ci95, metric=metric).metrics
        said = dict(verdicts).get(len(values) - 1 - number)
        objectives = {metric: said} if said else {}
        loud = dict(disturbed).get(len(values) - 1 - number)
        nights.append(Night(f"night-{number}", f"2026-01-{number + 1:02}", (Measured(found, loud),), objectives))
    return Past(tuple(nights))


def said(verdict, limit=0.02, op="<"):
    return Objective(metric="latency_p95", op=op, limit=limit, value=0.019, verdict=verdict)


CALM = [0.0100, 0.0101, 0.0099, 0.0100, 0.0102] * 6
WILD = [0.0100, 0.0118, 0.0091, 0.0108, 0.0086] * 6


def one(of, past, limits=LIMITS):
    (objective,) = judge(of, limits, gated=True, past=past)
    return objective


def test_what_runs_of_the_series_differ_by_decides_how_near_the_limit_is_far_enough():
    near = record(0.0185, (0.0183, 0.0187))
    calm, wild, unknown = (one(near, past) for past in (history(CALM), history(WILD), Past()))
    assert (calm.verdict, wild.verdict, unknown.verdict) == ("pass", "inconclusive", "inconclusive")
    width = [high - low for low, high in (calm.ci95, wild.ci95, unknown.ci95)]
    assert width[0] < width[2] < width[1]
    assert "assumed" in unknown.reason and "assumed" not in wild.reason


def test_the_verdict_is_on_the_mean_of_the_looks_and_the_first_decision_stands():
    made = record(0.0205, (0.0203, 0.0207))
    assert one(made, history(CALM)).verdict == "inconclusive"
    made.looks = [Look(started_at="", metrics=record(0.0225, (0.0223, 0.0227)).metrics)]
    second = one(made, history(CALM))
    assert (second.verdict, second.looks) == ("breach", 2)
    assert second.value == pytest.approx((0.0205 * 0.0225) ** 0.5)
    made.looks += [Look(started_at="", metrics=record(0.001, (0.0009, 0.0011)).metrics)] * 2
    assert one(made, history(CALM)) == second, "what came after the decision changes nothing"


def test_a_limit_of_the_variant_is_meant_before_that_of_the_device():
    limits = {"latency_p95": {"cpu": Limit(op="<", limit=0.02), "v": Limit(op="<", limit=0.5)}}
    assert [o.limit for o in judge(record(), limits, gated=True)] == [0.5]
    assert [o.limit for o in judge(record(variant="w"), limits, gated=True)] == [0.02]
    assert [o.limit for o in judge(record(device="gpu"), limits, gated=True)] == [0.5]
    assert judge(record(device="gpu", variant="w"), limits, gated=True) == []


LOUD = Noise(load_before=9.0).model_copy(update={"disturbed": "another program kept 0.9 of 2 cores busy"})


def loud(looks=(), **facts):
    """A record from a disturbed host, and looks: pairs of a value and what disturbed it."""
    made = record(0.03, (0.0297, 0.0303), **facts)
    add(made, "recall_at_100", 0.97, 200, (0.96, 0.98))
    made.facts.noise = LOUD
    made.looks = [
        Look(started_at="", metrics=record(value, (value * 0.99, value * 1.01)).metrics, disturbed=why)
        for value, why in looks
    ]
    return made


def test_a_disturbed_host_makes_speeds_invalid_and_leaves_recall():
    both = LIMITS | RECALL
    speed, recall = judge(loud(), both, gated=True)
    assert (speed.verdict, speed.value) == ("invalid", 0.03)
    assert speed.reason == "the host was disturbed: another program kept 0.9 of 2 cores busy"
    assert recall.verdict == "pass"
    (again, _) = judge(loud([(0.01, "it swapped")]), both, gated=True)
    assert (again.verdict, again.reason) == ("invalid", f"{speed.reason} (measured again, and disturbed again)")
    (later, _) = judge(loud([(0.01, None)]), both, gated=True)
    assert (later.verdict, later.value, later.looks) == ("pass", pytest.approx(0.01), 1), (
        "the undisturbed one alone counts"
    )


# debts


def test_undecided_nights_are_added_until_they_decide():
    wild = history([*WILD, 0.0196, 0.0183, 0.0205, 0.0190])
    debts = {place: said("inconclusive") for place in range(4)}
    owed = Past(tuple(
        Night(night.run_id, night.at, night.measured, {"latency_p95": debts[place]} if place in debts else {})
        for place, night in zip(range(len(wild.nights) - 1, -1, -1), wild.nights, strict=True)
    ))  # fmt: skip
    tonight = record(0.0185, (0.0183, 0.0187))
    alone, paid = one(tonight, wild), one(tonight, owed)
    assert (alone.looks, alone.nights, paid.looks, paid.nights) == (1, 1, 5, 5)
    assert paid.value == pytest.approx((0.0196 * 0.0183 * 0.0205 * 0.0190 * 0.0185) ** 0.2)
    assert paid.ci95[1] - paid.ci95[0] < alone.ci95[1] - alone.ci95[0]
    assert paid.verdict == "inconclusive" and paid.reason.endswith("of 5 runs of 5 nights; undecided for 5 nights")
    far = one(record(0.0108, (0.0107, 0.0109)), owed)
    assert (far.verdict, far.looks, far.nights) == ("pass", 1, 1), "tonight alone is enough"


@pytest.mark.parametrize(
    ("before", "nights"),
    [
        ({0: said("inconclusive"), 1: said("inconclusive")}, 3), ({1: said("inconclusive")}, 1),
        ({0: said("inconclusive"), 1: said("pass"), 2: said("inconclusive")}, 2), ({0: said("breach")}, 1),
        ({0: said("inconclusive", limit=0.03)}, 1), ({0: said("inconclusive", op="<=")}, 1),
        ({0: said("invalid"), 1: said("inconclusive")}, 2),
    ],
)  # fmt: skip
def test_a_debt_is_of_nights_directly_before_on_the_same_limit(before, nights):
    hushed = {place: "loud" for place, of in before.items() if of.verdict == "invalid"}
    past = history([*WILD, 0.019, 0.021, 0.0195], verdicts=before.items(), disturbed=hushed.items())
    assert one(record(0.0200, (0.0198, 0.0202)), past).nights == nights


@pytest.mark.parametrize(("versions", "nights"), [({"faiss": "1.9"}, 3), ({"faiss": "1.10"}, 1), ({}, 1)])
def test_what_another_version_left_undecided_says_nothing_of_this_one(versions, nights):
    past = history([*WILD, 0.019, 0.021], verdicts=[(place, said("inconclusive")) for place in (0, 1)])
    past = Past(tuple(replace(night, versions={"faiss": "1.9"}) for night in past.nights))
    tonight = record(0.0200, (0.0198, 0.0202))
    tonight.facts.provenance.versions = versions
    assert one(tonight, past).nights == nights


def test_many_nights_together_are_a_breach_that_none_of_them_is():
    high = [0.0248, 0.0240, 0.0246, 0.0243, 0.0241, 0.0247, 0.0244, 0.0242]
    past = history([*WILD, *high], verdicts=[(place, said("inconclusive")) for place in range(len(high))])
    tonight = record(0.0245, (0.0243, 0.0247))
    assert one(tonight, history([*WILD, *high])).verdict == "inconclusive"
    found = one(tonight, past)
    assert (found.verdict, found.nights) == ("breach", 9)


# one more look


def test_what_is_undecided_is_looked_at_again_and_what_is_decided_is_not():
    calm = history(CALM)
    assert wanted(record(0.0100, (0.0098, 0.0102)), LIMITS, calm) == ()
    assert wanted(record(0.0300, (0.0297, 0.0303)), LIMITS, calm) == ("latency_p95",), "out, and not confirmed"
    assert wanted(record(0.0300, (0.0297, 0.0303), looks=1), LIMITS, calm) == ()
    assert wanted(record(0.0199, (0.0197, 0.0201), looks=2), LIMITS, calm) == ("latency_p95",)
    assert wanted(record(0.0199, (0.0197, 0.0201), looks=3), LIMITS, calm) == (), "four are the most"
    assert wanted(record(0.0300, (0.0297, 0.0303), status="failed"), LIMITS, calm) == ()
    assert wanted(record(None), LIMITS, calm) == ()


def test_a_disturbed_night_is_measured_once_more_and_then_given_up():
    assert wanted(loud(), LIMITS | RECALL, Past()) == ("latency_p95",)
    assert wanted(loud([(0.01, "loud")]), LIMITS | RECALL, Past()) == ()
    assert wanted(loud([(0.0195, None)]), LIMITS | RECALL, Past()) == ("latency_p95",)


def test_what_all_looks_would_share_is_not_looked_at_again():
    """The clips of an error rate are the same in each: more runs do not make them more."""
    limits = {"wer": {"cpu": Limit(op="<=", limit=0.15)}}
    made = record(0.14, (0.10, 0.18), metric="wer", benchmark="transcription")
    past = history([0.14] * 12, metric="wer", half=0.3)
    assert one(made, past, limits).verdict == "inconclusive"
    assert wanted(made, limits, past) == ()
    assert wanted(record(0.16, (0.159, 0.161), metric="wer", benchmark="transcription"), limits, past) == ("wer",)


def test_a_file_size_is_never_looked_at_again():
    limits = {"index_bytes": {"cpu": Limit(op="<", limit=3000)}}
    assert wanted(record(4000, None, 1, metric="index_bytes"), limits, Past()) == ()


def test_an_old_debt_costs_no_more_looks_unless_tonight_is_outside():
    owed = [(place, said("inconclusive")) for place in range(14)]
    past = history([*WILD, *[0.0199, 0.0201] * 7], verdicts=owed)
    assert wanted(record(0.0198, (0.0196, 0.0200)), LIMITS, past) == ()
    assert wanted(record(0.0201, (0.0199, 0.0203)), LIMITS, past) == ("latency_p95",)
    young = history([*WILD, *[0.0199, 0.0201] * 6], verdicts=owed[:12])
    assert wanted(record(0.0198, (0.0196, 0.0200)), LIMITS, young) == ("latency_p95",)


# intervals


def stated(made, past):
    state_intervals(made, registry.spec_of, past)
    return made


def test_an_interval_holds_what_differs_between_runs_and_says_so():
    made = stated(record(0.01, (0.0099, 0.0101), looks=1), history(WILD))
    metric = made.metrics["latency_p95"]
    assert metric.within95 == (0.0099, 0.0101)
    assert metric.ci95[0] < 0.0085 < 0.0118 < metric.ci95[1]
    assert (metric.between.runs, metric.between.prior) == (30, False) and 0.1 < metric.between.sd < 0.16
    assert made.looks[0].metrics["latency_p95"] == metric
    once = made.model_copy(deep=True)
    assert stated(made, history(WILD)) == once, "done again it changes nothing"
    assert one(made, history(WILD)) == one(record(0.01, (0.0099, 0.0101), looks=1), history(WILD))


def test_what_is_not_known_is_not_stated():
    few = stated(record(0.01, None, n=3), Past()).metrics["latency_p95"]
    assert (few.ci95, few.within95, few.between.prior) == (None, None, True)
    learned = stated(record(0.01, None, n=3), history(WILD)).metrics["latency_p95"]
    assert (learned.ci95, learned.between.prior) == (None, False)
    size = stated(record(3000, None, 1, metric="index_bytes"), Past()).metrics["index_bytes"]
    assert (size.ci95, size.within95, size.between) == (None, None, None)
    nought = stated(record(0.0, None, 1), Past()).metrics["latency_p95"]
    assert (nought.ci95, nought.between) == (None, None)


def test_the_interval_of_a_share_ends_where_shares_do():
    metric = stated(recall(0.999, (0.998, 1.0)), Past()).metrics["recall_at_100"]
    assert metric.ci95[0] < 0.991 and metric.ci95[1] == 1.0
    wer = stated(record(0.001, (0.0, 0.003), metric="wer", benchmark="transcription"), Past()).metrics["wer"]
    assert wer.ci95[0] == 0.0 and wer.ci95[1] > 0.003
