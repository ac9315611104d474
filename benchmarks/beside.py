"""Another program works meanwhile. It is nobody's child here, for what a measurement starts counts as its own."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_START = """
import subprocess, sys
print(subprocess.Popen([sys.executable, "-c", sys.argv[1]], stdin=-3, stdout=-3, stderr=-3).pid)
"""


@contextmanager
def beside(program: str | None) -> Iterator[None]:
    """Run a program in Python, None for none, until the block ends. Whoever started it is gone by then."""
    if program is None:
        yield
        return
    started = subprocess.run([sys.executable, "-c", _START, program], check=True, stdout=subprocess.PIPE, text=True)
    try:
        yield
    finally:
        os.kill(int(started.stdout), signal.SIGKILL)
