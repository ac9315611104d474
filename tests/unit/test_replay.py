"""The past of a suite replayed: what is confirmed, what was the host, what is over, and when it began."""

from __future__ import annotations

import math
import random

import pytest

from nightgate.judge.past import Measured as Once
from nightgate.judge.past import Night
from nightgate.metrics import MetricSpec
from nightgate.record import Metric
from nightgate.regression.course import LEAST, Usual
from nightgate.regression.replay import Followed, _dated, badness, kind_of, replay, value_of
from nightgate.results.beside import Measured, SeriesKey

P50 = MetricSpec("p50", "seconds", "P50")
RATE = MetricSpec("rate", "per_second", "Rate", "higher")
SIZE = MetricSpec("size", "bytes", "Size")
RECALL = MetricSpec("recall", "ratio", "Recall", "higher", share=True)
KEY = SeriesKey("hybrid_ann", "hybrid", "cpu", "p50")
OTHER = KEY._replace(variant="other")
USUAL = 0.001
CHANCE = [random.Random(3).gauss(0, 0.01) for _ in range(60)]


def once(value, spec=P50, disturbed=None):
    return Once({spec.name: Metric(value=value, unit=spec.unit, n=9)}, disturbed)


def night(place, factor=1.0, spec=P50, *, usual=USUAL, **more):
    value = usual * factor * math.exp(CHANCE[place])
    return Night(f"night-{place:02d}", f"2026-03-{place + 1:02d}T02:00:00Z", (once(value, spec),), **more)


def nights(factors, spec=P50, **more):
    return [night(place, factor, spec, **more) for place, factor in enumerate(factors)]


def beside(factor, control=1.0, usual=USUAL, **more):
    """Five rounds, of which no two are alike."""
    wobble = (0.002, -0.003, 0.001, -0.001, 0.002)
    return Measured(
        tonight=tuple(usual * factor * math.exp(one) for one in wobble),
        control=tuple(usual * control * math.exp(-one / 2) for one in wobble), **more,
    )  # fmt: skip


def at(place, key=KEY):
    return (f"night-{place:02d}", key)


QUIET = [1.0] * 16


def test_of_nights_in_which_nothing_happens_nothing_is_found():
    found = replay({KEY: Followed(P50, nights(QUIET)), OTHER: Followed(P50, nights(QUIET[:12]))}, {}, 1.0)
    assert (found.nights, found.alerts, found.better, found.tonight, found.open, found.recovered) == (
        16,
        0,
        0,
        [],
        {},
        [],
    )
    assert {key: len(course.values) for key, course in found.suite.courses.items()} == {KEY: 16, OTHER: 12}


def test_a_shift_that_its_control_does_not_share_is_confirmed_with_its_night():
    found = replay({KEY: Followed(P50, nights([*QUIET, 1.1]))}, {at(16): beside(1.1)}, 1.0)
    (one,) = found.tonight
    assert (one.key, one.run_id, one.at, one.confirmed) == (KEY, "night-16", "2026-03-17T02:00:00Z", True)
    assert one.value == pytest.approx(math.log(USUAL * 1.1) + CHANCE[16])
    assert one.answer.ratio == pytest.approx(math.log(1.1), abs=0.01)
    assert (found.alerts, found.better) == (1, 0)
    regressed = found.open[KEY]
    assert (regressed.found, regressed.since_run, regressed.since) == (one, "night-16", "2026-03-17T02:00:00Z")


def test_a_shift_of_earlier_nights_stays_open_and_is_no_candidate_of_tonight():
    found = replay({KEY: Followed(P50, nights([*QUIET, 1.1, 1.1, 1.1]))}, {at(16): beside(1.1)}, 1.0)
    assert found.tonight == [] and found.recovered == []
    assert found.open[KEY].found.run_id == "night-16" and found.alerts == 1


def test_it_is_over_with_the_second_night_that_is_as_before():
    factors = [*QUIET, 1.1, 1.1, 1.0, 1.0]
    assert replay({KEY: Followed(P50, nights(factors[:-1]))}, {at(16): beside(1.1)}, 1.0).open
    found = replay({KEY: Followed(P50, nights(factors))}, {at(16): beside(1.1)}, 1.0)
    assert (found.recovered, found.open) == ([KEY], {})
    later = replay({KEY: Followed(P50, nights([*factors, 1.0]))}, {at(16): beside(1.1)}, 1.0)
    assert (later.recovered, later.open) == ([], {}), "it went in the night before"


def test_what_lasts_becomes_the_usual_and_a_further_shift_is_seen():
    factors = [*QUIET, *[1.1] * 16, 1.21]
    measured = {at(16): beside(1.1), at(32): beside(1.21, 1.1)}
    found = replay({KEY: Followed(P50, nights(factors))}, measured, 1.0)
    assert found.alerts == 2 and found.open[KEY].found.run_id == "night-32"


def test_nothing_measured_beside_a_control_confirms_nothing():
    for measured in ({}, {at(16): Measured(why_not="no control")}, {at(15): beside(1.1)}, {at(16, OTHER): beside(1.1)}):
        found = replay({KEY: Followed(P50, nights([*QUIET, 1.1]))}, measured, 1.0)
        assert [(one.answer, one.confirmed) for one in found.tonight] == [(None, False)]
        assert (found.alerts, found.open) == (0, {})


def test_the_same_build_or_another_one():
    """Where control and tonight asked different indexes, what builds differ by may be all of it."""
    for same, confirmed in ((True, True), (False, False)):
        found = replay({KEY: Followed(P50, nights([*QUIET, 1.1]))}, {at(16): beside(1.1, same_build=same)}, 1.0)
        assert found.tonight[0].confirmed is confirmed


def test_a_night_of_the_host_says_nothing_and_dates_nothing():
    factors = [*QUIET, 1.1, 1.1]
    measured = {at(16): beside(1.1, 1.1), at(17): beside(1.1)}
    host = replay({KEY: Followed(P50, nights(factors[:-1]))}, measured, 1.0)
    assert host.tonight[0].answer.host and not host.open and not host.alerts
    found = replay({KEY: Followed(P50, nights(factors))}, measured, 1.0)
    assert found.open[KEY].since_run == "night-17"
    assert len(found.suite.courses[KEY].values) == 17, "of the night of the host nothing is kept"


def test_an_improvement_is_counted_told_of_nobody_and_closes_what_was_open():
    found = replay({KEY: Followed(P50, nights([*QUIET, 0.9]))}, {at(16): beside(0.9)}, 1.0)
    assert (found.better, found.alerts, found.open, found.recovered) == (1, 0, {}, [KEY])
    earlier = replay({KEY: Followed(P50, nights([*QUIET, 0.9, 0.9]))}, {at(16): beside(0.9)}, 1.0)
    assert (earlier.better, earlier.recovered) == (1, [])


def test_of_what_is_better_high_a_fall_is_worse():
    found = replay({KEY: Followed(RATE, nights([*QUIET, 0.9], RATE))}, {at(16): beside(0.9)}, 1.0)
    assert found.tonight[0].candidate.worse and found.alerts == 1


def test_a_share_is_compared_by_its_difference_and_needs_a_point():
    def of(recall):
        steady = [
            Night(f"night-{place:02d}", f"{place:02d}", (once(0.95 + 0.0005 * (-1) ** place, RECALL),))
            for place in range(16)
        ]
        last = Night("night-16", "16", (once(recall, RECALL),))
        rounds = Measured(tonight=tuple(recall + one for one in (0.0001, 0.0, -0.0001)), control=(0.95, 0.9501, 0.9499))
        return replay({KEY: Followed(RECALL, [*steady, last])}, {at(16): rounds}, 1.0)

    assert of(0.932).alerts == 1 and of(0.944).alerts == 0
    assert of(0.932).tonight[0].answer.ratio == pytest.approx(0.018, abs=2e-3)


def test_each_kind_scatters_like_its_own():
    series = {KEY: Followed(P50, nights(QUIET)), OTHER: Followed(SIZE, nights(QUIET, SIZE))}
    found = replay(series, {}, 1.0)
    assert found.suite.kinds == {KEY: "speed", OTHER: "size"}
    assert found.suite.least_sd == {"speed": 0.01, "size": 0.001}
    assert (kind_of(P50), kind_of(SIZE), kind_of(RECALL)) == ("speed", "size", "share recall")


def test_a_build_that_is_new_begins_a_level_of_its_own():
    first = nights(QUIET, builds={"ivf": "a", "hnsw": "x"})
    same, other = night(16, 1.1, builds={"hnsw": "x", "ivf": "a"}), night(16, 1.1, builds={"ivf": "b", "hnsw": "x"})
    assert replay({KEY: Followed(P50, [*first, same])}, {}, 1.0).tonight
    assert replay({KEY: Followed(P50, [*first, other])}, {}, 1.0).suite.courses[KEY].builds
    assert not replay({KEY: Followed(P50, [*first, same])}, {}, 1.0).suite.courses[KEY].builds


def test_what_a_night_has_of_a_metric():
    def of(*measured, spec=P50):
        return value_of(Night("n", "t", measured), spec)

    assert of(once(0.002), once(0.005)) == pytest.approx(math.log(0.002)), "its first run"
    assert of(once(0.002, disturbed="busy"), once(0.005)) == pytest.approx(math.log(0.005))
    assert of(once(0.002, disturbed="busy")) is None
    assert of(once(0.0), once(0.004)) == pytest.approx(math.log(0.004)), "of nothing there is no logarithm"
    assert of(once(0.9, RECALL, "busy"), spec=RECALL) == -0.9, "a busy host changes no recall"
    assert of(once(0.002), spec=RATE) is None and of() is None
    assert of(once(20.0, RATE), spec=RATE) == pytest.approx(-math.log(20.0))
    assert badness(0.0, RECALL) == 0.0 and badness(math.e, SIZE) == 1.0


def test_nights_of_two_series_come_in_the_order_of_their_times():
    """A series that was measured in some nights only takes nothing from the other."""
    few = [night(place, usual=0.004) for place in range(0, 16, 2)]
    found = replay({KEY: Followed(P50, nights([*QUIET, 1.1])), OTHER: Followed(P50, few)}, {at(16): beside(1.1)}, 1.0)
    assert found.nights == 17 and list(found.open) == [KEY]
    assert len(found.suite.courses[OTHER].values) == 8


LEVEL = Usual(0.0, 0.01, 0.02, LEAST)


def dated_of(values):
    return _dated([(f"run-{place}", f"t{place}", value) for place, value in enumerate(values)], LEVEL)


def test_a_shift_dates_to_the_first_of_the_nights_that_lie_nearer_to_it():
    assert dated_of([0.0] * 8 + [0.1]) == ("run-8", "t8")
    assert dated_of([0.0] * 8 + [0.08, 0.1]) == ("run-8", "t8")
    assert dated_of([0.0] * 7 + [0.04, 0.1]) == ("run-8", "t8"), "less than half of the way"
    assert dated_of([0.1] + [0.0] * 7 + [0.1]) == ("run-8", "t8")
    assert dated_of([0.1, 0.1]) == ("run-0", "t0")


def test_with_three_nights_after_it_by_the_change_point():
    values = [0.0, 0.01, -0.01, 0.0, 0.01, 0.0, 0.04, 0.1, 0.11, 0.1]
    assert dated_of(values) == ("run-7", "t7")
    assert dated_of([0.0, 0.01, 0.0, 0.02, 0.06, 0.1, 0.1, 0.1]) == ("run-4", "t4")


def test_only_the_newest_nights_date_a_shift():
    old = [0.3] * 10 + [0.0] * 57
    assert dated_of([*old, 0.1, 0.1, 0.1]) == ("run-67", "t67")
