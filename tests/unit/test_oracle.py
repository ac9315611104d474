"""A strategy with known recall and known latency must come out of tuning, timing, judging and the gate as exactly that.

Only three things are replaced: the strategy, the clock it advances, and the child process, which becomes a call. Recall,
latency and the queries they are taken of are told apart by value: tuning, measured and warm-up queries answer differently,
no two queries take the same time, and every setting has a recall of its own.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from support.turning import alone

from nightgate import registry, steps
from nightgate.errors import NotMeasured, ObjectiveBreached, Undecided
from nightgate.hybrid_ann import preparing
from nightgate.hybrid_ann.indexes import BuiltIndex
from nightgate.judge import night
from nightgate.measure import blocks, clock
from nightgate.measure.child import ChildResult
from nightgate.record import Look
from nightgate.results import files
from nightgate.suite import Limit
from nightgate.vector_search import asking, in_process
from nightgate.vectors import data
from nightgate.vectors.dataset import open_dataset

SMALL = {
    "hybrid_ann.rows": 2000, "hybrid_ann.dim": 16, "hybrid_ann.queries": 100, "hybrid_ann.passes": 2, "hybrid_ann.most_passes": 2, "hybrid_ann.processes": 2,
    "hybrid_ann.load_seconds": 0, "hybrid_ann.controls": [],
}  # fmt: skip
FOUND = {1: 90, 2: 93, 3: 95, 4: 100}
"""Effort → how many of the 100 true neighbours are found, on average over the tuning queries. The target is 92 + 2."""


class Clock:
    """Stands still but when the strategy works."""

    now = 0

    def __call__(self):
        return self.now


class Oracle:
    """Finds what `FOUND` says of tuning queries, one less of measured ones; ±2 in turns, so that no two alike stand in a row."""

    settings = [{"effort": effort} for effort in FOUND]  # noqa: RUF012

    def __init__(self, base, data, clock):
        self.base, self.clock = np.array(base, dtype=np.float64), clock
        self.place = {}
        for kind in ("warmup", "tuning", "queries"):
            self.place |= {
                np.array(query).tobytes(): (kind, number) for number, query in enumerate(getattr(data, kind))
            }

    def tune(self, setting):
        self.effort = setting["effort"]

    def versions(self):
        return {"oracle": "1"}

    def facts(self):
        return {}

    def search(self, query, k):
        kind, number = self.place[np.asarray(query).tobytes()]
        microseconds = {"warmup": 1_000_000, "tuning": 7000, "queries": 1000 + 10 * (37 * number % 100)}[kind]
        self.clock.now += microseconds * 1000 * self.effort // 3
        count = FOUND[self.effort] - (kind == "queries") + (2 if number % 2 else -2) * (self.effort < 4)
        order = np.argsort(-(self.base @ query))
        return np.concatenate([order[:count], order[len(order) - (k - count) :]])


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """Measures with the oracle and these settings; returns the plan."""
    with pytest.MonkeyPatch.context() as patch:
        folder = tmp_path_factory.mktemp("oracle")
        patch.setenv("NIGHTGATE_RUNS", str(folder / "runs"))
        patch.setenv("NIGHTGATE_HOME", str(folder / "home"))
        ticks, prepared = Clock(), {}

        def called(function, request, **_):
            return ChildResult(alone(function(request)), 5_000_000, 1.0)

        def load(subject, data):
            return Oracle(data.base, open_dataset(Path(prepared["vectors"])), ticks)

        made = BuiltIndex(
            folder=folder,
            build_seconds=1.5,
            build_peak_rss_bytes=3_000_000,
            bytes=4_000_000,
            built_at="then",
            reused=False,
        )
        patch.setattr(asking, "run_child", called)
        patch.setattr(data, "run_child", called)
        patch.setattr(preparing, "build_index", lambda *_: made)
        patch.setattr(in_process.InProcess, "load", load)
        for module in (blocks, clock):
            patch.setattr(module, "perf_counter_ns", ticks)

        def measure(run_id, **settings):
            values = SMALL | {f"hybrid_ann.{key}": value for key, value in settings.items()}
            plan = steps.preflight(
                run_id, dag_id="test", scale="smoke", only=["hybrid_ann"], devices=["cpu"], overrides=values
            )
            prepared.update(steps.prepare(plan, "hybrid_ann", "cpu"))
            steps.measure(plan, "hybrid_ann", "cpu", prepared)
            return plan

        yield measure


@pytest.fixture(scope="module")
def plan(measured):
    return measured("a-run")


def judged(plan, metric=None, limit=None, looks=0):
    """The record, the state of the night and what the gate raised, with another limit for one metric, after ``looks`` more
    runs that found the same."""
    found = files.read_records(plan.run_id)
    for record in found:
        record.looks = [Look(started_at="later", metrics=record.metrics)] * looks
    files.write_records(plan.run_id, "hybrid_ann", "cpu", found)
    objectives = {name: dict(metrics) for name, metrics in plan.objectives.items()}
    if metric:
        op = objectives["hybrid_ann"][metric]["cpu"].op
        objectives["hybrid_ann"][metric] = {"cpu": Limit(op=op, limit=limit)}
    plan = plan.model_copy(update={"objectives": objectives, "confirm": False})  # as many looks as there are
    error = None
    try:
        steps.gate(plan, "hybrid_ann", "cpu", None)
    except (ObjectiveBreached, NotMeasured, Undecided) as raised:
        error = raised
    records = files.read_records(plan.run_id)
    return records[0], night(records), error


def test_the_numbers_are_those_of_the_oracle(plan):
    record, state, error = judged(plan)
    assert (state, error) == ("pass", None)
    assert record.facts.tuning.setting == {"effort": 3}, "93 reaches the target of 92 and not its margin"
    assert [point.recall for point in record.facts.tuning.curve] == pytest.approx([0.90, 0.93, 0.95, 1.0])
    assert record.facts.tuning.curve[2].latency_p95 == 0.007
    recall = record.metrics["recall_at_100"]
    # 92 and 96 of 100 in turns: the mean ± t(99 degrees, 97.5 %) = 1.98422 standard errors
    assert (recall.value, recall.n) == (pytest.approx(0.94), 100)
    assert recall.within95 == pytest.approx((0.94 - 0.0039884, 0.94 + 0.0039884), abs=1e-6)
    latency = record.metrics["latency_p95"]
    # 1.00, 1.01 … 1.99 ms, each four times; 4 of 100 queries are above the P95: √(.04·.96/99)·1.96 = .0386, so it lies
    # between ranks 400·(.95 - .0386) = 364.6 and 400·(.95 + .0386) = 395.4, outwards: the 91st query and the 99th
    assert (latency.value, latency.n, latency.within95) == (0.00195, 400, (0.00190, 0.00198))
    assert latency.shared == 1, "its passes do not differ"
    assert record.metrics["latency_p50"].value == pytest.approx(0.00150)
    assert record.metrics["qps"].value == pytest.approx(1 / 0.001495)
    assert record.metrics["first_touch"].value == pytest.approx(1 / 3), (
        "the first warm-up query at the cheapest setting"
    )
    assert record.metrics["index_bytes"].value == 4_000_000
    assert [(o.metric, o.op, o.limit, o.verdict) for o in record.objectives] == [
        ("recall_at_100", ">=", 0.92, "pass"), ("latency_p95", "<", 0.02, "pass"),
    ]  # fmt: skip
    assert [o.value for o in record.objectives] == [recall.value, latency.value]


@pytest.mark.parametrize(
    ("metric", "limit", "verdict"),
    [
        ("latency_p95", 0.0026, "pass"), ("latency_p95", 0.0021, "inconclusive"), ("latency_p95", 0.0018, "inconclusive"),
        ("latency_p95", 0.0015, "breach"), ("latency_p95", 0.001, "breach"),
        ("recall_at_100", 0.92, "pass"), ("recall_at_100", 0.935, "inconclusive"), ("recall_at_100", 0.945, "inconclusive"),
        ("recall_at_100", 0.96, "breach"), ("recall_at_100", 0.99, "breach"),
    ],
)  # fmt: skip
def test_the_verdict_is_that_of_the_interval_of_two_runs(plan, metric, limit, verdict):
    """Runs are assumed to differ by 5 % and by .003, for nothing else is known."""
    record, state, error = judged(plan, metric, limit, looks=1)
    assert state == verdict
    assert {o.metric: o.verdict for o in record.objectives}[metric] == verdict
    assert type(error) is {"pass": type(None), "inconclusive": Undecided, "breach": ObjectiveBreached}[verdict]
    if error:
        assert f"hybrid on cpu: {registry.spec('hybrid_ann', metric).title} is" in str(error)


def test_a_target_that_no_setting_reaches_is_said_where_it_breaches(measured):
    record, state, error = judged(measured("another-run", recall_target=0.985), "recall_at_100", 0.999, looks=3)
    assert record.facts.tuning.setting == {"effort": 4}
    assert record.metrics["recall_at_100"].value == pytest.approx(0.99)
    assert (state, type(error)) == ("breach", ObjectiveBreached)
    assert "No setting reaches recall 0.985 with its margin" in str(error)
