"""Parts of a check that do in their process what a test wants."""

from __future__ import annotations

import os
import signal
import time

from gpu.outcome import Finding, at_most, demanded
from nightgate.errors import NotMeasured


def fine(asked, earlier):
    return {"device": asked.device, "earlier": dict(earlier), "pid": os.getpid()}


def crash(asked, earlier):
    print("last words", flush=True)
    os.kill(os.getpid(), signal.SIGSEGV)


def crash_on_gpu(asked, earlier):
    return crash(asked, earlier) if asked.device == "gpu" else fine(asked, earlier)


def crash_on_cpu(asked, earlier):
    return crash(asked, earlier) if asked.device == "cpu" else fine(asked, earlier)


def hang(asked, earlier):
    time.sleep(60)


def without_library(asked, earlier):
    import no_such_library  # noqa: F401


def fail(asked, earlier):
    return {}["missing"]


def refuse(asked, earlier):
    raise NotMeasured("no number", "look elsewhere")


def told(both):
    """Which sides came back."""
    return [Finding(name="sides", value=f"{'cpu' * bool(both.cpu)} {'gpu' * bool(both.gpu)}".strip())]


def differs(both):
    return [demanded("the same", False, "3 differ"), at_most("xRT", 0.01, 0.05)]


def cannot_judge(both):
    return [Finding(name="share", value=1 / 0)]
