"""Trying again: how long one try may take, whether it can have done anything, and how long to wait before the next.

Waits are the server's Retry-After, else full jitter (M. Brooker, "Exponential Backoff And Jitter", AWS, 2015).
"""

from __future__ import annotations

import queue
import random
import threading
import time
from collections.abc import Callable
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, TypeVar

if TYPE_CHECKING:
    import requests

Result = TypeVar("Result")

_BACKOFF = (0.5, 8.0)  # seconds: first, longest


def within(seconds: float, call: Callable[[], Result]) -> Result | Exception:
    """What ``call`` returns, or the error it raises, or a TimeoutError: the timeouts of a socket bound no name look-up and no trickle."""
    box: queue.SimpleQueue[Result | Exception] = queue.SimpleQueue()

    def work() -> None:
        try:
            box.put(call())
        except Exception as error:
            box.put(error)

    threading.Thread(target=work, daemon=True, name="grafana").start()
    try:
        return box.get(timeout=seconds)
    except queue.Empty:
        return TimeoutError()


def never_sent(error: Exception) -> bool:
    """Whether no connection was made, so that the server cannot have done anything."""
    import requests
    from urllib3.exceptions import ConnectTimeoutError, MaxRetryError, NewConnectionError

    if isinstance(error, (requests.exceptions.ConnectTimeout, requests.exceptions.ProxyError)):
        return True
    cause = error.args[0] if isinstance(error, requests.exceptions.ConnectionError) and error.args else None
    reason = cause.reason if isinstance(cause, MaxRetryError) else cause
    return isinstance(reason, (NewConnectionError, ConnectTimeoutError))


def jitter(number: int) -> float:
    first, longest = _BACKOFF
    return random.uniform(0, min(longest, first * 2**number))


def retry_after(answer: requests.Response) -> float | None:
    """Seconds from the header, which holds a number or a date."""
    text = answer.headers.get("Retry-After", "")
    if text.isdigit():
        return float(text)
    try:
        return max(0.0, parsedate_to_datetime(text).timestamp() - time.time())
    except ValueError:
        return None
