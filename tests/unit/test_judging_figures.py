"""The figures of docs/judging.md in a short form: `make judging` with fewer series, fixed seeds, and bounds that so
few can tell."""

from __future__ import annotations

import math

import pytest

import judging


@pytest.mark.parametrize("between", [0.0, 0.03, 0.08])
def test_an_interval_holds_the_truth_as_often_as_it_says(between):
    held, width = judging.coverage(judging.latencies, between, 60, 3)
    assert 0.91 <= held <= 0.99
    assert width >= 1.9 * math.hypot(between, 0.01)


@pytest.mark.parametrize(("make", "between"), [(judging.speech, 0.0), (judging.speech, 0.08), (judging.recalls, 0.008)])
def test_so_does_that_of_speech_and_of_recall(make, between):
    held, _ = judging.coverage(make, between, 100, 3)
    assert held >= 0.88, "a hundred series tell it to ±.05"


@pytest.mark.parametrize(
    ("place", "between", "least", "most"),
    [
        (0.90, 0.03, {"passed": 0.99}, {"breached": 0.0, "runs": 1.6}), (0.90, 0.08, {"passed": 0.70}, {"breached": 0.01}),
        (0.95, 0.03, {"passed": 0.80, "decided": 0.95}, {"breached": 0.003}), (0.95, 0.08, {"passed": 0.20}, {"breached": 0.01}),
        (1.10, 0.03, {"breached": 0.99}, {"passed": 0.0, "runs": 2.5}), (1.10, 0.08, {"within_7": 0.90}, {"passed": 0.01}),
    ],
)  # fmt: skip
def test_verdicts_are_right_as_often_as_they_are_said_to_be(place, between, least, most):
    found = judging.rates(place, between, 60, 4, most_nights=7)
    assert {name: getattr(found, name) for name in least} == {
        name: pytest.approx(1, abs=1 - of) for name, of in least.items()
    }
    assert all(getattr(found, name) <= of for name, of in most.items()), found


def test_so_are_those_on_a_host_of_two_states():
    found = judging.rates(1.10, 0.08, 60, 4, two_states=True, most_nights=7)
    assert (found.passed, found.within_7) == (0, pytest.approx(1, abs=0.1))


def test_at_the_limit_itself_one_night_in_twenty_passes_and_one_in_a_hundred_is_a_breach():
    found = judging.rates(1.0, 0.03, 100, 4, most_nights=1)
    assert found.passed <= 0.09 and found.breached <= 0.03


def test_a_step_leaves_what_is_learned_as_it_was():
    before, after = (judging.after_a_step(0.03, 0.1, since, 40, 6) for since in (0, 15))
    assert after[0] < 1.25 * before[0] and after[1] > 1.8 * before[1]


def test_a_year_of_twenty_series_is_judged():
    """How fast is for `make judging` to say, on a quiet machine; here, that it does so at all."""
    assert 0 < judging.seconds_to_judge(nights=40, series=2) < math.inf
