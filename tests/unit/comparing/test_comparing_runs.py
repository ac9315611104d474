"""Two runs, by what runs of their series differ by anyway."""

from __future__ import annotations

import pytest
from support.compared import HOST, side_by_side
from support.specs import add

from nightgate.facts import Noise
from nightgate.record import Between, Record


def nights_of(night, *values, name="latency_p95", between=None, disturbed=None, n=3000, own=0.01):
    """One run of a strategy for each value, as it is judged: with what its series differs by."""
    made = []
    for run_id, value in zip("ab", values, strict=True):
        record = Record(benchmark="hybrid_ann", variant="hybrid", device="cpu", status="measured", host=HOST)
        ends = own and (value * (1 - own), value * (1 + own))
        add(record, name, value, n, ends or None)
        if between:
            metric = record.metrics[name]
            metric.between, metric.within95 = between, metric.ci95
            metric.ci95 = (value * 0.8, value * 1.2)
        record.facts.noise = Noise(disturbed=disturbed if run_id == "b" else None)
        made.append(night(run_id, (record, {})))
    return made


def finding(found):
    comparison, rows = found
    return rows["latency_p95"].finding, " ".join(comparison.notes)


def test_runs_that_differ_by_no_more_than_runs_of_the_series_do_are_not_told_apart(night):
    """Fourteen identical runs of a host that flips between two speeds scattered by 17 %, and were "faster, 1.3 ×"."""
    scattered, steady = (Between(sd=sd, runs=17, prior=False) for sd in (0.14, 0.02))
    said, notes = finding(side_by_side(*nights_of(night, 0.001, 0.0013, between=scattered)))
    assert said == "no difference can be told"
    assert notes == "What whole runs differ by is in every interval, learned from 17 runs of the series."
    assert finding(side_by_side(*nights_of(night, 0.001, 0.0013, between=steady)))[0].startswith(
        "before is faster, 1.30 ×"
    )
    assert finding(side_by_side(*nights_of(night, 0.001, 0.00102, between=steady)))[0] == "no difference can be told"


@pytest.mark.parametrize(
    ("before", "after", "said"),
    [
        (0.0009, 0.00095, "cannot be told: it may be the host, at full speed no difference can be told"),
        (0.0009, 0.0018, "before is faster, 2"), (0.0009, None, "before is faster, 2"), (None, None, "before is faster, 2"),
    ],
)  # fmt: skip
def test_what_a_host_that_flips_does_to_a_latency_is_no_difference(night, before, after, said):
    """A host that was at full speed beside 19 % of the queries, and half a minute later beside 96 %: P95 408 and 193 µs, at full speed
    252 and 187."""
    known = Between(sd=0.05, runs=17, prior=False)
    runs = nights_of(night, 0.001, 0.002, between=known)
    for run, value in zip(runs, (before, after), strict=True):
        if value:
            add(run.results[0], "latency_p95_fast", value, 3000, (value * 0.99, value * 1.01))
            metric = run.results[0].metrics["latency_p95_fast"]
            metric.between, metric.within95 = known, metric.ci95
    assert finding(side_by_side(*runs))[0].startswith(said)


@pytest.mark.parametrize("between", [None, Between(sd=0.05, runs=2, prior=True)])
def test_while_too_few_runs_are_known_only_large_differences_are_told(night, between):
    said, notes = finding(side_by_side(*nights_of(night, 0.001, 0.0014, between=between)))
    assert said == "no difference can be told"
    assert "only large differences can be told" in notes
    assert finding(side_by_side(*nights_of(night, 0.001, 0.0021, between=between)))[0].startswith(
        "before is faster, 2.1 ×"
    )


def test_a_single_number_tells_nothing_until_its_series_is_known(night):
    alone = {"name": "index_bytes", "n": 1, "own": 0}
    _, rows = side_by_side(*nights_of(night, 1e6, 1.01e6, **alone))
    assert rows["index_bytes"].finding == "cannot be told: no interval, and too few runs are known"
    _, rows = side_by_side(*nights_of(night, 1e6, 1e6, **alone))
    assert rows["index_bytes"].finding == "the same"
    known = Between(sd=0.001, runs=17, prior=False)
    _, rows = side_by_side(*nights_of(night, 1e6, 1.1e6, between=known, **alone))
    assert rows["index_bytes"].finding.startswith("before takes less, 1.1")


def test_speeds_of_a_disturbed_night_are_not_compared_and_recall_is(night):
    runs = nights_of(night, 0.001, 0.004, disturbed="another program kept 0.9 of 2 cores busy")
    for run, recall in zip(runs, (0.95, 0.75), strict=True):
        add(run.results[0], "recall_at_100", recall, 200, (recall - 0.01, recall + 0.01))
    found, rows = side_by_side(*runs)
    assert rows["latency_p95"].finding == "cannot be told: a disturbed host"
    assert rows["recall_at_100"].finding.startswith("before finds more")
    assert "The host of after was disturbed, so its speeds are not compared: another program" in " ".join(found.notes)
