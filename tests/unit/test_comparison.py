"""Is a difference real? Against scipy, against exhaustive resampling, and by how often it is wrong."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy.stats import ttest_ind

from nightgate.judge import comparison
from nightgate.measure import estimates
from nightgate.record import Between, Metric
from nightgate.vector_search.metrics import INDEX_BYTES, LATENCY, RECALL

P95 = LATENCY[95]

SLOW, FAST = np.array([0.125, 0.121, 0.130, 0.127, 0.124]), np.array([0.081, 0.079, 0.084, 0.080])


def metric(value, ci95=None, unit="ratio"):
    return Metric(value=value, unit=unit, n=5, ci95=ci95)


@pytest.mark.parametrize(("first", "second"), [(SLOW, FAST), (FAST, SLOW), (SLOW, SLOW * [1.03, 0.99, 1.02, 1, 1.01])])
def test_speeds_agree_with_scipys_welch(first, second):
    found = comparison.speeds(first, second)
    scipys = ttest_ind(np.log(second), np.log(first), equal_var=False)
    assert found.value == pytest.approx(np.exp(np.log(second).mean() - np.log(first).mean()))
    assert found.interval == pytest.approx(tuple(np.exp(scipys.confidence_interval(0.99))))
    assert found.real == (scipys.pvalue < 0.01)
    assert (found.scale, found.reason) == ("ratio", None)


def test_a_ratio_does_not_depend_on_the_unit():
    assert comparison.speeds(SLOW * 1e9, FAST * 1e9).interval == pytest.approx(comparison.speeds(SLOW, FAST).interval)


@pytest.mark.filterwarnings("ignore:Precision loss")
def test_one_side_without_any_scatter_can_be_compared():
    found = comparison.speeds(np.full(3, 0.1), SLOW)
    assert found.real
    assert found.interval == pytest.approx(
        tuple(np.exp(ttest_ind(np.log(SLOW), np.log([0.1] * 3), equal_var=False).confidence_interval(0.99)))
    )


@pytest.mark.parametrize(
    ("first", "second", "reason"),
    [
        ([0.1, 0.2], SLOW, "2 repeats are too few"),
        (SLOW, [0.1], "1 repeats"),
        ([0.1] * 7, [0.2] * 7, "no repeat differs"),
    ],
)
def test_what_cannot_be_told_says_why(first, second, reason):
    found = comparison.speeds(np.array(first), np.array(second))
    assert (found.real, found.interval) == (None, None)
    assert found.value == pytest.approx(np.exp(np.log(second).mean() - np.log(first).mean()))
    assert reason in found.reason


@pytest.mark.parametrize("bad", [[0.1, 0.0, 0.1], [0.1, float("nan"), 0.1], [], [[0.1, 0.1, 0.1]], [0.1, -1, 0.1]])
@pytest.mark.filterwarnings("ignore:.*encountered in log")
def test_a_time_that_is_none_is_refused(bad):
    with pytest.raises(ValueError, match="finite times above 0"):
        comparison.speeds(SLOW, np.array(bad))


def test_speeds_are_called_different_as_rarely_as_they_say_and_the_interval_holds_the_truth():
    rng, wrong, covered = np.random.default_rng(0), 0, 0
    for _ in range(600):  # unequal scatter and size: where Student's own test fails
        first, second = np.exp(rng.normal(0, 0.01, 5)), np.exp(rng.normal(0, 0.05, 3))
        wrong += comparison.speeds(first, second).real
        low, high = comparison.speeds(first, second * 1.2).interval
        covered += low <= 1.2 <= high
    assert wrong / 600 <= 0.02
    assert covered / 600 >= 0.98


WORDS = np.array([20, 31, 44, 12, 25, 18])
ERRORS = np.array([3, 0, 5, 1, 2, 0])


def test_the_same_clips_are_compared_in_pairs():
    other = ERRORS + np.array([1, 1, 2, 1, 1, 1])
    every = np.array(list(itertools.product(range(6), repeat=6)))
    exact = np.quantile((other - ERRORS)[every].sum(axis=1) / WORDS[every].sum(axis=1), [0.005, 0.995])
    found = comparison.error_rates(ERRORS, other, WORDS)
    assert found.value == pytest.approx(7 / 150)
    assert found.interval[0] <= exact[0] + 1e-3
    assert found.interval[1] >= exact[1] - 1e-3
    assert found.interval[1] - found.interval[0] < 2 * (exact[1] - exact[0])
    assert (found.real, found.scale) == (True, "difference")
    turned = comparison.error_rates(other, ERRORS, WORDS)
    assert (turned.value, turned.real) == (pytest.approx(-7 / 150), True)


def test_hard_clips_hide_a_difference_only_from_who_does_not_pair():
    rng = np.random.default_rng(2)
    words = rng.integers(20, 100, 30)
    hard = rng.poisson(words * rng.exponential(0.1, 30))
    other = hard + rng.poisson(words * 0.02)
    assert comparison.error_rates(hard, other, words).real


def test_equal_transcripts_do_not_differ():
    found = comparison.error_rates(ERRORS, ERRORS, WORDS)
    assert (found.value, found.real) == (0, False)


def test_a_few_clips_cannot_tell():
    found = comparison.error_rates(ERRORS[:4], ERRORS[:4] + 1, WORDS[:4])
    assert (found.real, found.reason) == (None, "4 clips are too few")


@pytest.mark.parametrize("clips", [6, 14, 30])
def test_error_rates_are_called_different_as_rarely_as_they_say(clips):
    rng, wrong = np.random.default_rng(1), 0
    for _ in range(300):
        words = rng.integers(10, 120, clips)
        expected = words * 0.06 * rng.lognormal(0, 0.5, clips)
        shared = rng.poisson(expected * 0.7)  # both stumble over the same words
        first, second = shared + rng.poisson(expected * 0.3), shared + rng.poisson(expected * 0.3)
        wrong += comparison.error_rates(first, second, words).real
    assert wrong / 300 <= 0.08  # the percentile bootstrap alone: 0.13 with six clips


def test_a_ratio_has_the_interval_that_the_two_it_is_made_of_allow():
    value, interval = comparison.ratio(metric(2.0, (1.8, 2.5)), metric(10.0, (9.0, 10.4)))
    below, above = np.hypot(np.log(10 / 9), np.log(2.5 / 2)), np.hypot(np.log(1.04), np.log(2 / 1.8))
    assert value == 5
    assert interval == pytest.approx((5 * np.exp(-below), 5 * np.exp(above)))
    for one, other in ((metric(2.0), metric(3.0, (2, 4))), (metric(2.0, (1, 3)), metric(3.0, (0, 4)))):
        assert comparison.ratio(one, other) == (1.5, None)


def test_the_interval_of_a_ratio_holds_the_true_one_as_often_as_it_says():
    rng, held = np.random.default_rng(2), 0
    for _ in range(400):
        slow, fast = (
            metric(*estimates.mean(rng.normal(centre, spread, 12))[::2])
            for centre, spread in ((6.0, 0.9), (2.0, 0.2))
        )  # fmt: skip
        low, high = comparison.ratio(fast, slow)[1]
        held += low <= 3 <= high
    assert 0.92 <= held / 400 <= 0.985


# two runs


def run_of(value, half, sd=None, runs=30, spec=P95, shared=None):
    """A judged metric: the interval of the run alone is ±``half`` of it, and runs of its series differ by ``sd``."""
    own = (value * (1 - half), value * (1 + half))
    between = Between(sd=sd, runs=runs, prior=False) if sd is not None else None
    ci95 = own if sd is None else (value * (1 - 9 * half), value * (1 + 9 * half))
    return Metric(value=value, unit=spec.unit, n=900, ci95=ci95, within95=own if between else None, between=between)


def test_two_runs_differ_when_more_than_runs_anyway():
    calm, wild = run_of(1.0, 0.01, 0.02), run_of(1.0, 0.01, 0.08)
    found = comparison.between_runs(calm, run_of(1.1, 0.01, 0.02), P95)
    assert (found.scale, found.value, found.real) == ("ratio", pytest.approx(1.1), True)
    # t of the 24.9 degrees of freedom of 30 nights is 2.788 at 99 %: √(2·(2.576/1.96·.01)² + 2·(2.788·.02)²) = .0810
    assert found.interval == (
        pytest.approx(1.1 * np.exp(-0.0810), rel=1e-3),
        pytest.approx(1.1 * np.exp(0.0810), rel=1e-3),
    )
    assert comparison.between_runs(wild, run_of(1.1, 0.01, 0.08), P95).real is False
    assert comparison.between_runs(calm, run_of(1.02, 0.01, 0.02), P95).real is False
    turned = comparison.between_runs(run_of(1.1, 0.01, 0.02), calm, P95)
    assert turned.real and turned.value == pytest.approx(1 / 1.1)


def test_any_two_runs_are_compared_by_what_all_of_the_series_differ_by():
    def told(apart, farthest, value=1.3):
        runs = [run_of(1.0, 0.01, 0.02), run_of(value, 0.01, 0.02)]
        runs[1].between = runs[1].between.model_copy(update={"apart": apart, "farthest": farthest})
        return comparison.between_runs(*runs, P95)

    assert told(None, None).real and told(0.02, 0.2).real
    wide = told(0.2, 0.0)
    assert wide.real is False
    assert math.log(wide.interval[1] / 1.3) == pytest.approx(math.hypot(2.788 * 0.02, 2.788 * 0.2, 0.0186), rel=0.01)
    far = told(0.02, 0.27)  # one of them was once off by as much: log 1.3 is .262
    assert far.real is False and math.log(1.3 / far.interval[0]) == pytest.approx(math.hypot(0.27, 0.02), rel=0.01)
    assert told(0.02, 0.27, value=1 / 1.3).real is False
    assert told(0.01, 0.0).interval == told(None, None).interval, "never below what neighbours differ by"


def test_runs_of_which_nothing_is_known_are_assumed_to_differ():
    assert comparison.between_runs(run_of(1.0, 0.01), run_of(1.1, 0.01), P95).real is False
    assert comparison.between_runs(run_of(1.0, 0.01), run_of(1.4, 0.01), P95).real is True
    recall = comparison.between_runs(
        run_of(0.95, 0.002, spec=RECALL[5]), run_of(0.90, 0.002, spec=RECALL[5]), RECALL[5]
    )
    assert (recall.scale, recall.value, recall.real) == ("difference", pytest.approx(-0.05), True)


def test_what_has_no_interval_and_no_scatter_cannot_be_told_apart():
    size = Metric(value=9.0, unit="bytes", n=1)
    found = comparison.between_runs(size, size.model_copy(update={"value": 10.0}), INDEX_BYTES)
    assert (found.real, found.reason, found.value) == (None, "neither is known to scatter", pytest.approx(10 / 9))
    few = Metric(value=1.0, unit="seconds", n=3)
    assert comparison.between_runs(few, run_of(1.1, 0.01), P95).reason == "no interval"
    nought = comparison.between_runs(run_of(1.0, 0.1), Metric(value=0.0, unit="seconds", n=1), P95)
    assert (nought.scale, nought.value, nought.real) == ("difference", -1.0, None)


@pytest.mark.parametrize("sd", [0.0, 0.03, 0.08])
def test_pairs_of_identical_runs_are_rarely_called_different(sd):
    rng, called = np.random.default_rng(9), 0
    for _ in range(400):
        first, second = (run_of(np.exp(rng.normal(0, np.hypot(sd, 0.01))), 0.0196, max(sd, 0.011)) for _ in range(2))
        called += bool(comparison.between_runs(first, second, P95).real)
    assert called / 400 <= 0.02


# two variants that took turns


def test_what_disturbs_a_round_disturbs_both_and_falls_out():
    rng = np.random.default_rng(10)
    state = np.where(rng.random(20) < 0.5, 1.0, 1.6)
    first, second = state * np.exp(rng.normal(0, 0.01, 20)), 0.95 * state * np.exp(rng.normal(0, 0.01, 20))
    found = comparison.paired(first, second)
    assert found.real and found.value == pytest.approx(0.95, rel=0.01) and found.scale == "ratio"
    low, high = found.interval
    assert 0.93 < low < found.value < high < 0.97
    assert comparison.speeds(first, second).real is False, "unpaired, the states hide it"
    turned = comparison.paired(second, first)
    assert turned.interval == (pytest.approx(1 / high), pytest.approx(1 / low))


def test_pairs_by_hand_and_too_few_of_them():
    logs = np.array([1.0, 2, 3, 4, 5])  # mean 3, s = 1.5811, t of 4 = 4.604095 at 99 %, half = 3.25560
    found = comparison.paired(np.ones(5), np.exp(logs))
    assert found.interval == (pytest.approx(np.exp(3 - 3.2556), rel=1e-4), pytest.approx(np.exp(3 + 3.2556), rel=1e-4))
    few = comparison.paired(np.ones(4), np.exp(logs[:4]))
    assert (few.real, few.reason) == (None, "4 rounds are too few, 5 are needed")
    assert comparison.paired(np.ones(5), np.full(5, 2.0)).reason == "no round differs from another"


@pytest.mark.parametrize(
    "bad", [([1.0, 2.0], [1.0]), ([], []), ([1.0, 0.0], [1.0, 1.0]), ([[1.0]], [[1.0]]), ([1.0], [np.nan])]
)
@pytest.mark.filterwarnings("ignore:.*encountered in log")
def test_what_makes_no_pairs_is_refused(bad):
    with pytest.raises(ValueError, match="pairs are as many values above 0"):
        comparison.paired(*map(np.array, bad))
