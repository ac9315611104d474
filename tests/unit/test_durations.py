"""How long steps will take and may take: exact values for every branch and boundary."""

import pytest

from nightgate.errors import InputError
from nightgate.measure import durations
from nightgate.measure.durations import Estimate, Past, Steps, estimate

HOUR = 3600.0
LOWER = {"b": "rows", "c": "repeats"}


def past(prepare, measure, *, rated=(100, 200), same=False):
    return Past(Steps(prepare, measure), Steps(*rated), same)


def known(prepare, measure, rated=(1.0, 1.0), known=True):
    return Estimate(Steps(prepare, measure), Steps(*rated), known)


def test_the_limits_of_the_nightly():
    assert (durations.STEP_SECONDS, durations.NIGHT_SECONDS) == (21_600.0, 72_000.0)
    assert durations.STEPS == ("prepare", "measure")


def test_without_a_history_the_rates_are_all_there_is():
    assert estimate(Steps(7, 11), []) == Estimate(Steps(7, 11), Steps(7, 11), known=False)


def test_other_settings_are_scaled_by_what_the_rates_say_of_them():
    runs = [past(30, 40), past(50, 60), past(10, 180)]  # factors: 0.3, 0.5, 0.1 and 0.2, 0.3, 0.9
    assert estimate(Steps(1000, 3000), runs) == Estimate(Steps(500.0, 900.0), Steps(1000, 3000), known=False)
    assert estimate(Steps(1000, 3000), [past(3, 4, rated=(10, 16))]).seconds == Steps(300.0, 750.0)


def test_the_median_of_two_is_between_them():
    assert estimate(Steps(100, 100), [past(10, 20), past(5, 60)]).seconds == Steps(10.0, 20.0)


def test_runs_with_the_same_settings_count_alone():
    runs = [past(1000, 2000), past(20, 30, same=True), past(3000, 4000)]
    assert estimate(Steps(100, 200), runs) == Estimate(Steps(20.0, 30.0), Steps(100, 200), known=True)


@pytest.mark.parametrize("same", [True, False])
def test_only_the_five_newest_count(same):
    runs = [past(10 * number, 20 * number, same=same) for number in (3, 1, 2, 5, 4)]
    old = [past(9000, 9000, same=same)] * 4
    assert estimate(Steps(100, 200), runs + old).seconds == Steps(50.0, 60.0)


@pytest.mark.parametrize(
    ("seconds", "rated", "ceiling", "timeout"),
    [
        (1, 2, None, 3600.0),
        (1200, 2, None, 3600.0),
        (1201, 2, None, 3603.0),
        (5, 1300, None, 3900.0),
        (1400, 1300, None, 4200.0),
        (50_000, 1, None, 150_000.0),
        (50_000, 1, 21_600.0, 21_600.0),
        (7199, 1, 21_600.0, 21_597.0),
        (1, 1, 600.0, 600.0),
    ],
)
def test_the_time_out_follows_the_estimate(seconds, rated, ceiling, timeout):
    one = Estimate(Steps(seconds, 0.5), Steps(rated, 0.25), known=True)
    assert one.timeout("prepare", ceiling) == timeout
    other = Estimate(Steps(0.5, seconds), Steps(0.25, rated), known=False)
    assert other.timeout("measure", ceiling) == timeout
    assert other.timeout("prepare", ceiling) == min(3600.0, ceiling or 3600.0)


@pytest.mark.parametrize(
    ("seconds", "is_known", "ceiling", "verdict"),
    [
        (100, True, 100, False),
        (101, True, 100, True),
        (101, False, 100, None),
        (300, False, 100, None),
        (301, False, 100, True),
        (1e9, True, None, False),
        (99, False, 100, False),
    ],
)
def test_what_cannot_end_in_time(seconds, is_known, ceiling, verdict):
    assert known(seconds, 1, known=is_known).too_long("prepare", ceiling) is verdict
    assert known(1, seconds, known=is_known).too_long("measure", ceiling) is verdict
    assert known(1, seconds, known=is_known).too_long("prepare", 2) is False


def test_a_step_that_cannot_end_is_refused_with_what_to_lower():
    found = {("b", "cpu"): known(60, 60), ("c", "gpu"): known(30, 7 * HOUR)}
    with pytest.raises(InputError) as caught:
        durations.check(found, LOWER, nightly=True)
    assert caught.value.what == "c on gpu: measure would take about 7.0 h, and its time-out is at most 6.0 h"
    assert caught.value.next_step == "lower repeats of c"
    assert durations.check(found, LOWER, nightly=False) == []


def test_what_only_the_rates_say_is_a_warning():
    found = {("b", "cpu"): known(7 * HOUR, 18 * HOUR, known=False)}
    assert durations.check(found, LOWER, nightly=True) == [
        "b on cpu: prepare would take about 7.0 h, and its time-out is at most 6.0 h; no run of these settings says so yet",
        "b on cpu: measure would take about 18.0 h, and its time-out is at most 6.0 h; no run of these settings says so yet",
        "the run would take about 25.0 h, and after 20.0 h it is ended",
    ]
    assert durations.check(found, LOWER, nightly=False) == []


def test_a_night_that_fits_exactly_is_no_warning():
    """With all that it may have to confirm, which is each measurement three times more."""
    found = {("b", "cpu"): known(1 * HOUR, 1 * HOUR), ("c", "cpu"): known(1 * HOUR, 2 * HOUR)}
    assert durations.check(found, LOWER, nightly=True) == []
    found["d", "cpu"] = known(90, 0)
    assert durations.check(found, LOWER, nightly=True) == [
        "the run would take up to 20.1 h if all of it had to be confirmed, and after 20.0 h it is ended"
    ]
    assert durations.check(found, LOWER, nightly=False) == []
    found["d", "cpu"] = known(5 * HOUR, 5 * HOUR)
    found["e", "cpu"] = known(5 * HOUR, 0)
    assert durations.check(found, LOWER, nightly=True)[0].startswith("the run would take up to 80.0 h if")
    found["e", "cpu"] = known(5 * HOUR, 360)
    assert durations.check(found, LOWER, nightly=True) == [
        "the run would take about 20.1 h, and after 20.0 h it is ended"
    ]


def test_what_a_busy_host_has_spoilt_is_tried_again_a_while_later(monkeypatch):
    for text, seconds in (("", 900.0), (" 7.5 ", 7.5), ("0", 0.0)):
        monkeypatch.setenv("NIGHTGATE_AGAIN_AFTER", text)
        assert durations.again_seconds() == seconds
    monkeypatch.delenv("NIGHTGATE_AGAIN_AFTER")
    assert durations.again_seconds() == 900.0
    for text in ("soon", "-1", "nan", "inf"):
        monkeypatch.setenv("NIGHTGATE_AGAIN_AFTER", text)
        with pytest.raises(
            InputError, match=f"^NIGHTGATE_AGAIN_AFTER='{text}' is no number of seconds. Next step: write seconds"
        ):
            durations.again_seconds()


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.4, "0 s"),
        (99.4, "99 s"),
        (99.9, "100 s"),
        (100, "2 min"),
        (5999, "100 min"),
        (6000, "1.7 h"),
        (12_600, "3.5 h"),
        (3.6e7, "10000.0 h"),
    ],
)
def test_seconds_in_words(seconds, text):
    assert durations.human(seconds) == text


def test_a_number_of_a_step_is_found_by_its_name():
    assert (Steps(1, 2).of("prepare"), Steps(1, 2).of("measure")) == (1, 2)
