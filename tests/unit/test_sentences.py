"""What is said of a run in sentences."""

from __future__ import annotations

from support.specs import add

from nightgate.judge import judge
from nightgate.publish import sentences
from nightgate.publish.rows import objective_rows
from nightgate.publish.sentences import unmet
from nightgate.record import Host, Look, Record, Summary
from nightgate.suite import Limit

LIMITS = {"latency_p95": {"cpu": Limit(op="<", limit=0.02)}}


def record(value=0.01, ci95=(0.009, 0.011), variant="v", looks=1, **facts):
    made = Record(benchmark="hybrid_ann", variant=variant, device="cpu", status="measured", **facts)
    if value is not None:
        add(made, "latency_p95", value, 1000, ci95)
        made.looks = [Look(started_at="", metrics=dict(made.metrics)) for _ in range(looks)]
    made.objectives = judge(made, LIMITS, gated=True)
    return made


def failed(variant="v", reason="it crashed", gated=True):
    return Record(
        benchmark="hybrid_ann", variant=variant, device="gpu", status="failed", reason=reason, gated=gated,
        settings={"variants": ["v"]},
    )  # fmt: skip


def test_what_is_unmet_is_said_gravest_first_in_units_that_people_read():
    near, unknown, over, good = (
        record(0.019, (0.018, 0.021), "c"), record(None, variant="b"), record(0.03, (0.0285, 0.0315), "a"), record(variant="d"),
    )  # fmt: skip
    low, high = near.objectives[0].ci95
    said = unmet([near, unknown, over, good, failed()])
    assert said[0].startswith("Hybrid ANN, a on cpu: P95 latency is 30.0 ms (95 % interval 2")
    assert said[0].endswith("), the limit < 20 ms, 50 % past it.")
    assert said[1] == "Hybrid ANN, b on cpu: no P95 latency. The measurement gave no latency_p95."
    assert said[2] == "Hybrid ANN, v on gpu failed: it crashed."
    assert said[3] == (
        f"Hybrid ANN, c on cpu: P95 latency is 19.0 ms (95 % interval {low * 1e3:.1f} – {high * 1e3:.1f} ms), the limit < 20 ms. Undecided. "
        "The limit lies inside the 95 % interval of 2 runs; runs are assumed to differ by 5.0%, too few are known."
    )
    assert len(said) == 4


def test_a_failure_that_no_objective_is_about_is_said_of_what_is_gated():
    assert unmet([failed(reason=None)]) == ["Hybrid ANN, v on gpu failed: no reason was given."]
    assert unmet([failed("control", gated=False)]) == []


def test_what_the_benchmark_knows_of_a_breach_stands_behind_it():
    known = record(0.03, (0.0285, 0.0315), reason="no setting reaches the target")
    assert unmet([known])[0].endswith("50 % past it. No setting reaches the target.")


def test_a_run_in_a_few_sentences():
    def said(*records, state):
        host = Host(fingerprint="abc", cpu="a cpu", cores=2, memory_bytes=2**34)
        summary = Summary(
            run_id="r", dag_id="d", suite="s", scale="smoke", state=state, started_at="", finished_at="", host=host, results=records,
        )  # fmt: skip
        return sentences.said_of(summary)

    assert said(record(), state="pass") == [
        "The objective holds.",
        "The tightest is P95 latency of Hybrid ANN, v on cpu: 10.0 ms against < 20 ms, 50 % headroom.",
    ]
    first, second = said(record(0.03, (0.0285, 0.0315)), record(), state="breach")
    assert first == "1 objective is breached."
    assert "50 % past it" in second


def test_only_a_breach_is_past_its_limit():
    (row,) = objective_rows([record(0.03, (0.0285, 0.0315), looks=0)])
    assert (row["verdict"], sentences.past(row)) == ("inconclusive", "")
    (row,) = objective_rows([record(0.5, (0.4, 0.6))])
    assert sentences.past(row) == ", 2,400 % past it"
