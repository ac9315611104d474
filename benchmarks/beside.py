"""Another program works meanwhile. It is nobody's child here, for what a measurement starts counts as its own."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

_START = 'import subprocess, sys; subprocess.Popen([sys.executable, "-c", sys.argv[1]], stdout=-3, stderr=-3)'
_ENDS_WITH_US = """
import os, threading
def wait():
    os.read(0, 1)
    os._exit(0)
threading.Thread(target=wait, daemon=True).start()
"""


@contextmanager
def beside(program: str | None) -> Iterator[None]:
    """Run a program in Python, None for none, until the block ends or this process does, however that comes about.

    It holds one end of a pipe, and whoever started it is gone at once.
    """
    if program is None:
        yield
        return
    its, ours = os.pipe()
    try:
        subprocess.run([sys.executable, "-c", _START, _ENDS_WITH_US + program], check=True, stdin=its)
        os.close(its)
        yield
    finally:
        os.close(ours)
