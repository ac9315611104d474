"""Tuning: the cheapest setting with a margin, the curve, and what is said when the target is out of reach."""

from __future__ import annotations

from nightgate.facts import Point
from nightgate.vector_search import tuning

KNOWN = {1: 0.5, 2: 0.915, 4: 0.93, 8: 0.99, 16: 0.999}


def settings(*steps):
    return [{"probes": step} for step in steps]


def measuring(known):
    def measure(setting):
        (step,) = setting.values()
        return Point(setting=setting, recall=known[step], latency_p50=step / 2000, latency_p95=step / 1000, queries=9)

    return measure


def cheapest(known, wanted, **more):
    return tuning.cheapest(settings(*known), measuring(known), wanted, **more)


def tried(tuned):
    return [point.setting["probes"] for point in tuned.curve]


def test_it_takes_the_cheapest_that_reaches_what_is_wanted_and_stops_there():
    tuned = cheapest(KNOWN, 0.92)
    assert (tuned.setting, tuned.reached, tried(tuned)) == ({"probes": 4}, True, [1, 2, 4])
    assert cheapest(KNOWN, 0.90).setting == {"probes": 2}
    assert tuned.shortfall(0.90) is None


def test_the_curve_goes_on_as_far_as_asked_and_moves_no_choice():
    tuned = cheapest(KNOWN, 0.92, whole_curve_to=0.99)
    assert (tuned.setting, tried(tuned)) == ({"probes": 4}, [1, 2, 4, 8])
    assert tuned.curve[-1] == Point(setting={"probes": 8}, recall=0.99, latency_p50=0.004, latency_p95=0.008, queries=9)


def test_a_target_out_of_reach_is_said_with_what_comes_closest():
    few = {1: 0.5, 4: 0.93, 2: 0.915}
    tuned = cheapest(few, 0.97)
    assert (tuned.setting, tuned.reached, tried(tuned)) == ({"probes": 4}, False, [1, 4, 2]), "all were tried"
    assert tuned.shortfall(0.95) == "no setting reaches recall 0.95 with its margin: probes 4 comes closest, with 0.930"
    tuned = tuning.Tuned({"lists": 64, "refine": 5}, False, tuned.curve)
    assert "its margin: lists 64, refine 5 comes closest" in tuned.shortfall(0.95)


def test_the_margin_is_two_points_and_reaching_it_exactly_is_enough():
    assert tuning.MARGIN == 0.02
    at = {1: 0.92 - 1e-9, 2: 0.90 + 0.02, 3: 1.0}
    tuned = cheapest(at, 0.90 + 0.02)
    assert (tuned.setting, tried(tuned)) == ({"probes": 2}, [1, 2])


def test_the_curve_ends_at_the_recall_that_was_asked_for_and_not_before_the_choice():
    tuned = cheapest(KNOWN, 0.97, whole_curve_to=0.93)
    assert (tuned.setting, tried(tuned)) == ({"probes": 8}, [1, 2, 4, 8])
    whole = cheapest(KNOWN, 0.4, whole_curve_to=1.0)
    assert (whole.setting, whole.reached, len(whole.curve)) == ({"probes": 1}, True, 5)


def test_a_setting_that_recalls_less_than_a_cheaper_one_ends_nothing():
    tuned = cheapest({1: 0.99, 2: 0.5, 3: 0.97}, 0.92, whole_curve_to=0.995)
    assert (tuned.setting, [point.recall for point in tuned.curve]) == ({"probes": 1}, [0.99, 0.5, 0.97])


def test_of_equals_out_of_reach_the_cheapest_is_taken():
    tuned = cheapest({1: 0.3, 2: 0.8, 3: 0.8, 4: 0.7}, 0.92)
    assert (tuned.setting, tuned.reached, len(tuned.curve)) == ({"probes": 2}, False, 4)
    assert tuned.shortfall(0.9).endswith("probes 2 comes closest, with 0.800")
