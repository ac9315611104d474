"""How a task ends whose step raised: skipped, tried again or failed for good, with the reason first in its log.

Airflow logs an exception with all lines of code that it came by, but for the one that ends a process. So what was raised on
purpose ends the task like a process, by the exit codes of `nightgate.errors`.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import TYPE_CHECKING

from airflow.sdk import ExceptionRetryPolicy, RetryAction, RetryDecision, RetryRule
from airflow.sdk.exceptions import AirflowSkipException

from nightgate.errors import (
    ArtifactError,
    Disturbed,
    InputError,
    NightgateError,
    NotMeasured,
    ServiceUnavailable,
    Unavailable,
    Undecided,
)
from nightgate.measure.durations import again_seconds

if TYPE_CHECKING:
    from airflow.sdk import Context

log = logging.getLogger(__name__)


class Ended(SystemExit):
    """A task ends with an exit code, and is tried again."""


class EndedForGood(Ended):
    """As `Ended`, where another try would come to the same."""


class EndedForNow(Ended):
    """As `Ended`, where another try must wait for a quiet host."""


FOR_GOOD = ExceptionRetryPolicy(
    [RetryRule(EndedForGood, RetryAction.FAIL, reason="another try would come to the same")]
)
"""What a task with retries needs to know."""


class AtMost(ExceptionRetryPolicy):
    """Of a task that is tried so many times where it fails. One that is lost, because a broker or a worker was away, does not
    come here, and is tried as often as it has retries."""

    def __init__(self, tries: int, rules: list[RetryRule]) -> None:
        super().__init__(rules)
        self.tries = tries

    def evaluate(
        self, exception: BaseException, try_number: int, max_tries: int, context: Context | None = None
    ) -> RetryDecision:
        if try_number >= self.tries:
            return RetryDecision.fail(f"it was tried {try_number} times")
        return super().evaluate(exception, try_number, max_tries, context)


TWICE = AtMost(2, FOR_GOOD.rules)
"""`FOR_GOOD`, of what is tried once more where it fails."""


def when_quiet() -> AtMost:
    """As `TWICE`, and what a busy host has ended is tried again a while later. Whatever else ends the task is tried again as soon
    as any: one that a broker never got has not looked at the host."""
    later = RetryRule(
        EndedForNow, RetryAction.RETRY, timedelta(seconds=again_seconds()), reason="the host was not quiet"
    )
    return AtMost(3, [*FOR_GOOD.rules, later])


@contextmanager
def translated(*, strict: bool = False, final: bool = False, where: str = "") -> Iterator[None]:
    """Skip what cannot be measured here, fail for good what a retry cannot mend, let the rest be tried again.

    What is undecided is skipped too, which no run fails by, unless it is ``strict``: never is it shown as a success.

    Args:
        final: of a step that measures nothing, so that only a server that is away is a reason to try again.
        where: the address of the page that shows more.
    """
    try:
        yield
    except Unavailable as error:
        raise AirflowSkipException(str(error)) from error
    except NightgateError as error:
        skipped = isinstance(error, Undecided) and not strict
        lines = str(error).splitlines()
        for line in lines:
            log.log(
                logging.WARNING if skipped else logging.ERROR,
                "bad input: %s" if isinstance(error, InputError) else "%s",
                line,
            )
        if where:
            log.info("all of it: %s", where)
        if skipped:
            raise AirflowSkipException(" ".join(lines)) from None
        raise _ending(error, final)(error.exit_code) from None


def _ending(error: NightgateError, final: bool) -> type[Ended]:
    """By whether another try may come to something else, and when."""
    if final:
        return Ended if isinstance(error, ServiceUnavailable) else EndedForGood
    if isinstance(error, Disturbed):
        return EndedForNow
    return Ended if isinstance(error, NotMeasured) and not isinstance(error, ArtifactError) else EndedForGood
