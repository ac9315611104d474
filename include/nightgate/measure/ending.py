"""An order to end reaches a step as an exception, so that what it has on a server is removed on the way out."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


@contextmanager
def like_ctrl_c() -> Iterator[None]:
    """Both signals raise KeyboardInterrupt, once: what follows it shall not be interrupted in turn.

    Airflow ends a task by SIGTERM, and in its tasks SIGINT, too, ends the process at once. Only the main thread has
    signals; in any other nothing is done.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def interrupt(*_: Any) -> None:
        for number in _SIGNALS:
            signal.signal(number, signal.SIG_IGN)
        raise KeyboardInterrupt

    before = {number: signal.signal(number, interrupt) for number in _SIGNALS}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
