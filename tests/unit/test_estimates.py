"""Intervals: known ranks, and coverage by simulation."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
from scipy.stats import binomtest

from nightgate.measure import estimates


def test_the_ranks_of_a_p95_from_1000_samples():
    # two-sided 95 %: binom.ppf(.025, 1000, .95) = 936 and binom.ppf(.975, 1000, .95) + 1 = 964
    value, n, interval = estimates.quantile(np.arange(1, 1001), 0.95)
    assert (value, n, interval) == (951, 1000, (936, 964))


def test_too_few_samples_have_no_interval():
    assert estimates.quantile(np.arange(50.0), 0.95)[2] is None
    assert estimates.quantile(np.arange(200.0), 0.99)[2] is None


def test_repeating_the_same_queries_does_not_narrow_the_interval():
    once = np.random.default_rng(0).exponential(size=1000)
    _, n, repeated = estimates.quantile(np.tile(once, (5, 1)), 0.95)
    assert n == 5000
    width, alone = (high - low for low, high in (repeated, estimates.quantile(once, 0.95)[2]))
    assert width == pytest.approx(alone, rel=0.1)


def passes(chance, of_queries=0.15, of_calls=0.1, of_passes=0.0, of_processes=0.0, queries=400):
    """Six passes over the same queries by two processes; the logarithms are normal."""
    parts = (
        chance.normal(0, of_queries, queries), chance.normal(0, of_calls, (6, queries)), chance.normal(0, of_passes, (6, 1)),
        chance.normal(0, of_processes, 2)[[0, 0, 0, 1, 1, 1]][:, None],
    )  # fmt: skip
    return np.exp(sum(parts))


@pytest.mark.parametrize("q", [0.5, 0.95])
@pytest.mark.parametrize(("of_queries", "of_calls", "most"), [(0.15, 0.1, 0.985), (0.02, 0.2, 1.0)])
def test_with_inputs_as_clusters_the_interval_of_passes_covers_the_quantile_of_all_inputs(
    q, of_queries, of_calls, most
):
    chance, held, widths = np.random.default_rng(3), [], []
    truth = np.exp({0.5: 0.0, 0.95: 1.6448536}[q] * np.hypot(of_queries, of_calls))
    for _ in range(300):
        calls = passes(chance, of_queries, of_calls)
        low, high = estimates.quantile(calls, q)[2]
        held.append(low <= truth <= high)
        ranks = estimates.quantile(calls[0], q)[2]
        widths.append((high - low) / (ranks[1] - ranks[0]))
    assert 0.93 <= np.mean(held) <= most
    assert np.median(widths) < 1, "six passes know more than one"


def test_processes_that_differ_widen_the_interval():
    calls = passes(np.random.default_rng(4), of_processes=0.03)
    low, high = estimates.quantile(calls, 0.5)[2]
    wide = estimates.quantile(calls, 0.5, processes=(7, 7, 7, 2, 2, 2))[2]
    assert wide[0] < low < high < wide[1]
    assert estimates.quantile(calls, 0.5, processes=(0, 0, 1, 1, 2, 2))[2] != wide


def test_permuting_the_inputs_changes_nothing_and_scaling_scales():
    chance = np.random.default_rng(5)
    for q in (0.05, 0.5, 0.95):
        calls = passes(chance)
        value, n, (low, high) = estimates.quantile(calls, q, processes=(0, 0, 0, 1, 1, 1))
        assert estimates.quantile(chance.permutation(calls, axis=1), q, processes=(0, 0, 0, 1, 1, 1)) == (
            value,
            n,
            (low, high),
        )
        assert estimates.quantile(calls * 4, q, processes=(0, 0, 0, 1, 1, 1)) == (4 * value, n, (4 * low, 4 * high))


def test_a_call_that_does_not_count_is_left_out():
    calls = passes(np.random.default_rng(6))
    holed = calls.copy()
    holed[chosen := np.random.default_rng(7).random(calls.shape) < 0.4] = np.nan
    value, n, (low, high) = estimates.quantile(holed, 0.5)
    assert n == int((~chosen).sum()) and low < value < high
    assert value == np.quantile(calls[~chosen], 0.5, method="higher")
    mean, n, ends = estimates.mean_of_passes(holed)
    assert (mean, n) == (pytest.approx(calls[~chosen].mean()), int((~chosen).sum())) and ends[0] < mean < ends[1]


def test_what_comes_from_the_inputs_is_told_apart_from_noise():
    chance = np.random.default_rng(8)
    assert estimates.shared(np.tile(passes(chance)[:1], (4, 1)), 0.95) == 1
    assert estimates.shared(passes(chance, of_queries=0.0), 0.95) < 0.4
    assert 0.6 < estimates.shared(passes(chance, 0.15, 0.1, queries=2000), 0.95) < 0.9
    assert estimates.shared(passes(chance, 0.0, 0.1, 0.0, 0.2), processes=(0, 0, 0, 1, 1, 1)) < 0.02
    assert estimates.shared(np.ones((3, 5))) == 0


def test_a_mean_of_passes_is_as_sure_as_its_inputs():
    calls = np.array([[10.0, 11, 12, 13, 14, 15], [12, 13, 14, 15, 16, 17]])
    value, n, (low, high) = estimates.mean_of_passes(np.tile(calls.mean(axis=0), (4, 1)))
    alone = estimates.mean(calls.mean(axis=0))
    assert (value, n) == (13.5, 24)
    assert (low, high) == (pytest.approx(alone[2][0]), pytest.approx(alone[2][1]))
    # two passes that are apart: their means 12.5 and 14.5, s = √2, s/√2 = 1, t of the six inputs
    apart = estimates.mean_of_passes(calls)[2]
    assert apart == (pytest.approx(13.5 - 2.570582), pytest.approx(13.5 + 2.570582))
    assert estimates.mean_of_passes(calls[:, :4])[2] is None


def test_processes_that_differ_decide_the_interval_of_a_ratio_of_sums():
    seconds = np.array([7.7, 7.9, 7.8, 6.2, 6.5])
    value, n, (low, high) = estimates.ratio_of_sums(seconds, 100.0, processes=(3, 3, 3, 9, 9))
    # Σ of residuals 1.74 and −1.74 of sums 23.4 and 12.7 around 7.22: variance (2·1.74²)/5²·2 = 0.484416
    half = 1.959964 * 0.484416**0.5 / 100
    assert (value, n) == (pytest.approx(0.0722), 5)
    assert (low, high) == (pytest.approx(0.0722 - half), pytest.approx(0.0722 + half))
    assert estimates.ratio_of_sums(seconds, 100.0)[2][1] < high
    alike = np.array([7.7, 7.9, 7.8, 7.6, 8.0])
    assert estimates.ratio_of_sums(alike, 100.0, processes=(0, 0, 0, 1, 1)) == estimates.ratio_of_sums(alike, 100.0)


@pytest.mark.parametrize("q", [0.5, 0.95])
def test_the_interval_covers_the_true_quantile_as_often_as_it_says(q):
    rng, covered = np.random.default_rng(1), 0
    truth = -np.log(1 - q)
    for _ in range(400):
        low, high = estimates.quantile(rng.exponential(size=300), q)[2]
        covered += low <= truth <= high
    assert covered / 400 >= 0.93


def test_mean_and_ratio_of_sums():
    value, n, (low, high) = estimates.mean(np.array([1.0, 2, 3, 4, 5]))
    assert (value, n) == (3.0, 5)
    assert low == pytest.approx(3 - 2.776445 * 1.5811388 / 5**0.5, rel=1e-6)
    assert high == pytest.approx(6 - low)
    value, n, interval = estimates.ratio_of_sums(np.array([2.0, 2.0, 2.0]), 8.0)
    assert (value, n, interval) == (0.25, 3, (0.25, 0.25))
    assert estimates.ratio_of_sums(np.array([2.0, 2.0]), 8.0)[2] is None


ERRORS, WORDS = np.array([3, 0, 5, 1, 2, 0]), np.array([20, 31, 44, 12, 25, 18])


def test_a_rate_over_clips_is_the_exact_bootstrap_or_students_t_whichever_is_wider():
    every = np.array(list(itertools.product(range(6), repeat=6)))  # all 46,656 resamples, where the product draws some
    rates = ERRORS[every].sum(axis=1) / WORDS[every].sum(axis=1)
    residuals = (ERRORS - 11 / 150 * WORDS) / 25
    half = 2.570582 * residuals.std(ddof=1) / 6**0.5  # t of 5 degrees of freedom
    value, n, (low, high) = estimates.rate_over_clips(ERRORS, WORDS)
    assert (value, n) == (pytest.approx(11 / 150), 150)
    assert low == pytest.approx(min(np.quantile(rates, 0.025), 11 / 150 - half), abs=1e-3)
    assert high == pytest.approx(max(np.quantile(rates, 0.975), 11 / 150 + half), abs=1e-3)
    assert high > np.quantile(rates, 0.975) + 0.005, "with six clips the bootstrap alone is too narrow"


def test_a_skewed_rate_is_as_wide_as_its_bootstrap():
    errors, words = np.array([0, 0, 0, 0, 0, 0, 0, 0, 0, 40]), np.array([10] * 9 + [400])
    every = np.random.default_rng(3).integers(0, 10, (200_000, 10))
    low = np.quantile(errors[every].sum(axis=1) / words[every].sum(axis=1), 0.025)
    assert estimates.rate_over_clips(errors, words)[2][0] == pytest.approx(low, abs=2e-3)


def test_clips_without_errors_still_leave_a_doubt():
    value, n, (low, high) = estimates.error_rate(np.zeros(14, int), np.full(14, 60))
    assert (value, n, low) == (0, 840, 0)
    assert high == pytest.approx(binomtest(0, 840).proportion_ci(method="wilson").high)


def test_an_error_rate_is_never_narrower_than_its_words_allow():
    errors = np.array([6, 6, 6, 6, 6])  # the same in each clip: bootstrap and t have no width
    _, n, (low, high) = estimates.error_rate(errors, np.full(5, 100))
    wilson = binomtest(30, 500).proportion_ci(method="wilson")
    assert (n, low, high) == (500, pytest.approx(wilson.low), pytest.approx(wilson.high))


def test_an_error_rate_may_exceed_one_but_never_falls_below_zero():
    value, _, (low, high) = estimates.error_rate(np.array([30, 25, 20, 35, 22]), np.full(5, 20))
    assert value == 1.32
    assert low < 1.32 < high
    assert estimates.error_rate(np.array([1, 0, 0, 0, 0]), np.full(5, 20))[2][0] == 0


def test_fewer_than_five_clips_have_a_rate_but_no_interval():
    assert estimates.error_rate(np.array([1, 2, 0, 1]), np.full(4, 10)) == (0.1, 40, None)


def test_the_same_clips_give_the_same_interval_and_many_clips_fit_into_memory():
    skewed = np.array([0, 1, 0, 2, 0, 1, 0, 0, 1, 40]), np.array([31, 22, 43, 54, 35, 26, 37, 28, 49, 400])
    # the bootstrap decides its lower end: the resamples without the last clip
    assert estimates.rate_over_clips(*skewed) == estimates.rate_over_clips(*skewed)
    many = estimates.error_rate(np.tile(ERRORS, 500), np.tile(WORDS, 500))[2]
    assert many[1] - many[0] < 0.01


@pytest.mark.parametrize(
    ("errors", "words"),
    [([], []), ([1] * 5, [0] * 5), ([1] * 5, [10, 10]), ([[1]], [[5]]), ([1] * 5, [9, 9, 9, 9, -1])],
)
def test_what_has_no_words_at_all_has_no_rate(errors, words):
    with pytest.raises(ValueError, match="a size above 0"):
        estimates.error_rate(np.array(errors), np.array(words))


SILENT = np.array([0, 3, 0]), np.zeros(3, int)
"""Three clips in which nobody speaks; in one of them three words are heard."""


def test_a_clip_without_words_adds_its_insertions():
    errors, words = (np.concatenate(pair) for pair in zip((ERRORS, WORDS), SILENT, strict=True))
    value, n, (low, high) = estimates.rate_over_clips(errors, words)
    assert (value, n) == (pytest.approx(14 / 150), 150)
    rng = np.random.default_rng(7)
    drawn = rng.integers(0, 9, (400_000, 9))
    sizes = words[drawn].sum(axis=1)
    rates = errors[drawn].sum(axis=1)[sizes > 0] / sizes[sizes > 0]
    residuals = errors - 14 / 150 * words
    half = 2.570582 * residuals.std(ddof=1) / (150 / 9) / 9**0.5  # t of the six clips that have words
    assert low == pytest.approx(min(np.quantile(rates, 0.025), 14 / 150 - half), abs=2e-3)
    assert high == pytest.approx(max(np.quantile(rates, 0.975), 14 / 150 + half), abs=4e-3)


def test_a_clip_without_words_is_none_of_the_five_that_an_interval_needs():
    four = np.array([1, 2, 0, 1, 0, 0, 2]), np.array([10, 10, 10, 10, 0, 0, 0])
    assert estimates.error_rate(*four) == (pytest.approx(6 / 40), 40, None)
    five = np.array([1, 2, 0, 1, 1, 0, 2]), np.array([10, 10, 10, 10, 11, 0, 0])
    value, n, (low, high) = estimates.error_rate(*five)
    assert (value, n) == (pytest.approx(7 / 51), 51)
    assert low < 7 / 51 < high


def test_resamples_of_silence_alone_have_no_rate_and_leave_no_nan():
    words = np.array([12, 9, 14, 8, 11] + [0] * 60)
    errors = np.array([1, 0, 2, 1, 0] + [0] * 59 + [1])
    with np.errstate(all="raise"):
        _, n, (low, high) = estimates.rate_over_clips(errors, words)
    assert n == 54
    assert np.isfinite([low, high]).all()
    with np.errstate(all="raise"):
        assert len(estimates._resampled_rates(np.ones(30), np.array([1] + [0] * 29))) == pytest.approx(
            10_000 * (1 - (29 / 30) ** 30), rel=0.03
        )


def test_the_bootstrap_draws_ten_thousand_times_whatever_the_number_of_clips():
    for clips in (5, 1000, 3_000_000 // 1000):
        assert len(estimates._resampled_rates(np.ones(clips), np.ones(clips))) == 10_000


@pytest.mark.parametrize(("clips", "least"), [(6, 0.88), (14, 0.90), (40, 0.91)])
def test_the_interval_of_an_error_rate_covers_the_truth(clips, least):
    rng, covered = np.random.default_rng(4), 0
    for _ in range(200):  # some clips are harder than others
        words = rng.integers(10, 120, clips)
        errors = rng.poisson(words * 0.06 * rng.lognormal(-0.125, 0.5, clips))
        low, high = estimates.error_rate(errors, words)[2]
        covered += low <= 0.06 <= high
    assert covered / 200 >= least
