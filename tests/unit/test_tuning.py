"""Tuning: the cheapest setting with a margin, the curve, and what is said when the target is out of reach."""

from __future__ import annotations

from nightgate.vectors import tuning

KNOWN = {1: 0.5, 2: 0.915, 4: 0.93, 8: 0.99, 16: 0.999}


def measure(probes):
    return {"recall": KNOWN[probes], "latency_p95": probes / 1000}


def test_it_takes_the_cheapest_that_reaches_the_target_with_the_margin_and_stops_there():
    tuned = tuning.cheapest(list(KNOWN), measure, 0.90)
    assert (tuned.setting, tuned.reached) == (4, True)
    assert [point["setting"] for point in tuned.curve] == [1, 2, 4]
    assert tuning.cheapest(list(KNOWN), measure, 0.90, margin=0.0).setting == 2
    assert tuned.shortfall(0.90) is None


def test_the_curve_goes_on_as_far_as_asked_and_moves_no_choice():
    tuned = tuning.cheapest(list(KNOWN), measure, 0.90, whole_curve_to=0.99)
    assert tuned.setting == 4
    assert [point["setting"] for point in tuned.curve] == [1, 2, 4, 8]
    assert tuned.curve[-1] == {"setting": 8, "recall": 0.99, "latency_p95": 0.008}


def test_a_target_out_of_reach_is_said_with_what_comes_closest():
    few = [1, 4, 2]
    tuned = tuning.cheapest(few, measure, 0.95)
    assert (tuned.setting, tuned.reached) == (4, False)
    assert [point["setting"] for point in tuned.curve] == few, "all were tried"
    assert tuned.shortfall(0.95) == "no setting reaches recall 0.95 with its margin: 4 comes closest, with 0.930"
    tuned = tuning.Tuned({"lists": 64, "refine": 5}, False, [{"recall": 0.93}])
    assert "its margin: lists 64, refine 5 comes closest" in tuned.shortfall(0.95)


def test_the_margin_is_two_points_and_reaching_it_exactly_is_enough():
    assert tuning.MARGIN == 0.02
    at = {"a": 0.92 - 1e-9, "b": 0.90 + 0.02, "c": 1.0}
    tuned = tuning.cheapest(list(at), lambda setting: {"recall": at[setting]}, 0.90)
    assert (tuned.setting, [point["setting"] for point in tuned.curve]) == ("b", ["a", "b"])


def test_the_curve_ends_at_the_recall_that_was_asked_for_and_not_before_the_choice():
    tuned = tuning.cheapest(list(KNOWN), measure, 0.97, margin=0.0, whole_curve_to=0.93)
    assert (tuned.setting, [point["setting"] for point in tuned.curve]) == (8, [1, 2, 4, 8])
    whole = tuning.cheapest(list(KNOWN), measure, 0.4, margin=0.0, whole_curve_to=1.0)
    assert (whole.setting, whole.reached, len(whole.curve)) == (1, True, 5)


def test_a_setting_that_recalls_less_than_a_cheaper_one_ends_nothing():
    found = {1: 0.99, 2: 0.5, 3: 0.97}
    tuned = tuning.cheapest([1, 2, 3], lambda setting: {"recall": found[setting]}, 0.9, whole_curve_to=0.995)
    assert (tuned.setting, [point["recall"] for point in tuned.curve]) == (1, [0.99, 0.5, 0.97])


def test_of_equals_out_of_reach_the_cheapest_is_taken():
    found = {1: 0.3, 2: 0.8, 3: 0.8, 4: 0.7}
    tuned = tuning.cheapest([1, 2, 3, 4], lambda setting: {"recall": found[setting]}, 0.9)
    assert (tuned.setting, tuned.reached, len(tuned.curve)) == (2, False, 4)
    assert tuned.shortfall(0.9).endswith("2 comes closest, with 0.800")
