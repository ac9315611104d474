"""What is usual of a series, and what a night adds to it, to the number."""

from __future__ import annotations

import math

import pytest

from nightgate.regression.course import LEAST, Candidate, Course, Usual, _clipped
from nightgate.regression.dating import dated
from nightgate.regression.power import Power, power
from nightgate.regression.suite import Answer, Beside, Suite, Tonight
from nightgate.regression.thresholds import Thresholds, thresholds

LIMITS = Thresholds(confirmed=3.3)
WAVE = [0.01 * math.sin(2.4 * place) for place in range(40)]


def lived(values, build=None, **more):
    course = Course(**more)
    for value in values:
        course.tonight(value, LIMITS, None, build)
    return course


def test_clipped_is_the_mean_and_the_scatter_around_it_without_what_lies_far_out():
    mean, sd = _clipped([3.0, 1.0, 100.0, 2.0], [])
    reach = 2.5 * 1.4826 * 1.0  # the median of what lies 1.5, 0.5, 0.5 and 97.5 from 2.5
    kept = [-1.5, -0.5, 0.5, reach]
    assert mean == pytest.approx(2.5 + sum(kept) / 4)
    assert sd == pytest.approx(math.sqrt(sum((one - sum(kept) / 4) ** 2 for one in kept) / 3))
    assert _clipped([5.0], []) == (5.0, 0.0)
    mean, sd = _clipped([1.0, 2.0, 4.0], [-3.0, 0.5])
    kept, rest = [-1.0, 0.0, 2.0], [-3.0, 0.5]
    middle = sum(kept) / 3
    assert (mean, sd) == (
        pytest.approx(2 + middle),
        pytest.approx(math.sqrt((sum((one - middle) ** 2 for one in kept) + sum(one**2 for one in rest)) / 4)),
    )
    assert _clipped([], [0.1, -0.2])[0] == 0.0


def test_usual_leaves_out_the_newest_and_leans_on_the_suite():
    course = lived(WAVE[:14])
    level, own = _clipped(WAVE[:12], [])
    alone = course.usual(None)
    assert (alone.level, alone.nights) == (pytest.approx(level), 12)
    assert alone.sd == pytest.approx(own) and alone.error == pytest.approx(own / math.sqrt(12))
    leaning = course.usual(0.03)
    sd = math.sqrt((11 * own**2 + 15 * 0.03**2) / 26)
    assert (leaning.sd, leaning.error) == (pytest.approx(sd), pytest.approx(sd / math.sqrt(12)))
    assert lived([0.0] * 14).usual(None).sd == 0.005 and lived([0.0] * 14, least_sd=0.02).usual(None).sd == 0.02
    assert leaning.far(level + 0.1) == pytest.approx(0.1 / math.hypot(leaning.sd, leaning.error))
    assert lived(WAVE[: LEAST + 1]).usual(None) is None and lived(WAVE[: LEAST + 2]).usual(None) is not None


def test_what_builds_differ_by_is_learned_with_a_prior():
    assert Course().build_sd() == pytest.approx(0.05)
    assert Course(builds=[0.0, 0.04, 0.1]).build_sd() == pytest.approx(
        math.sqrt(((0.04**2 + 0.06**2) / 2 + 3 * 0.05**2) / 5)
    )


def test_the_level_of_a_new_build_begins_at_that_of_the_build_before():
    course = lived(WAVE[:14], "a")
    level, _ = _clipped(WAVE[:14], ())
    residuals = [value - level for value in WAVE[:14]]
    assert course.tonight(0.03, LIMITS, None, "b") is None
    assert (course.builds, course.values, course.build) == ([pytest.approx(level)], [0.03], "b")
    assert course.residuals == pytest.approx(residuals)
    found = course.usual(None)
    own = _clipped([0.03], residuals)[1]
    noise, apart = own**2 / 1, 0.05
    share = apart**2 / (apart**2 + noise)
    assert found.level == pytest.approx(level + share * (0.03 - level)) and found.error == pytest.approx(
        math.sqrt(share * noise)
    )
    assert (found.sd, found.nights) == (pytest.approx(own), 15)
    fresh = lived(WAVE[:14], "a")
    fresh._of_build("b")
    begun = fresh.usual(None)
    assert (begun.level, begun.error, begun.nights) == (pytest.approx(level), pytest.approx(0.05), 14)
    for place in range(12):
        fresh._of_build(str(place))
        fresh.values = [float(place)]
    assert len(fresh.builds) == 8


def test_a_night_far_out_is_a_candidate_with_how_far():
    course = lived(WAVE[:14])
    usual = course.usual(None)
    found = course.tonight(0.08, LIMITS, None)
    assert found == Candidate(0.08 - usual.level, usual.far(0.08), False, usual, False)
    assert found.worse and not Candidate(-0.1, -3.0, False, usual).worse
    assert course.up == 3.0 - LIMITS.slack and course.down == 0.0, "one night adds three deviations at most"


def test_a_wide_series_is_measured_in_every_night_on_the_bad_side():
    wide = [10 * one for one in WAVE[:14]]
    level = lived(wide).usual(None).level
    assert lived(wide).tonight(level + 0.001, LIMITS, None).slow is False
    assert lived(wide).tonight(level - 0.001, LIMITS, None) is None


def test_small_shifts_add_up_to_a_slow_candidate():
    course, found = lived(WAVE[:20]), None
    usual = course.usual(None)
    step, count = 1.4 * math.hypot(usual.sd, usual.error), 0
    while found is None and count < 12:
        found, count = course.tonight(usual.level + step, LIMITS, usual.sd), count + 1
    assert found.slow and found.worse and found.shift >= LIMITS.slow_effect and found.rebuilt is False
    assert found.far > 0 and 4 <= count <= 8
    down, found, count = lived(WAVE[:20]), None, 0
    while found is None and count < 12:
        found, count = down.tonight(usual.level - step, LIMITS, usual.sd), count + 1
    assert found.slow and not found.worse and found.shift <= -LIMITS.slow_effect


def test_what_an_answer_makes_of_the_sums():
    def of(confirmed, *, host=False, shift=0.08):
        course = lived(WAVE[:14])
        course.up, course.down = 4.0, 2.0
        course.values.append(shift)
        course.answered(Candidate(shift, 5.0, False, Usual(0.0, 0.001, 0.01, 12)), confirmed, host=host)
        return course

    refuted, slow_host, worse, better = of(False), of(False, host=True), of(True), of(True, shift=-0.08)
    assert (refuted.up, refuted.down, len(refuted.values)) == (2.0, 1.0, 15)
    assert (slow_host.up, slow_host.down, len(slow_host.values)) == (2.0, 1.0, 14)
    assert (worse.up, worse.down, worse.open.sd, worse.since) == (0.0, 0.0, 0.01, [0.08])
    assert (better.up, better.down, better.open, better.values) == (0.0, 0.0, None, [-0.08])
    assert len(better.residuals) == 14


def test_it_has_gone_when_two_nights_lie_nearer_to_what_was_usual():
    def of(*since):
        course = Course(values=[0.0] * 12 + list(since), open=Usual(0.0, 0.001, 0.02, 12), since=list(since))
        return course.recovered(LIMITS), course

    assert not of(0.1, 0.0)[0], "of two the first is the shift itself"
    gone, course = of(0.1, 0.1, 0.01, 0.02)
    assert gone and course.open is None and course.since == [] and course.values == [*[0.0] * 12, 0.01, 0.02]
    assert not of(0.1, 0.06, 0.01)[0] and not of(0.1, 0.01, 0.06)[0], "more than half of the way"
    assert not of(0.2, 0.05, 0.05)[0], "nearer, and not what is usual"
    assert not Course().recovered(LIMITS)


def test_only_the_newest_nights_count_after_a_restart():
    course = lived(WAVE[:14], "a")
    course.up = course.down = 1.0
    course.restart(3)
    assert course.values == WAVE[11:14] and (course.up, course.down, course.builds) == (0.0, 0.0, [])
    assert len(course.residuals) == 11
    course.restart()
    assert course.values == [] and len(course.residuals) == 14


def test_rounds_are_remembered_for_a_week():
    course = lived(WAVE[:14])
    course.rounds = [(0, [0.1]), (6, [0.2]), (7, [0.3])]
    course.tonight(0.0, LIMITS, None)
    assert course.rounds == [(1, [0.1]), (7, [0.2])]


def test_the_error_of_rounds_is_learned_from_rounds_and_nights():
    suite = Suite({"a": "speed"}, {"speed": LIMITS})
    suite.course("a").values = [0.0] * 14 + [0.1]
    usual = Usual(0.0, 0.002, 0.01, 12)
    ours, theirs = (0.100, 0.106, 0.097), (0.002, -0.001, 0.001)
    answer = suite.decide("a", Candidate(0.1, 9.0, False, usual), Beside(ours, theirs))
    apart = [one - other for one, other in zip(ours, theirs, strict=True)]
    mean = sum(apart) / 3
    sd = math.sqrt((sum((one - mean) ** 2 for one in apart) + 6 * 2 * 0.01**2) / (2 + 6))
    assert (answer.ratio, answer.error) == (pytest.approx(mean), pytest.approx(sd / math.sqrt(3)))
    assert answer.control_far == pytest.approx((sum(theirs) / 3) / math.hypot(0.01, 0.002))
    assert answer.far == pytest.approx(answer.ratio / answer.error) and answer.confirmed
    assert Answer(0.1, 0.0, 0.0, True, False).far == math.inf and Answer(-0.1, 0.0, 0.0, True, False).far == -math.inf


def test_the_spread_of_a_kind_is_the_median_of_its_series():
    suite = Suite(
        {"a": "speed", "b": "speed", "c": "speed", "d": "size"}, {"speed": LIMITS, "size": LIMITS}, {"size": 0.5}
    )
    for place in range(14):
        suite.night({key: Tonight(factor * WAVE[place]) for key, factor in (("a", 1), ("b", 2), ("c", 5), ("d", 9))})
    spreads = suite.spreads()
    assert spreads["speed"] == pytest.approx(suite.courses["b"].own_sd()) and set(spreads) == {"speed", "size"}
    assert (suite.courses["d"].least_sd, suite.courses["a"].least_sd) == (0.5, 0.005)


def test_a_shift_is_dated_by_its_split_and_by_nothing_of_too_few_nights():
    assert dated([0.0, 0.1, 0.0, 1.0, 1.1, 1.0, 1.2, 1.1]) == 3
    assert dated([0.0, 0.1, 0.0, 0.1, 0.0, 1.0, 1.1, 1.0]) == 5
    assert dated([5, 5, 5, 5, 9, 9, 9]) == 4, "whole numbers too"
    assert dated([0.0] * 5) is None and dated([0.0, 0.0, 1.0, 1.0], 2) == 2


def test_the_power_of_a_series_in_words_and_numbers():
    assert str(Power(0.5, 0.25, 9)) == "a step of 10 % shows the same night in 50 %, one of 5 % within a week in 25 %"
    steady = power(WAVE, LIMITS, 0.01, 3, 0.005)
    assert steady.nights == 28 and steady.tonight > 0.9
    wide = power([6 * one for one in WAVE], LIMITS, 0.06, 3, 0.005)
    assert wide.tonight < steady.tonight
    assert power(WAVE[:14], LIMITS, 0.01, 3, 0.005) is None


def test_thresholds_follow_from_alerts_and_series():
    assert thresholds(1, 20).confirmed == pytest.approx(3.396, abs=2e-3)
    assert thresholds(1, 20).blind_confirmed == pytest.approx(3.98, abs=5e-3)
    assert thresholds(1, 0) == thresholds(1, 1)
    assert thresholds(10_000, 1).confirmed == 2.6 and thresholds(1e-9, 1000).confirmed == 6.0
