"""How sure, in words."""

from __future__ import annotations

import pytest
from support.specs import add, all_specs

from nightgate.facts import Facts, Noise
from nightgate.publish import certainty
from nightgate.record import Between, Look, Metric, Objective, Record

P95, RECALL = all_specs()["latency_p95"], all_specs()["recall_at_100"]
BUSY = "another program kept 0.9 of 2 cores busy"


def record(disturbed=None, device="cpu", variant="hybrid", **more):
    made = Record(
        benchmark="hybrid_ann", variant=variant, device=device, status="measured",
        facts=Facts(noise=Noise(disturbed=disturbed)), **more,
    )  # fmt: skip
    add(made, "latency_p95", 0.0012, 3000, (0.0011, 0.0013))
    add(made, "recall_at_100", 0.951, 200, (0.945, 0.957))
    return made


def look(p95, disturbed=None):
    metrics = {"latency_p95": Metric(value=p95, unit="seconds", n=3000, ci95=(p95 * 0.9, p95 * 1.1))}
    return Look(started_at="2026-11-22T02:10:00.000Z", metrics=metrics, disturbed=disturbed)


def objective(verdict="pass", metric="latency_p95", **more):
    return Objective(metric=metric, op="<", limit=0.02, value=0.0012, verdict=verdict, **more)


@pytest.mark.parametrize(
    ("verdict", "looks", "nights", "text"),
    [
        ("pass", 0, 1, "pass"),
        ("pass", 1, 1, "pass, confirmed by 1 more run"),
        ("breach", 2, 1, "breach, confirmed by 2 more runs"),
        ("pass", 0, 2, "pass, together with the night before"),
        ("breach", 1, 4, "breach, confirmed by 1 more run, together with the 3 nights before"),
        ("inconclusive", 0, 1, "undecided"),
        ("inconclusive", 3, 1, "undecided"),
        ("inconclusive", 3, 2, "undecided for 2 nights"),
        ("invalid", 1, 1, "invalid"),
    ],
)
def test_a_verdict_says_how_it_came_about(verdict, looks, nights, text):
    made = record(looks=[look(0.0013)] * looks)
    assert certainty.said(objective(verdict, nights=nights), made) == text


def test_a_run_that_did_not_measure_the_metric_again_confirms_nothing_of_it():
    made = record(looks=[look(0.0013)])
    assert certainty.said(objective(metric="recall_at_100"), made) == "pass"


def test_the_values_of_the_runs_are_listed_and_those_of_a_disturbed_host_marked():
    made = record(looks=[look(0.00131), look(0.0099, BUSY)])
    assert certainty.looks(objective(), made) == ["1.20 ms", "1.31 ms", "9.90 ms†"]
    assert certainty.looks(objective(), record(BUSY, looks=[look(0.00131)])) == ["1.20 ms†", "1.31 ms"]
    assert certainty.looks(objective(), record()) == []


@pytest.mark.parametrize(
    ("spec", "metric", "holds"),
    [
        (P95, {"ci95": (0.9, 1.1)}, ("±10 %", "±10 %", "–", "this run alone")),
        (
            P95, {"ci95": (0.969, 1.031), "within95": (0.98, 1.02), "between": Between(sd=0.0243, runs=17, prior=False)},
            ("±3.1 %", "±2.0 %", "2.4 %", "17 runs"),
        ),
        (
            P95, {"ci95": (0.84, 1.16), "within95": (0.98, 1.02), "between": Between(sd=0.08, runs=2, prior=True)},
            ("±16 %", "±2.0 %", "8.0 %", "assumed, 2 runs are too few"),
        ),
        (
            P95, {"ci95": (0.84, 1.16), "between": Between(sd=0.08, runs=1, prior=True)},
            ("±16 %", "–", "8.0 %", "assumed, 1 run is too few"),
        ),
        (
            P95, {"ci95": (0.84, 1.16), "between": Between(sd=0.08, runs=0, prior=True)},
            ("±16 %", "–", "8.0 %", "assumed, no run before"),
        ),
        (
            RECALL, {"ci95": (0.992, 1.008), "within95": (0.994, 1.006), "between": Between(sd=0.002, runs=1, prior=False)},
            ("±0.008", "±0.006", "0.002", "1 run"),
        ),
    ],
)  # fmt: skip
def test_an_interval_says_what_it_holds(spec, metric, holds):
    assert certainty.holds(Metric(value=1.0, unit=spec.unit, n=5, **metric), spec) == holds


def test_a_half_width_is_told_against_the_value():
    found = certainty.holds(Metric(value=4.0, unit="seconds", n=5, ci95=(3.0, 5.0)), P95)
    assert found and found.whole == "±25 %"
    assert certainty.holds(Metric(value=4.0, unit="seconds", n=1), P95) is None


def between(runs, prior=False, ci95=(1.0, 2.0)):
    of = None if runs is None else Between(sd=0.1, runs=runs, prior=prior)
    return Metric(value=1.5, unit="seconds", n=5, ci95=ci95, between=of)


@pytest.mark.parametrize(
    ("metrics", "text"),
    [
        ([between(17), between(17)], "learned from 17 runs."),
        ([between(17), between(12), between(None)], "learned from 12 to 17 runs."),
        ([between(17), between(2, prior=True)], "learned from 17 runs, assumed where there are too few yet."),
        ([between(2, prior=True)], "assumed, there are too few yet."),
    ],
)
def test_a_table_says_once_where_the_scatter_between_runs_comes_from(metrics, text):
    assert certainty.learned(metrics) == f"The intervals hold what differs between runs too: {text}"


def test_of_intervals_of_one_run_nothing_is_said():
    assert certainty.learned([between(None), between(17, ci95=None)]) is None


def test_what_disturbed_the_host_is_told_once_for_all_that_it_disturbed():
    records = [
        record(BUSY),
        record(BUSY, variant="hnsw"),
        record(BUSY + ".", "gpu"),
        record(),
        record("steal time of 30 %"),
    ]
    assert certainty.disturbances(records) == [
        f"Hybrid ANN on cpu, Hybrid ANN on gpu: {BUSY}", "Hybrid ANN on cpu: steal time of 30 %",
    ]  # fmt: skip
    assert certainty.disturbances([Record(benchmark="b", variant="v", device="cpu", status="skipped")]) == []


def test_of_a_disturbed_night_what_has_to_do_with_time_is_doubtful():
    assert certainty.doubtful(record(BUSY), P95)
    assert not certainty.doubtful(record(BUSY), RECALL)
    assert not certainty.doubtful(record(BUSY), all_specs()["index_bytes"])
    assert not certainty.doubtful(record(), P95)
    reused = record(BUSY)
    reused.facts.earlier = {"build_seconds": "2026-11-21T02:00:00Z"}
    assert not certainty.doubtful(reused, all_specs()["build_seconds"]), "an earlier run took it"
    assert certainty.doubtful(record(BUSY), all_specs()["build_seconds"])


def test_inconclusive_is_called_undecided():
    assert [certainty.word(of) for of in ("pass", "breach", "inconclusive", "invalid", "running")] == [
        "pass", "breach", "undecided", "invalid", "running",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("seen", "text"),
    [
        ({"others": 0.04, "cores": 2}, "other programs took 0.0 of 2 cores"),
        (
            {"others": 0.87, "cores": 2, "at_full_speed": 0.62, "slowdown": 1.58, "stolen": 0.04, "throttled": 0.004, "hot": 0.2},
            "other programs took 0.9 of 2 cores · at full speed 62 % of the time, else 1.6 × slower · "
            "4 % taken by the hypervisor · 20 % slowed for heat",
        ),
        ({"others": 0.1, "cores": 4, "at_full_speed": 1.0, "slowdown": None}, "other programs took 0.1 of 4 cores · at full speed 100 % of the time"),
        ({"cores": 2}, None),
    ],
)  # fmt: skip
def test_how_the_host_was_meanwhile(seen, text):
    made = record()
    made.facts.noise = Noise(**seen)
    assert certainty.host(made) == text


def test_what_a_shared_host_tolerates_is_told_apart():
    made = record()
    made.facts.noise = Noise(tolerated=BUSY)
    assert (certainty.disturbances([made]), certainty.tolerances([made])) == ([], [f"Hybrid ANN on cpu: {BUSY}"])
