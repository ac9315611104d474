"""One series from night to night, by hand-made nights whose usual is known."""

from __future__ import annotations

import math
import random

import pytest

from nightgate.errors import InputError
from nightgate.regression.course import LEAST, Candidate, Course, Usual
from nightgate.regression.thresholds import Thresholds, thresholds

LIMITS = Thresholds(confirmed=3.3)
USUAL = [0.000, 0.013, -0.017, 0.008, -0.006, 0.021, -0.012, 0.004, 0.016, -0.019, 0.007, -0.009, 0.011]
"""Thirteen nights: mean .0013, sd .0127."""


def after(nights, course=None, build=None, suite_sd=None):
    course = course or Course()
    for value in nights:
        assert course.tonight(value, LIMITS, suite_sd, build) is None
    return course


def test_nothing_is_said_before_there_are_ten_nights_and_two_more():
    course = after(USUAL[:11])
    assert course.usual(None) is None
    assert course.tonight(1.0, LIMITS, None) is None
    assert after(USUAL[:12]).usual(None) is not None


def test_the_usual_leaves_the_newest_two_nights_out():
    usual = after([*USUAL[:12], 0.026]).usual(None)
    known = USUAL[:11]
    assert usual.nights == 11
    assert usual.level == pytest.approx(sum(known) / 11, abs=1e-9)
    assert usual.error == pytest.approx(usual.sd / math.sqrt(11))


def test_a_wild_night_is_clipped():
    tame = after(USUAL).usual(None)
    course = Course()
    course.values = [*USUAL[:5], 0.9, *USUAL[5:]]
    wild = course.usual(None)
    assert abs(wild.level - tame.level) < 0.01
    assert wild.sd < 0.03


def test_a_quiet_series_takes_after_its_suite():
    course = after(USUAL)
    own = course.own_sd()
    shrunk = course.usual(0.04).sd
    assert shrunk == pytest.approx(math.sqrt((10 * own**2 + 15 * 0.04**2) / 25))
    assert course.usual(None).sd == pytest.approx(own)


def test_the_sd_is_never_below_the_least():
    course = Course(least_sd=0.01)
    course.values = [0.0001 * place for place in range(14)]
    assert course.usual(None).sd == 0.01


@pytest.mark.parametrize(("value", "found"), [(0.026, False), (0.05, True), (-0.05, True), (-0.024, False)])
def test_a_night_far_from_the_usual_is_a_candidate(value, found):
    course = after(USUAL)
    candidate = course.tonight(value, LIMITS, 0.012)
    assert (candidate is not None) == found
    if candidate:
        assert candidate.worse == (value > 0)
        assert candidate.shift == pytest.approx(value - course.usual(None).level, abs=0.005)
        assert not candidate.slow


def test_an_effect_too_small_to_matter_is_none_however_sure():
    course = Course(least_sd=0.0001)
    course.values = [0.001 * (place % 2) for place in range(14)]
    assert course.tonight(0.029, LIMITS, None) is None
    assert course.tonight(0.035, LIMITS, None) is not None


@pytest.mark.parametrize(("sd", "value", "found"), [(0.034, 0.01, False), (0.036, 0.01, True), (0.036, -0.01, False)])
def test_a_series_that_would_not_show_a_tenth_is_asked_every_night_on_its_bad_side(sd, value, found):
    course = Course(least_sd=sd)
    course.values = list(USUAL)
    assert (course.tonight(value, LIMITS, None) is not None) == found


def test_little_by_little_adds_up():
    course, found = after(USUAL), None
    for night in range(12):
        found = course.tonight(0.0225 + 0.0001 * night, LIMITS, 0.0125)
        if found:
            break
    assert found and found.slow and found.worse
    assert 3 <= night <= 8


def test_what_a_confirm_refutes_is_halved():
    course = after(USUAL)
    candidate = course.tonight(0.06, LIMITS, 0.0125)
    assert course.up > 2
    before = course.up
    course.answered(candidate, confirmed=False)
    assert course.up == before / 2


def test_a_night_of_the_host_leaves_no_value():
    course = after(USUAL)
    candidate = course.tonight(0.3, LIMITS, 0.0125)
    course.answered(candidate, confirmed=False, host=True)
    assert course.values == USUAL


def shifted():
    course = after(USUAL)
    candidate = course.tonight(0.1, LIMITS, 0.0125)
    course.answered(candidate, confirmed=True)
    return course


def test_a_confirmed_shift_is_not_found_again_and_recovers_after_two_nights():
    course = shifted()
    assert course.tonight(0.11, LIMITS, 0.0125) is None
    assert not course.recovered(LIMITS)
    assert course.tonight(0.004, LIMITS, 0.0125) is None
    assert not course.recovered(LIMITS)
    assert course.tonight(-0.003, LIMITS, 0.0125) is None
    assert course.recovered(LIMITS)
    assert course.open is None
    assert course.values == [*USUAL, 0.004, -0.003]
    assert not course.recovered(LIMITS)


def test_half_a_recovery_is_none():
    course = shifted()
    for value in (0.07, 0.06, 0.065):
        course.tonight(value, LIMITS, 0.0125)
        assert not course.recovered(LIMITS)


def test_a_shift_that_lasts_becomes_the_usual():
    course = shifted()
    for number, value in enumerate(USUAL[:11]):
        assert not course.lasting()
        assert course.tonight(0.1 + value, LIMITS, 0.0125) is None, number
    assert course.lasting()
    usual = course.usual(0.0125)
    assert usual.level == pytest.approx(0.1, abs=0.01)
    assert course.tonight(0.16, LIMITS, 0.0125).worse


def test_an_improvement_is_the_usual_at_once():
    course = after(USUAL)
    candidate = course.tonight(-0.1, LIMITS, 0.0125)
    course.answered(candidate, confirmed=True)
    assert course.usual(0.0125).level == pytest.approx(-0.1)
    assert course.usual(0.0125).error == pytest.approx(course.usual(0.0125).sd)
    assert course.tonight(-0.09, LIMITS, 0.0125) is None


def test_another_build_may_lie_elsewhere():
    course = after(USUAL, build="one")
    assert course.tonight(0.09, LIMITS, 0.0125, "two") is None, "what builds differ by"
    assert course.tonight(0.095, LIMITS, 0.0125, "two") is None
    assert course.usual(0.0125).level == pytest.approx(0.09, abs=0.01)
    other = after(USUAL, build="one")
    found = other.tonight(0.25, LIMITS, 0.0125, "two")
    assert found and found.rebuilt


def test_what_builds_differ_by_is_learned():
    course = Course()
    assert course.build_sd() == pytest.approx(0.05)
    course.builds = [0.0, 0.2, 0.0, 0.2, 0.0]
    assert course.build_sd() == pytest.approx(math.sqrt((4 * 0.04 / 2 + 3 * 0.05**2) / 7))


def test_an_excluded_night_changes_nothing_but_its_absence():
    nights = [random.Random(3).gauss(0, 0.01) for _ in range(40)]
    one, two = Course(), Course()
    for place, value in enumerate(nights):
        if place != 20:
            one.tonight(value, LIMITS, 0.01)
            two.tonight(value, LIMITS, 0.01)
    assert one == two
    assert LEAST == 10


@pytest.mark.parametrize(
    ("alerts", "series", "confirmed"),
    [(1, 20, 3.3956), (5, 20, 2.9268), (1, 200, 3.9815), (1000, 1, 2.6), (1e-9, 1000, 6.0)],
)
def test_the_threshold_follows_from_alerts_a_year_and_series(alerts, series, confirmed):
    assert thresholds(alerts, series).confirmed == pytest.approx(confirmed, abs=2e-4)
    assert thresholds(alerts, series).blind_confirmed == pytest.approx(thresholds(alerts, 10 * series).confirmed)


@pytest.mark.parametrize("alerts", [0, -1, math.nan])
def test_no_alerts_a_year_is_no_wish(alerts):
    with pytest.raises(InputError, match="alerts_a_year is"):
        thresholds(alerts, 3)


def test_how_far_counts_both_errors():
    assert Usual(1.0, 0.3, 0.4, 12).far(2.0) == pytest.approx(2.0)
    assert Candidate(-0.1, -3.0, False, Usual(0, 0, 1, 1)).worse is False


def test_a_new_build_is_learned_with_each_of_its_nights():
    course = after(USUAL, build="one")
    before = course.builds[-1] if course.builds else None
    assert before is None
    course.tonight(0.09, LIMITS, 0.0125, "two")
    old, sd = course.builds[-1], course.usual(0.0125).sd
    share = 0.05**2 / (0.05**2 + sd**2)
    usual = course.usual(0.0125)
    assert usual.level == pytest.approx(old + share * (0.09 - old))
    assert usual.error == pytest.approx(math.sqrt(share) * sd)
    assert usual.nights == 1 + len(USUAL)


def test_the_sums_leave_half_a_standard_deviation_out_on_either_side():
    course = after(USUAL, suite_sd=0.0125)
    course.up = course.down = 0.0
    usual = course.usual(0.0125)
    course.tonight(usual.level + 1.2 * math.hypot(usual.sd, usual.error), LIMITS, 0.0125)
    assert (course.up, course.down) == (pytest.approx(0.7), 0.0)
    usual = course.usual(0.0125)
    course.up = 0.0
    course.tonight(usual.level - 1.3 * math.hypot(usual.sd, usual.error), LIMITS, 0.0125)
    assert (course.up, course.down) == (0.0, pytest.approx(0.8))


def test_what_becomes_better_little_by_little_is_found_as_better():
    course, found = after(USUAL), None
    for night in range(12):
        found = course.tonight(-0.0205 - 0.0001 * night, LIMITS, 0.0125)
        if found:
            break
    assert found and found.slow and not found.worse
    assert found.shift == pytest.approx(-0.0205 - 0.0001 * night - course.usual(0.0125).level, abs=0.004)


@pytest.mark.parametrize(
    ("newest", "gone"), [((0.06, 0.06), False), ((0.04, 0.04), True), ((0.04, 0.06), False), ((0.06, 0.04), False)]
)
def test_it_is_gone_when_both_nights_are_nearer_to_what_was_before(newest, gone):
    course = Course()
    course.values = [0.5 + 3 * value for value in USUAL]
    candidate = Candidate(0.1, 3.0, False, Usual(0.5, 0.01, 0.05, 13))
    course.values.append(0.6)
    course.answered(candidate, confirmed=True)
    for value in (0.02, *newest):
        course.tonight(0.5 + value, LIMITS, None)
    assert course.since[0] == 0.6
    assert course.recovered(LIMITS) == gone


def test_how_far_nights_scattered_is_remembered_through_a_new_usual():
    course = after(USUAL)
    course.restart(1)
    level = sum(USUAL[:12]) / 12
    kept = [value - level for value in USUAL[:12]]
    assert course.residuals == pytest.approx(kept, abs=1e-9)
    assert course.own_sd() == pytest.approx(math.sqrt(sum(value**2 for value in kept) / 12))


def test_the_sums_find_at_five_and_what_is_refuted_or_of_the_host_counts_half(monkeypatch):
    monkeypatch.setattr(Course, "usual", lambda self, suite_sd: Usual(0.5, 0.0, 0.01, 20))
    course = Course()
    found = [course.tonight(0.52, LIMITS, None) for _ in range(4)]
    assert [one is not None for one in found] == [False, False, False, True]
    assert (course.up, course.down) == (pytest.approx(6.0), 0.0)
    course.answered(found[3], confirmed=False)
    assert course.up == pytest.approx(3.0)
    course.answered(found[3], confirmed=False, host=True)
    assert course.up == pytest.approx(1.5)
    other = Course()
    found = [other.tonight(0.48, LIMITS, None) for _ in range(4)]
    assert found[3].slow and not found[3].worse
    other.answered(found[3], confirmed=False, host=True)
    assert (other.up, other.down) == (0.0, pytest.approx(3.0))
    one_night = Course()
    one_night.tonight(0.52, LIMITS, None)
    assert one_night.tonight(0.8, LIMITS, None) is not None
    assert one_night.up == pytest.approx(1.5 + 2.5), "one night adds three at most"


def test_clipping_is_at_two_and_a_half_standard_deviations_of_the_median_deviation():
    course = Course()
    course.values = [0.0, 0.01, 0.02, 0.03, 0.04, -0.01, -0.02, -0.03, -0.04, 0.5, 0.0, 7.0, 7.0]
    known = sorted(course.values[:11])
    middle = known[5]
    reach = 2.5 * 1.4826 * sorted(abs(value - middle) for value in known)[5]
    kept = [min(max(value - middle, -reach), reach) for value in known]
    mean = sum(kept) / 11
    usual = course.usual(None)
    assert max(kept) == pytest.approx(reach) and reach < 0.1
    assert usual.level == pytest.approx(middle + mean)
    assert usual.sd == pytest.approx(math.sqrt(sum((one - mean) ** 2 for one in kept) / 10))
