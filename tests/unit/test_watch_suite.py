"""All series of a night, and what rounds beside the control say."""

from __future__ import annotations

import random

import pytest

from nightgate.regression.course import Candidate, Usual
from nightgate.regression.dating import dated
from nightgate.regression.power import power
from nightgate.regression.suite import Beside, Suite, Tonight
from nightgate.regression.thresholds import Thresholds

LIMITS = Thresholds(confirmed=3.3)


def nights(series=5, count=20, seed=7, sd=0.01):
    chance = random.Random(seed)
    return [{key: Tonight(chance.gauss(0, sd)) for key in range(series)} for _ in range(count)]


def lived(of, series=5):
    suite = Suite(dict.fromkeys(range(series), "speed"), {"speed": LIMITS})
    for night in of:
        suite.night(night)
    return suite


def candidate(shift=0.1, sd=0.01, **facts):
    return Candidate(shift, shift / sd, facts.pop("slow", False), Usual(0.0, sd / 4, sd, 16), **facts)


def decided(ours, theirs=(0.001, -0.002, 0.0015), *, same=True, **facts):
    suite = lived(nights())
    suite.courses[0].values.append(0.1)
    return suite.decide(0, candidate(**facts), Beside(ours, theirs, same))


def test_what_is_slower_than_its_control_is_confirmed():
    answer = decided((0.098, 0.104, 0.101))
    assert answer.confirmed and not answer.host
    assert answer.ratio == pytest.approx(0.101 - 0.0005 / 3, abs=1e-4)
    assert answer.far == pytest.approx(answer.ratio / answer.error)


def test_what_is_as_slow_as_its_control_is_the_host():
    answer = decided((0.103, 0.106, 0.104), (0.101, 0.107, 0.099))
    assert answer.host and not answer.confirmed
    assert answer.control_far > 2


def test_a_control_that_moved_hides_even_a_real_shift_for_tonight():
    answer = decided((0.2, 0.21, 0.2), (0.1, 0.107, 0.099))
    assert answer.host and not answer.confirmed


def test_a_control_that_is_faster_than_usual_is_no_slow_host():
    answer = decided((0.05, 0.06, 0.052), (-0.05, -0.053, -0.049))
    assert answer.confirmed and not answer.host


def test_what_went_away_is_refuted():
    answer = decided((0.004, -0.006, 0.01))
    assert not answer.confirmed and not answer.host


def test_a_small_effect_is_refuted_however_sure():
    answer = decided((0.0281, 0.028, 0.0279), (0.0, 0.0001, -0.0001), sd=0.002)
    assert answer.far > LIMITS.confirmed
    assert not answer.confirmed
    assert decided((0.0321, 0.032, 0.0319), (0.0, 0.0001, -0.0001), sd=0.002).confirmed


def test_sums_need_less():
    ours = (0.0221, 0.022, 0.0219)
    assert not decided(ours, (0.0, 0.0001, -0.0001), sd=0.002).confirmed
    assert decided(ours, (0.0, 0.0001, -0.0001), sd=0.002, slow=True).confirmed


def test_other_builds_may_differ():
    ours = (0.098, 0.104, 0.101)
    assert decided(ours).confirmed
    other = decided(ours, same=False)
    assert not other.confirmed
    assert other.error == pytest.approx((decided(ours).error ** 2 + 2 * 0.05**2) ** 0.5)


def test_an_improvement_is_confirmed_downwards():
    answer = decided((-0.1, -0.104, -0.099), shift=-0.1)
    assert answer.confirmed and answer.ratio < 0


def test_rounds_of_nights_that_did_not_decide_count_as_well():
    suite = lived(nights(sd=0.02))
    alone = Beside((0.05, 0.045, 0.054), (0.0, 0.001, -0.002))
    usual = {"sd": 0.025, "shift": 0.06}
    answers = []
    for _ in range(2):
        suite.night({0: Tonight(0.05)})
        answers.append(suite.decide(0, candidate(**usual), alone))
    assert [answer.confirmed for answer in answers] == [False, True]
    assert answers[1].error == pytest.approx(answers[0].error * (8 / 10 / 2) ** 0.5, rel=0.02)


def test_rounds_of_more_than_a_week_ago_do_not_count():
    suite = lived(nights(sd=0.02))
    alone = Beside((0.05, 0.045, 0.054), (0.0, 0.001, -0.002))
    suite.night({0: Tonight(0.05)})
    assert not suite.decide(0, candidate(sd=0.025, shift=0.06), alone).confirmed
    for _ in range(8):
        suite.night({0: Tonight(0.0)})
    assert suite.courses[0].rounds == []


def test_rounds_that_were_refuted_do_not_hide_what_comes_after():
    suite = lived(nights())
    suite.courses[0].values.append(0.03)
    assert not suite.decide(0, candidate(shift=0.035), Beside((0.0, 0.001, -0.001), (0.0, 0.0, 0.001))).confirmed
    suite.night({0: Tonight(0.1)})
    answer = suite.decide(0, candidate(), Beside((0.1, 0.098, 0.101), (0.001, 0.0, 0.002)))
    assert answer.confirmed
    assert answer.ratio == pytest.approx(0.0987, abs=0.001)


def test_the_order_of_the_series_does_not_matter():
    usual = nights(series=6, count=60, sd=0.03)
    found = []
    for order in (range(6), (3, 5, 0, 1, 4, 2)):
        suite = Suite(dict.fromkeys(range(6), "speed"), {"speed": LIMITS})
        found.append([set(suite.night({key: night[key] for key in order}).items()) for night in usual])
    assert [{key for key, _ in night} for night in found[0]] == [{key for key, _ in night} for night in found[1]]
    assert any(found[0])


def test_nights_that_come_later_change_nothing_that_was_found_before():
    usual = nights(series=4, count=80, seed=11, sd=0.03)
    whole = Suite(dict.fromkeys(range(4), "speed"), {"speed": LIMITS})
    found = [set(whole.night(night)) for night in usual]
    for end in (30, 55, 79):
        part = Suite(dict.fromkeys(range(4), "speed"), {"speed": LIMITS})
        assert [set(part.night(night)) for night in usual[:end]] == found[:end]


def test_kinds_scatter_for_themselves():
    suite = Suite({"a": "speed", "b": "share"}, {"speed": LIMITS, "share": LIMITS}, {"share": 0.0005})
    chance = random.Random(2)
    for _ in range(20):
        suite.night({"a": Tonight(chance.gauss(0, 0.02)), "b": Tonight(chance.gauss(0, 0.001))})
    assert set(suite.spreads()) == {"speed", "share"}
    assert suite.spreads()["speed"] > 5 * suite.spreads()["share"]
    assert suite.course("b").least_sd == 0.0005


def stepped(before, after, step, seed):
    chance = random.Random(seed)
    return [chance.gauss(0, 0.02) for _ in range(before)] + [step + chance.gauss(0, 0.02) for _ in range(after)]


@pytest.mark.parametrize("place", [3, 9, 17])
def test_a_clear_step_is_dated_to_its_night(place):
    assert dated(stepped(place, 20 - place, 0.15, place)) == place


def test_of_two_splits_the_larger_step_is_it():
    values = [0.001, 0.0, 0.002, 0.03, 0.031, 0.029, 0.2, 0.201, 0.199, 0.202]
    assert dated(values) == 6


def test_fewer_than_six_nights_tell_no_date():
    assert dated([0.0, 0.1, 0.0, 1.0, 1.1]) is None
    assert dated([0.0, 0.1, 0.0, 1.0, 1.1, 1.05]) == 3


@pytest.mark.parametrize(("sd", "tonight", "week"), [(0.01, (0.99, 1), (0.99, 1)), (0.04, (0.2, 0.6), (0.7, 1))])
def test_what_a_series_would_show_follows_from_its_own_nights(sd, tonight, week):
    values = stepped(60, 0, 0, 4)
    shown = power([value * sd / 0.02 for value in values], LIMITS, None, 3, 0.005)
    assert tonight[0] <= shown.tonight <= tonight[1]
    assert week[0] <= shown.week <= week[1]
    assert shown.nights == 30


def test_more_rounds_show_more_and_few_nights_show_nothing():
    values = [value * 1.7 for value in stepped(60, 0, 0, 4)]
    assert power(values, LIMITS, None, 9, 0.005).tonight > power(values, LIMITS, None, 3, 0.005).tonight
    assert power(values[:12], LIMITS, None, 3, 0.005) is None


def test_the_error_is_learned_from_the_rounds_of_nights_before():
    quiet, usual = (0.051, 0.0505, 0.0495), {"sd": 0.05, "shift": 0.06}
    suite, errors = lived(nights(sd=0.05)), []
    for _ in range(12):
        suite.night({0: Tonight(0.01)})
        course = suite.courses[0]
        course.rounds = []
        errors.append(suite.decide(0, candidate(**usual), Beside(quiet, (0.0, 0.0005, -0.0005))).error)
    assert errors[0] > 0.03
    assert errors[-1] == pytest.approx(errors[0] * (8 / 30) ** 0.5, rel=0.02)


@pytest.mark.parametrize(("ours", "sd", "confirmed"), [
    ((0.0145, 0.0144, 0.0146), 0.001, False), ((0.0155, 0.0154, 0.0156), 0.001, True), ((0.03, 0.031, 0.029), 0.02, False),
])  # fmt: skip
def test_sums_need_an_effect_and_certainty(ours, sd, confirmed):
    assert decided(ours, (0.0, 0.0001, -0.0001), sd=sd, slow=True).confirmed == confirmed


def test_the_date_is_that_of_the_largest_energy_distance():
    for seed in range(6):
        values = stepped(7 + seed, 9, 0.05, seed)
        count, best = len(values), (-1.0, 0)
        for split in range(3, count - 2):
            one, two = values[:split], values[split:]
            across = sum(abs(a - b) for a in one for b in two) / (len(one) * len(two))
            within = [sum(abs(a - b) for a in side for b in side) / len(side) ** 2 for side in (one, two)]
            energy = len(one) * len(two) / count * (2 * across - within[0] - within[1])
            best = max(best, (energy, split))
        assert dated(values) == best[1]
