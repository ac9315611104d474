"""How a task ends by what its step raised. Airflow's own runner is asked what it makes of it."""

from __future__ import annotations

import pytest
from airflow.sdk import RetryAction
from airflow.sdk.exceptions import AirflowSkipException

from nightgate.errors import (
    ArtifactError,
    CacheFull,
    ChildError,
    InputError,
    NotMeasured,
    ObjectiveBreached,
    ServiceUnavailable,
    Unavailable,
    Undecided,
)
from nightgate.orchestration.ending import FOR_GOOD, TWICE, Ended, EndedForGood, translated


def again(ended) -> bool:
    """Whether Airflow tries a task again that ended so."""
    return FOR_GOOD.evaluate(ended, 1, 7).action is not RetryAction.FAIL


def test_what_cannot_be_measured_here_is_skipped():
    with pytest.raises(AirflowSkipException, match="^no device. Next step: get one$"), translated():
        raise Unavailable("no device", "get one")


def test_what_is_undecided_is_skipped_and_never_a_success_unless_it_shall_fail():
    with pytest.raises(AirflowSkipException, match="^near the limit$"), translated():
        raise Undecided("near the limit")
    with pytest.raises(EndedForGood) as ended, translated(strict=True):
        raise Undecided("near the limit")
    assert (ended.value.code, again(ended.value)) == (3, False)


@pytest.mark.parametrize(
    ("kind", "code"), [(InputError, 2), (ObjectiveBreached, 1), (ArtifactError, 3), (CacheFull, 3)]
)
def test_what_a_retry_cannot_mend_fails_for_good(caplog, kind, code):
    with pytest.raises(SystemExit) as ended, translated():
        raise kind("it is so", "mend it")
    assert (ended.value.code, again(ended.value)) == (code, False)
    (said,) = caplog.messages
    assert said == ("bad input: " if kind is InputError else "") + "it is so. Next step: mend it"


@pytest.mark.parametrize("kind", [NotMeasured, ChildError, ServiceUnavailable])
def test_what_another_try_may_mend_is_tried_again(caplog, kind):
    with pytest.raises(Ended) as ended, translated():
        raise kind("once more")
    assert (ended.value.code, again(ended.value), caplog.messages) == (3, True, ["once more"])
    with pytest.raises(Ended) as ended, translated(final=True):
        raise kind("once more")
    assert again(ended.value) is (kind is ServiceUnavailable)


@pytest.mark.parametrize("error", [Ended(3), KeyError("a fault")])
def test_what_fails_is_tried_twice_though_what_is_lost_is_tried_longer(error):
    """A lost try is no exception in the task: it counts, and nobody asks the policy."""
    assert TWICE.evaluate(error, 1, 7).action is RetryAction.DEFAULT
    assert TWICE.evaluate(error, 2, 7).action is RetryAction.FAIL
    assert TWICE.evaluate(EndedForGood(2), 1, 7).action is RetryAction.FAIL


@pytest.mark.parametrize("kind", [RuntimeError, KeyError])
def test_a_fault_of_the_code_is_raised_with_all_its_lines(caplog, kind):
    with pytest.raises(kind) as raised, translated():
        raise kind("a fault")
    assert again(raised.value)
    assert not caplog.messages
