"""Estimates to the last rank: values from tables of the literature, and samples in which every rank differs."""

from __future__ import annotations

import math

import numpy as np
import pytest

from nightgate.measure import estimates

MIXED = np.random.default_rng(5)


def ranks(count: int) -> np.ndarray:
    """1.0 … count in no order, so that an estimate names the rank it took."""
    return MIXED.permutation(np.arange(1.0, count + 1))


@pytest.mark.parametrize(
    ("count", "q", "value", "interval"),
    [
        # Hahn & Meeker 1991, table A.15: order statistics of the median
        (5, 0.5, 3, None),
        (6, 0.5, 4, (1, 6)),
        (9, 0.5, 5, (2, 8)),
        (10, 0.5, 6, (2, 9)),
        # 0.95 ** 72 < 0.025 < 0.95 ** 71: the largest of 72 is the first that bounds the P95 from above
        (71, 0.95, 68, None),
        (72, 0.95, 69, (64, 72)),
        (72, 0.05, 5, (1, 9)),
        (71, 0.05, 5, None),
        (300, 0.99, 298, None),
        (400, 0.99, 397, (392, 400)),
    ],
)
def test_ranks_of_a_quantile(count, q, value, interval):
    assert estimates.quantile(ranks(count), q) == (value, count, interval)


def test_an_interval_of_a_quantile_is_numbers_of_python():
    value, n, (low, high) = estimates.quantile(np.array([[3, 1, 2, 6, 5, 4]]), 0.5)
    assert [type(x) for x in (value, n, low, high)] == [float, int, float, float]


def test_ends_of_a_median_of_passes_by_hand():
    """Queries 1 … 8 in two passes, the second ten higher: 1 … 8, 11 … 18. The median is 11; 7 of 16 calls are above it."""
    calls = np.array([[1.0, 2, 3, 4, 5, 6, 7, 8], [11, 12, 13, 14, 15, 16, 17, 18]])
    value, n, interval = estimates.quantile(calls, 0.5)
    # of inputs: one of two calls of seven of the eight is above, variance (7/8·1/8)/4/7 = .0039, half = 1.96·√.0039 = .122:
    # ranks 6 and 10. The medians of the passes are 5 and 15: half = 1.96·ln 3/√2/√2 = 1.0766 on logarithms, which is wider
    assert (value, n) == (11, 16)
    assert interval == pytest.approx((11 / math.exp(1.07663), 11 * math.exp(1.07663)), rel=1e-5)
    even = np.array([[1.0, 12, 3, 14, 5, 16, 7, 18], [11, 2, 13, 4, 15, 6, 17, 8]])
    # of passes: 4 and 3 above, residuals ±.5 of 8, 2·.25/256·2 = .0039; half = 1.96·.0625 = .1225: ranks 16·(.5 ± .1225)
    assert estimates.quantile(even, 0.5) == (11, 16, (6, 12))


def test_a_rank_is_no_rounded_fraction():
    # in floating point 1 / 49 * 49 is below 1, 126 / 138 * 138 below 126 and 55 / 90 * 90 above 55
    assert estimates.quantile(ranks(49), 0.1)[2] == (1, 10)
    assert estimates.quantile(ranks(138), 0.95)[2] == (126, 137)
    assert estimates.quantile(ranks(90), 0.5)[2] == (36, 55)


def test_the_mean_of_five_and_no_interval_of_four():
    assert estimates.mean(np.array([1.0, 2.0, 4.0, 9.0])) == (4.0, 4, None)
    value, n, (low, high) = estimates.mean(np.array([1.0, 2.0, 4.0, 9.0, 4.0]))
    # s = 3.0822, t of 4 degrees of freedom = 2.776445, s·t/√5 = 3.8271
    assert (value, n) == (4.0, 5)
    assert (low, high) == (pytest.approx(4 - 3.82707, abs=1e-4), pytest.approx(4 + 3.82707, abs=1e-4))
    assert [type(x) for x in (value, low, high)] == [float] * 3


def test_a_ratio_of_sums_of_three_and_no_interval_of_two():
    assert estimates.ratio_of_sums(np.array([1.0, 3.0]), 8.0) == (0.25, 2, None)
    value, n, (low, high) = estimates.ratio_of_sums(np.array([1.0, 2.0, 6.0]), 10.0)
    # ratios 0.1, 0.2, 0.6; s = 0.264575; t of 2 degrees of freedom = 4.302653; s·t/√3 = 0.657241
    assert (value, n) == (pytest.approx(0.3), 3)
    assert (low, high) == (pytest.approx(0.3 - 0.657241, abs=1e-5), pytest.approx(0.3 + 0.657241, abs=1e-5))


def test_many_clips_differ_as_students_t_says():
    """Even clips, whose bootstrap is a little narrower than t: the whole interval is then known by hand."""
    errors = np.array([1, 2, 3, 4, 5, 6])
    value, n, (low, high) = estimates.rate_over_clips(errors, np.full(6, 20))
    # residuals around 3.5 over 20: s = 0.0935414; t of 5 degrees of freedom = 2.570582; s·t/√6 = 0.0981658
    assert (value, n) == (0.175, 120)
    assert (low, high) == (pytest.approx(0.175 - 0.0981658, abs=1e-6), pytest.approx(0.175 + 0.0981658, abs=1e-6))
    assert [type(x) for x in (value, n, low, high)] == [float, int, float, float]


@pytest.mark.parametrize("turn", [1, -1])
def test_the_bootstrap_decides_on_the_side_where_it_is_wider(turn):
    """One clip in ten has all the errors: t is symmetric, the bootstrap knows that less than none is not possible."""
    errors, words = turn * np.array([0, 0, 0, 0, 0, 0, 0, 0, 0, 40]), np.array([10] * 9 + [400])
    inner, outer = sorted(estimates.rate_over_clips(errors, words)[2], key=abs)
    assert inner == 0, "a third of the resamples miss that clip, which is more than 2.5 %"
    # rate 40/490; residuals in means of 49 words: nine of -0.8163/49 and one of 7.3469/49, s = 0.0526827
    # t of 9 degrees of freedom = 2.262157; s·t/√10 = 0.0376869, and no resample is above 40/400
    assert outer == pytest.approx(turn * (40 / 490 + 0.0376869), abs=1e-6)


@pytest.mark.parametrize("turn", [1, -1])
def test_the_bootstrap_leaves_a_fortieth_on_each_side(turn):
    """Three clips of fifteen have all the errors: (12/15)^15 = 3.5 % of the resamples miss all three."""
    errors, words = turn * np.array([0] * 12 + [40, 41, 40]), np.array([10] * 12 + [400] * 3)
    assert min(estimates.rate_over_clips(errors, words)[2], key=abs) == 0


def test_the_bootstrap_is_read_at_its_fortieths(monkeypatch):
    monkeypatch.setattr(estimates, "_resampled_rates", lambda counts, sizes: np.linspace(-2, 8, 1001))
    _, _, (low, high) = estimates.rate_over_clips(np.zeros(5), np.full(5, 10))  # t has no width
    assert (low, high) == (pytest.approx(-1.75), pytest.approx(7.75))


def test_single_precision_is_summed_in_double():
    """2**24 and four ones: in single precision the ones are lost."""
    large = np.array([2**24, 1, 1, 1, 1], dtype=np.float32)
    assert estimates.mean(large)[0] == (2**24 + 4) / 5
    assert estimates.ratio_of_sums(large, 2.0)[0] == (2**24 + 4) / 10
    assert estimates.rate_over_clips(large, np.full(5, 4.0, np.float32))[0] == (2**24 + 4) / 20
    assert estimates.rate_over_clips(np.full(5, 4.0, np.float32), large)[:2] == (20 / (2**24 + 4), 2**24 + 4)


def test_resamples_are_drawn_with_replacement_and_seeded():
    rates = estimates._resampled_rates(np.array([0, 0, 0, 0, 8]), np.full(5, 8))
    assert rates.shape == (10_000,)
    # the share of resamples without the last clip is (4/5)^5, with it once 5·(1/5)·(4/5)^4
    assert (rates == 0).mean() == pytest.approx(0.8**5, abs=0.015)
    assert (rates == 0.2).mean() == pytest.approx(0.8**4, abs=0.015)
    assert np.array_equal(rates, estimates._resampled_rates(np.array([0, 0, 0, 0, 8]), np.full(5, 8)))


@pytest.mark.parametrize(("clips", "blocks"), [(2**18, [4, 3]), (2**19 + 1, [1] * 7), (2**20 + 1, [1] * 7), (5, [7])])
def test_resamples_are_drawn_in_blocks_of_a_million_clips(monkeypatch, clips, blocks):
    class Dice:
        def __init__(self):
            self.sizes = []

        def integers(self, high, size):
            assert (high, size[1]) == (clips, clips)
            self.sizes.append(size[0])
            return np.array([[number % 5, 4] for number in range(size[0])])  # two clips

    dice = Dice()
    monkeypatch.setattr(np.random, "default_rng", lambda seed: dice if seed == estimates._SEED else pytest.fail(seed))
    monkeypatch.setattr(estimates, "_RESAMPLES", 7)
    counts, sizes = np.zeros(clips), np.ones(clips)
    counts[:5], sizes[:5] = [0, 1, 2, 3, 9], [8, 8, 16, 32, 10]
    drawn = estimates._resampled_rates(counts, sizes)
    assert dice.sizes == blocks
    rates = [9 / 18, 10 / 18, 11 / 26, 12 / 42, 18 / 20, 9 / 18, 10 / 18]  # errors of both over the words of both
    assert drawn.tolist() == [rates[number] for block in blocks for number in range(block)]


def test_wilsons_interval_is_that_of_the_textbook():
    # Newcombe, Statistics in Medicine 1998, table I: 15 of 148; of clips that are alike, so that nothing else is wider
    _, n, (low, high) = estimates.error_rate(np.array([3, 3, 3, 3, 3]), np.array([30, 30, 29, 30, 29]))
    assert (n, low, high) == (148, pytest.approx(0.0624, abs=5e-5), pytest.approx(0.1605, abs=5e-5))


def test_wilson_widens_each_side_by_itself():
    errors = np.array([2, 2, 2, 2, 12])  # few, uneven: t is wider than Wilson above, and below nought below
    _, n, (low, high) = estimates.error_rate(errors, np.full(5, 40))
    rate, half = 0.1, 2.776445 * np.std(errors / 40, ddof=1) / 5**0.5
    assert (n, low) == (200, 0.0)
    assert high == pytest.approx(rate + half, abs=1e-6)
    even = np.array([4, 5, 4, 5, 4])  # even: Wilson of 22 of 200 is wider on both sides
    _, _, (low, high) = estimates.error_rate(even, np.full(5, 40))
    assert (low, high) == (pytest.approx(0.073778, abs=1e-5), pytest.approx(0.160926, abs=1e-5))


def test_more_errors_than_words_are_as_sure_as_all_words_wrong():
    value, n, (low, high) = estimates.error_rate(np.array([30, 30, 30, 30, 30]), np.full(5, 20))
    assert (value, n) == (1.5, 100)
    assert (low, high) == (pytest.approx(0.963005, abs=1e-5), 1.5)


@pytest.mark.parametrize(
    ("counts", "sizes"),
    [
        ([1.0, 1.0], [0.0, 0.0]),
        ([1.0, 1.0], [10.0, -1.0]),
        ([1.0, 1.0], [10.0]),
        ([[1.0, 1.0]], [[10.0, 10.0]]),
        ([], []),
    ],
)
def test_a_rate_needs_a_count_and_a_size_for_each_clip(counts, sizes):
    with pytest.raises(ValueError, match="a rate needs a count and a size for each clip, and a size above 0 in one"):
        estimates.rate_over_clips(np.array(counts), np.array(sizes))
    assert estimates.rate_over_clips(np.array([1.0]), np.array([0.5])) == (2.0, 0, None)


def test_what_is_too_few_is_stated_here_once():
    assert (estimates.CONFIDENCE, estimates._FEWEST_CLIPS, estimates._RESAMPLES) == (0.95, 5, 10_000)
    assert estimates.rate_over_clips(np.array([1, 2, 3, 4]), np.array([10, 20, 30, 40])) == (0.1, 100, None)
    assert estimates.rate_over_clips(np.array([1, 2, 3, 4, 1]), np.array([10, 20, 30, 40, 9]))[2] is not None
