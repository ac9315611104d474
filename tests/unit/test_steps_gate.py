"""Recording and judging: what is stored, in which order, what is sent to statsd, and what the gate lets pass."""

from __future__ import annotations

import pytest
from support.street import BOTH, HOST, Street, measured, plan

from nightgate import judged as judging
from nightgate import ledger, steps
from nightgate.errors import NotMeasured, ObjectiveBreached, ServiceUnavailable, Undecided
from nightgate.judge.past import Measured, Night, Past
from nightgate.judged import judged as judge_all
from nightgate.record import Metric, Objective
from nightgate.results import files
from nightgate.suite import Limit

STORE = "postgresql://store"


@pytest.fixture(autouse=True)
def street(monkeypatch, tmp_path):
    """Notes what the store and statsd are given; ``level`` is what counts in the store."""
    street = Street(monkeypatch, tmp_path)
    street.level = "night"

    class Store:
        def __init__(self, url):
            street.calls.append(("open", url))

        def records(self, *_):
            return []

        def counting(self, suite):
            street.calls.append(("counting",))
            return street.level

        def save_cache(self, counted):
            assert counted.entries == 0

        def save_records(self, *values, raw, anew, environment, **named):
            run_id, dag_id, scale, records = values
            assert (
                environment is not None
            ) == anew  # what a later step writes again was installed where it was measured
            verdicts = [[o.verdict for o in r.objectives] for r in records]
            street.calls.append(("save", run_id, dag_id, scale, [r.device for r in records], verdicts, named))

    monkeypatch.setattr(ledger, "Store", Store)
    monkeypatch.setattr(
        steps.statsd, "send", lambda records: street.calls.append(("send", [r.device for r in records]))
    )
    return street


def left(latency=0.001, device="cpu", looks=3, **facts):
    files.write_records("a-run", "hybrid_ann", device, [measured(latency=latency, device=device, looks=looks, **facts)])


def saved(device, verdicts, standing="night", overrides=None):
    named = {"suite": "nightly", "standing": standing, "overrides": overrides or {}}
    return ("save", "a-run", "nightly_benchmarks", "smoke", [device], [verdicts], named)


def test_records_are_stored_before_it_is_asked_what_counts_and_before_they_are_sent(street):
    left()
    left(0.5, "gpu")
    steps.record(plan(work=BOTH), "hybrid_ann", "gpu", STORE)
    assert street.calls == [("open", STORE), saved("gpu", []), ("counting",), ("send", ["gpu"])]


@pytest.mark.parametrize(
    ("changes", "standing"),
    [
        ({"overrides": {"hybrid_ann.rows": 5}}, "ad-hoc"), ({"dag_id": steps.BY_HAND}, "ad-hoc"), ({"scheduled": False}, "stand-in"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("url", [STORE, None])
def test_what_does_not_count_is_stored_with_its_standing_and_not_sent(street, changes, standing, url):
    left()
    ours = plan(**changes)
    assert ours.standing == standing
    steps.record(ours, "hybrid_ann", "cpu", url)
    saves = [call[-1] for call in street.calls if call[0] == "save"]
    assert saves == (
        [{"suite": "nightly", "standing": standing, "overrides": changes.get("overrides", {})}] if url else []
    )
    sent = [call for call in street.calls if call[0] == "send"]
    assert sent == ([("send", ["cpu"])] if standing == "stand-in" and not url else [])


@pytest.mark.parametrize(
    ("latency", "spread", "verdict", "error"),
    [
        (0.0100, 0.1, "pass", None), (0.0199, 0.1, "inconclusive", Undecided), (0.0201, 0.1, "inconclusive", Undecided),
        (0.0300, 0.1, "breach", ObjectiveBreached),
    ],
)  # fmt: skip
def test_verdicts_are_written_and_stored_before_the_gate_fails(street, latency, spread, verdict, error):
    left(latency, spread=spread)
    raised = None
    try:
        steps.gate(plan(), "hybrid_ann", "cpu", STORE)
    except (NotMeasured, ObjectiveBreached, Undecided) as caught:
        raised = caught
    assert type(raised) is (error or type(None))
    assert [o.verdict for o in files.read_records("a-run")[0].objectives] == ["pass", verdict]
    assert street.calls == [("open", STORE), saved("cpu", ["pass", verdict])], "`record` has sent them"


def test_everything_that_is_unmet_is_said():
    ours = plan(objectives={"hybrid_ann": {
        "latency_p95": {"cpu": Limit(op="<", limit=0.02)}, "recall_at_100": {"cpu": Limit(op=">=", limit=0.99)},
        "qps": {"cpu": Limit(op=">", limit=5)},
    }})  # fmt: skip
    left(0.03)
    with pytest.raises(ObjectiveBreached) as caught:
        steps.gate(ours, "hybrid_ann", "cpu", None)
    first, second, third = str(caught.value).splitlines()
    assert first.startswith("Hybrid ANN, hybrid on cpu: P95 latency is 30.0 ms")
    assert second.startswith("Hybrid ANN, hybrid on cpu: Recall@100 is 0.960")
    assert third == "Hybrid ANN, hybrid on cpu: no Queries. The measurement gave no qps."
    files.write_records(
        "a-run",
        "hybrid_ann",
        "cpu",
        [measured(latency=0.0199, looks=3), measured("v", status="failed", reason="no", settings={"variants": ["v"]})],
    )
    with pytest.raises(NotMeasured) as caught:
        steps.gate(
            plan(objectives={"hybrid_ann": {"latency_p95": {"cpu": Limit(op="<", limit=0.02)}}}),
            "hybrid_ann",
            "cpu",
            None,
        )
    first, second = str(caught.value).splitlines()
    assert first == "Hybrid ANN, v on cpu: no P95 latency. No."
    assert second.startswith("Hybrid ANN, hybrid on cpu: P95 latency is 19.9 ms")
    assert " Undecided. The limit lies inside the 95 % interval of 4 runs" in second


def test_a_gate_whose_device_was_not_measured_says_so():
    with pytest.raises(NotMeasured, match="^hybrid_ann on gpu was not measured$"):
        left(device="cpu")
        steps.gate(plan(work=BOTH), "hybrid_ann", "gpu", None)


def test_a_benchmark_without_objectives_has_no_verdict():
    left()
    with pytest.raises(NotMeasured, match="^hybrid_ann on cpu was not measured$"):
        steps.gate(plan(objectives={}), "hybrid_ann", "cpu", None)


def test_a_record_says_which_objectives_are_of_other_variants_alone():
    left(variant="hybrid")
    others = {
        "hybrid_ann": {
            "latency_p95": {"hnsw": Limit(op="<", limit=1e-9)},
            "recall_at_100": {"cpu": Limit(op=">=", limit=0.9)},
        }
    }
    for _ in range(2):
        steps.gate(plan(objectives=others), "hybrid_ann", "cpu", None)
    (record,) = files.read_records("a-run")
    assert record.facts.not_judged == {"latency_p95": "it is an objective of hnsw (< 1e-09) alone"}
    assert [o.metric for o in record.objectives] == ["recall_at_100"]


def test_a_gated_variant_is_expected_only_where_its_own_device_was_measured():
    skipped = {"status": "skipped", "reason": "not here"}
    records = [measured(device="cpu"), measured(device="gpu", **skipped), measured("hnsw", device="gpu", **skipped)]
    found = [[o.verdict for o in r.objectives] for r in judge_all(plan(work=BOTH), records, None)]
    assert found == [["pass", "pass"], [], []]
    both = {"variants": ["hybrid", "faiss_hnsw"]}
    records.append(measured("faiss_hnsw", device="gpu", settings=both))
    found = [[(o.verdict, o.reason) for o in r.objectives] for r in judge_all(plan(work=BOTH), records, None)]
    assert found == [[("pass", None)] * 2, [("invalid", "not here")] * 2, [], [("pass", None)] * 2]


def test_a_control_on_a_gpu_makes_a_gated_variant_expected_only_where_a_gpu_is_required():
    skipped = {"status": "skipped", "reason": "not here"}
    for device, required, expected in (
        ("gpu", False, []),
        ("gpu", True, ["invalid"] * 2),
        ("cpu", False, ["invalid"] * 2),
    ):
        records = [measured(device=device, **skipped), measured("hnsw", device=device)]
        found = judge_all(plan(work=BOTH, require_gpu=required), records, None)
        assert [[o.verdict for o in record.objectives] for record in found] == [expected, []]


NONE = HOST.model_copy(update={"gpu": None})


@pytest.mark.parametrize(
    ("facts", "required", "judged"),
    [
        ({"device": "gpu", "status": "failed", "host": NONE}, False, 0), ({"device": "gpu", "status": "failed", "host": NONE}, True, 2),
        ({"device": "gpu", "status": "failed", "host": HOST}, False, 2), ({"device": "gpu", "status": "failed", "host": None}, False, 2),
        ({"device": "cpu", "status": "failed", "host": NONE}, False, 2), ({"device": "gpu", "status": "measured", "host": NONE}, False, 2),
    ],
)  # fmt: skip
def test_only_a_failure_on_a_gpu_that_the_host_has_not_is_no_verdict(facts, required, judged):
    (record,) = judge_all(plan(work=BOTH, require_gpu=required), [measured(**facts)], None)
    assert len(record.objectives) == judged


def test_what_is_known_of_the_series_is_asked_for_as_of_this_run_and_judged_with(street, monkeypatch):
    """The same night after two that could not decide: the evidence of all three is counted."""
    asked = []
    nights = [once(0.0199, "one"), once(0.0198, "two")]

    def pasts_of(records, scale, **named):
        asked.append(([record.variant for record in records], scale, named))
        return {("hybrid_ann", "hybrid", "cpu"): Past(tuple(nights))}

    left(0.0199)
    with pytest.raises(Undecided) as alone:
        steps.gate(plan(), "hybrid_ann", "cpu", None)
    assert "nights" not in str(alone.value)
    monkeypatch.setattr(judging, "pasts_of", pasts_of)
    with pytest.raises(Undecided, match="undecided for 3 nights"):
        steps.gate(plan(scale="full"), "hybrid_ann", "cpu", None)
    assert asked == [(["hybrid"], "full", {"run_id": "a-run", "standing": "night", "store": None})]
    (record,) = files.read_records("a-run")
    assert {o.metric: o.nights for o in record.objectives} == {"recall_at_100": 1, "latency_p95": 3}
    between = record.metrics["latency_p95"].between
    assert (between.runs, between.prior) == (2, True), "too few to learn from"


def once(latency, run_id):
    """A night that could not decide the latency."""
    metrics = {"latency_p95": Metric(value=latency, unit="seconds", n=1000, ci95=(latency * 0.9, latency * 1.1))}
    owed = Objective(metric="latency_p95", op="<", limit=0.02, value=latency, verdict="inconclusive")
    return Night(run_id, f"2026-11-2{len(run_id)}T02:00:00.000Z", (Measured(metrics),), {"latency_p95": owed})


def test_a_store_that_does_not_answer_decides_nothing(street, monkeypatch):
    def gone(*_, **__):
        raise ServiceUnavailable("the results database is gone")

    monkeypatch.setattr(judging, "pasts_of", gone)
    left()
    with pytest.raises(ServiceUnavailable):
        steps.gate(plan(), "hybrid_ann", "cpu", STORE)
    assert files.read_records("a-run")[0].objectives == []
