"""Several things asked of one child, which starts, and loads its libraries, once for all of them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from typing import Any

from nightgate.errors import ChildError, NightgateError

log = logging.getLogger(__name__)

Call = tuple[Callable[[Any], Any], Any]
"""A function, and the request that it is given."""


def answer(calls: Sequence[Call]) -> list[Any]:
    """In a child: what each of ``calls`` returns, one after the other; a `NightgateError` stands where one failed."""
    return [_answer(function, request) for function, request in calls]


def _answer(function: Callable[[Any], Any], request: Any) -> Any:
    try:
        return function(request)
    except NightgateError as error:
        return error
    except MemoryError:
        return ChildError(f"{function.__module__}:{function.__qualname__} ran out of memory", "lower the scale")
    except Exception as error:
        log.exception("%s failed", function.__qualname__)
        return ChildError(f"{function.__module__}:{function.__qualname__} failed: {type(error).__name__}: {error}")
