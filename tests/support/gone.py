"""Children that leave marks of how far they got, and are gone."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path

from nightgate.errors import NotMeasured


@dataclass(frozen=True)
class Leaving:
    progress: Path
    marks: bytes


def abort(request):
    request.progress.write_bytes(request.marks)
    os.abort()


def leave(request):
    request.progress.write_bytes(request.marks)
    os._exit(3)


def hang(request):
    request.progress.write_bytes(request.marks)
    time.sleep(99)


def fail(request):
    request.progress.write_bytes(request.marks)
    raise NotMeasured("code -6", "do this")
