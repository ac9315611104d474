"""What the tests let a child do."""

from __future__ import annotations

import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from nightgate.errors import InputError, NotMeasured


@dataclass(frozen=True)
class Asked:
    folder: Path
    rows: Any


class OwnError(NotMeasured):
    """As a plug-in may have one."""


def env(names):
    return {name: os.environ.get(name) for name in names}


def refuse(_):
    raise InputError("no such thing", "look elsewhere")


def refuse_as_a_plugin(_):
    raise OwnError("of a plug-in", "mend it")


def fail(_):
    return 1 / 0


def missing(_):
    return {}["missing"]


def run_out(_):
    raise MemoryError


def die(_):
    print("last words", flush=True)
    os.kill(os.getpid(), signal.SIGSEGV)


def hang(_):
    time.sleep(60)


def rest(_):
    time.sleep(0.5)


def interrupted(_):
    os.kill(os.getpid(), signal.SIGINT)


def grow(size):
    return len(bytearray(size))


def double(number):
    return 2 * number


def turned(asked):
    return Asked(asked.folder.parent, asked.rows[::-1])


def unpicklable(_):
    return lambda: None


def count(asked):
    """Write a line whenever it is its turn: (name, turns, file); fails after the turns where the name is "broken"."""
    name, turns, file = asked
    for turn in range(turns):
        with open(file, "a") as lines:
            lines.write(f"{name}{turn} ")
        yield
    if name == "broken":
        raise InputError("broken off", "mend it")
    return f"{name} is done"


def take_part(asked):
    """Write a line whenever it is its turn, content from the turn ``after`` on, until all are: (name, after, file)."""
    name, after, file = asked
    turn = 0
    while True:
        with open(file, "a") as lines:
            lines.write(f"{name}{turn} ")
        if (yield turn >= after):
            return turn
        turn += 1


def stop_halfway(_):
    yield
    os.kill(os.getpid(), signal.SIGKILL)


def hang_halfway(_):
    yield
    time.sleep(60)
